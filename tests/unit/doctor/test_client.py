"""What a visitor meets is told apart by how far they got."""

from __future__ import annotations

import socket

import pytest
from traced_server import NAME, TracedServer

from sanso.doctor import client

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def names(monkeypatch):
    """names[name] = […] are its addresses; others have none."""
    known = {"127.0.0.1": ["127.0.0.1"]}
    monkeypatch.setattr(client, "addresses", lambda name: (known.get(name, []), "" if name in known else "unknown"))
    return known


def look(server, ca=None, path="/"):
    return client.look(server.url(path), "127.0.0.1", ca, TRACE)


def test_answer_is_read_with_the_certificate_that_is_served(traced, names):
    names[NAME] = ["127.0.0.1"]
    seen = look(traced, traced.ca)
    assert (seen.reply.stage, seen.reply.status, seen.reply.body, seen.reply.problem) == ("answered", 200, "fine", "")
    assert seen.reply.served.names == [NAME]
    assert (seen.others, seen.unresolved, seen.reply.is_well) == ([], "", True)


def test_name_without_an_address_is_told_and_the_server_is_asked_all_the_same(traced, names):
    seen = look(traced, traced.ca)
    assert (seen.unresolved, seen.reply.status) == ("unknown", 200)


def test_other_addresses_of_the_name_are_asked_with_the_trace_that_tells_whether_it_came(traced, names):
    names[NAME] = ["127.0.0.1", "127.0.0.2"]
    names["127.0.0.1"] = ["127.0.0.9"]
    seen = look(traced, traced.ca)
    assert [each.address for each in seen.others] == ["127.0.0.1", "127.0.0.2"]
    traces = [headers["traceparent"][3:35] for _, _, headers, _ in traced.received]
    assert traces == [TRACE]


def test_certificate_that_is_not_believed_stops_it_before_anything_is_sent(traced, names):
    reply = look(traced).reply
    assert (reply.stage, reply.verify, reply.is_well, traced.received) == ("connected", 18, False, [])
    assert reply.served.names == [NAME]


def test_port_that_is_refused_is_told_by_its_number(names, unused):
    reply = client.look(f"https://{NAME}:{unused}/", "127.0.0.1", None, TRACE).reply
    assert (reply.stage, reply.errno, reply.timed_out) == ("", 111, False)


def test_server_that_does_not_speak_tls_is_told_apart(names, ca, tmp_path):
    with TracedServer(tmp_path, ca, tls=False) as server:
        reply = look(server, ca).reply
    assert (reply.stage, reply.reason != "", reply.verify) == ("connected", True, 0)


def test_silence_after_the_connection_is_a_timeout(names, monkeypatch):
    monkeypatch.setattr(client, "FIRST", 0.2)
    monkeypatch.setattr("sanso.tracing.request.CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reply = client.look(f"https://{NAME}:{silent.getsockname()[1]}/", "127.0.0.1", None, TRACE).reply
    assert (reply.stage, reply.timed_out, reply.served) == ("connected", True, None)


@pytest.fixture
def unused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_name_that_no_dns_can_hold_has_no_address():
    found, why = client.addresses("a" * 300)
    assert (found, why != "") == ([], True)
