"""One request: what is sent, what is read, and when."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading

import pytest
from traced_server import NAME, TracedServer

from sanso.tracing.request import Call, context, send

TRACEPARENT = {"traceparent": "00-281c9adbfd07255b1ef3f333bd8581b2-c90530f0073c31a5-01"}


def ask(server, path="/", **words):
    return send(Call(server.url(path), "127.0.0.1", **words), context(server.ca), TRACEPARENT, keep=1000)


def test_events_are_in_order(traced):
    found = ask(traced)
    assert found.error is None
    assert list(found.events) == ["start", "connected", "tls", "sent", "first_byte", "end"]
    assert list(found.events.values()) == sorted(found.events.values())


def test_answer_is_read(traced):
    found = ask(traced)
    assert (found.status, found.body, found.size, found.tls) == (200, b"fine", 4, "TLSv1.3")
    assert found.headers["traceresponse"].startswith("00-281c9adbfd07255b1ef3f333bd8581b2-")


def test_connection_is_closed_by_both(traced):
    ask(traced)
    ((method, path, headers, _),) = traced.received
    assert (method, path, headers["Connection"], headers["User-Agent"]) == ("GET", "/", "close", "sanso")
    assert headers["Host"] == f"{NAME}:{traced.port}"


@pytest.mark.parametrize(("scheme", "port"), [("https", 443), ("http", 80)])
def test_port_is_that_of_the_scheme(scheme, port):
    assert Call(f"{scheme}://{NAME}/", "192.0.2.1").port == port


def test_body_and_headers_are_sent(traced):
    ask(
        traced,
        method="PUT",
        data=b'{"a": 1}',
        headers=(("Content-Type", "application/json"), ("X-A", "ä"), ("X-B", "")),
    )
    ((method, _, headers, body),) = traced.received
    assert (method, body, headers["Content-Type"]) == ("PUT", b'{"a": 1}', "application/json")
    assert headers["X-A"].encode("latin1").decode() == "ä"


def test_body_is_a_form_where_nothing_else_is_said(traced):
    ask(traced, method="POST", data=b"a=b")
    assert traced.received[0][2]["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("", "/"),
        ("/a b", "/a%20b"),
        ("/ä?ö", "/%C3%A4?%C3%B6"),
        ("/%41?a=%20&b", "/%41?a=%20&b"),
        ("/a#b", "/a"),
        ("/\udcff", "/%FF"),
    ],
)
def test_path_is_escaped_only_where_it_has_to_be(path, sent):
    assert Call(f"https://{NAME}{path}", "192.0.2.1").target == sent


@pytest.mark.parametrize(
    "words",
    [
        {"url": f"https://{NAME}/a\r\nX-B: c"},
        {"url": f"https://{NAME}/\x00"},
        {"url": f"ftp://{NAME}/"},
        {"url": "https:///a"},
        {"url": "faults.test"},
        {"url": f"https://me:secret@{NAME}/"},
        {"url": f"https://{NAME}:99999/"},
        {"url": f"https://{NAME}:0/"},
        {"method": "GET / HTTP/1.1\r\nX: y"},
        {"method": ""},
        {"headers": (("X-A", "b\r\nX-C: d"),)},
        {"headers": (("X-A", "b\nc"),)},
        {"headers": (("X A", "b"),)},
        {"headers": (("X-A:", "b"),)},
        {"headers": (("", "b"),)},
        {"headers": (("Traceparent", "b"),)},
        {"headers": (("Host", "b"),)},
        {"headers": (("transfer-encoding", "chunked"),)},
    ],
)
def test_call_that_can_not_be_sent_as_it_is_is_refused(words):
    with pytest.raises(ValueError, match=r"\w"):
        Call(**{"url": f"https://{NAME}/", "address": "192.0.2.1", **words})


def test_chunked_body_is_read(traced):
    def respond(handler, ids):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    traced.respond = respond
    found = ask(traced)
    assert (found.error, found.body, found.size) == (None, b"abcde", 5)


@pytest.mark.parametrize("header", ["Content-Length: 9", "Transfer-Encoding: chunked"])
def test_body_that_breaks_off_is_an_error(traced, header):
    def respond(handler, ids):
        handler.wfile.write(f"HTTP/1.1 200 OK\r\n{header}\r\n\r\n".encode())
        handler.wfile.write(b"9\r\nabc" if "chunked" in header else b"abc")
        handler.close_connection = True

    traced.respond = respond
    found = ask(traced)
    assert isinstance(found.error, http.client.IncompleteRead)
    assert (found.status, found.body) == (200, b"abc")
    assert "end" in found.events


def test_body_until_the_end_of_the_connection_is_whole(traced):
    def respond(handler, ids):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        handler.close_connection = True

    traced.respond = respond
    found = ask(traced)
    assert (found.error, found.body) == (None, b"abc")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_answer_without_a_body_is_whole(traced, method):
    traced.respond = lambda handler, ids: handler.well(ids, status=200 if method == "HEAD" else 304)
    found = ask(traced, method=method)
    assert (found.error, found.size) == (None, 0)


def test_only_the_beginning_of_a_body_is_kept(traced):
    traced.respond = lambda handler, ids: handler.well(ids, body=b"x" * 300_000)
    found = ask(traced)
    assert (len(found.body), found.size) == (1000, 300_000)


def test_stream_without_an_end_is_ended(traced):
    def respond(handler, ids):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                handler.wfile.write(b"x" * 1000)
        except OSError:
            handler.close_connection = True

    traced.respond = respond
    found = ask(traced, seconds=0.05)
    assert isinstance(found.error, TimeoutError)


def test_repeated_header_is_one(traced):
    def respond(handler, ids):
        handler.wfile.write(b"HTTP/1.1 204 No Content\r\nA: b\r\nA: c\r\n\r\n")

    traced.respond = respond
    assert ask(traced).headers == {"a": "b, c"}


def test_connection_that_is_closed_without_an_answer_is_an_error(traced):
    def respond(handler, ids):
        handler.close_connection = True

    traced.respond = respond
    found = ask(traced)
    assert isinstance(found.error, http.client.RemoteDisconnected)
    assert (found.status, list(found.events)) == (0, ["start", "connected", "tls", "sent", "end"])


def test_certificate_of_a_stranger_ends_it_before_anything_is_sent(traced):
    found = send(Call(traced.url(), "127.0.0.1"), context(), TRACEPARENT)
    assert isinstance(found.error, ssl.SSLCertVerificationError)
    assert list(found.events) == ["start", "connected", "end"]
    assert traced.received == []


def test_port_where_nobody_listens_is_an_error(ca):
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    found = send(Call(f"https://{NAME}:{port}/", "127.0.0.1"), context(ca))
    assert isinstance(found.error, ConnectionRefusedError)
    assert list(found.events) == ["start", "end"]


def test_plain_http_needs_no_tls(tmp_path, ca):
    with TracedServer(tmp_path, ca, tls=False) as server:
        found = send(Call(f"http://{NAME}:{server.port}/", "127.0.0.1"), context(ca), TRACEPARENT)
    assert (found.error, found.status, found.tls) == (None, 200, "")
    assert "tls" not in found.events


def test_something_that_speaks_no_http_is_an_error(ca):
    with socket.create_server(("127.0.0.1", 0)) as door:

        def greet():
            guest, _ = door.accept()
            with guest:
                guest.recv(1000)
                guest.sendall(b"220 mail.test ESMTP\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        found = send(Call(f"http://{NAME}:{door.getsockname()[1]}/", "127.0.0.1"), context(ca))
        thread.join()
    assert isinstance(found.error, http.client.BadStatusLine)
