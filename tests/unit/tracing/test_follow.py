"""A whole trace: a request over TLS to a server on this computer, and its evidence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trace_builder
from traced_server import NAME, SECRET, TracedServer

from sanso.tracing import Call, CouldNotTrace, Evidence, between, follow
from sanso.tracing.evidence import Clock

MS = 1_000_000
HOUR = 3600 * 10**9


def trace(server, path="/slow?a=b", **words):
    return follow(
        server.way, Call(server.url(path), "127.0.0.1"), **{"ca": server.ca, "app": {"name": "faults"}, **words}
    )


def flaws(found) -> dict[str, str]:
    return {proof.name: proof.said for proof in found.proofs if not proof.ok}


def test_request_through_all_tiers_holds(traced):
    found = trace(traced)
    assert flaws(found) == {}
    assert found.ok
    assert {span.tier for span in found.spans} == {"client", "nginx", "uwsgi", "app", "mysql"}


def test_request_is_sampled_with_the_secret(traced):
    found = trace(traced)
    ((_, _, headers, _),) = traced.received
    assert headers["X-Sanso-Trace"] == SECRET
    assert headers["traceparent"] == f"00-{found.trace_id}-{found.spans[0].id}-01"


def test_secret_is_in_nothing_that_comes_out(traced):
    found = trace(traced)
    for text in (repr(found), found.text(200), json.dumps(found.as_data()), json.dumps(found.otlp())):
        assert SECRET not in text


def test_secret_does_not_go_over_plain_http(tmp_path, ca):
    with TracedServer(tmp_path, ca, tls=False) as server:
        server.edit = trace_builder.answered_by_nginx
        found = follow(server.way, Call(f"http://{NAME}:{server.port}/", "127.0.0.1"), app={"name": "faults"})
    assert flaws(found) == {}
    assert "X-Sanso-Trace" not in server.received[0][2]


def test_one_link_serves_several(traced):
    with Evidence(traced.way) as link:
        found = [trace(traced, evidence=link) for _ in range(3)]
    assert [each.ok for each in found] == [True, True, True]
    assert len({each.trace_id for each in found}) == 3


@pytest.mark.parametrize("offset", [-HOUR, HOUR])
def test_clock_that_is_off_makes_no_difference(traced, offset):
    traced.configure(offset=offset)
    found = trace(traced)
    assert flaws(found) == {}
    assert found.clock.offset == pytest.approx(offset, abs=50 * MS)


def test_clock_that_is_set_meanwhile_is_red(traced):
    traced.configure(set_by=HOUR)
    assert "The clocks are known" in flaws(trace(traced))


@pytest.mark.parametrize(
    ("apart", "expected"),
    [
        (0, (Clock(100, 30), 0)),
        (1000, (Clock(600, 530), 0)),  # they drift: the error grows
        (10 * MS, (Clock(100, 30), 10 * MS)),
        (-10 * MS, (Clock(100, 30), -10 * MS)),
    ],
)
def test_clocks_that_run_apart_are_told_from_one_that_is_set(apart, expected):
    assert between(Clock(100, 30), Clock(100 + apart, 20), passed=0) == expected


def test_long_request_lets_the_clocks_run_apart_further():
    _, jump = between(Clock(0, 0), Clock(10 * MS, 0), passed=30 * 10**9)
    assert jump == 0


def test_answer_of_something_else_is_red_not_an_error(traced):
    traced.writes = False
    traced.respond = lambda handler, ids: (
        handler.send_response(200),
        handler.send_header("Content-Length", "0"),
        handler.end_headers(),
    )
    found = trace(traced)
    assert set(flaws(found)) == {"The answer carries this trace", "nginx recorded this trace"}
    assert {span.tier for span in found.spans} == {"client"}


def test_log_without_the_request_tells_nothing(traced):
    traced.writes = False
    traced.configure(notes=["/var/log/sanso/nginx/access.jsonl is missing"])
    with pytest.raises(CouldNotTrace, match=r"no line of trace \w+ \(/var/log/sanso/nginx/access.jsonl is missing\)"):
        trace(traced)


def test_refused_certificate_tells_nothing_and_names_the_ca(traced, tmp_path):
    with pytest.raises(CouldNotTrace, match="was refused: self-signed certificate") as refused:
        trace(traced, ca=None)
    assert "this computer's CAs" in str(refused.value)
    assert traced.received == []


def test_certificate_of_another_name_is_refused(traced):
    call = Call(f"https://other.test:{traced.port}/", "127.0.0.1")
    with pytest.raises(CouldNotTrace, match="not valid for") as refused:
        follow(traced.way, call, ca=traced.ca)
    assert str(traced.ca) in str(refused.value)


def test_file_that_is_no_ca_is_told(traced, tmp_path):
    (tmp_path / "no.crt").write_text("nothing")
    with pytest.raises(CouldNotTrace, match=r"no\.crt can't be read as the file of a CA"):
        trace(traced, ca=tmp_path / "no.crt")


def test_nobody_on_the_port_is_an_end_at_nginx_with_a_picture(traced):
    found = follow(traced.way, Call(f"https://{NAME}:1/", "127.0.0.1"), ca=traced.ca)
    assert (found.ended.tier, found.ended.next) == ("nginx", "./sanso logs --tier web")
    assert not found.ok
    assert "nginx isn't running" in found.text()


def test_broken_hop_is_red_and_named(traced):
    text = f"connect() to {trace_builder.SOCKET} failed (111: Connection refused) while connecting to upstream"
    traced.edit = lambda seen: trace_builder.refused(seen, text)
    traced.respond = lambda handler, ids: handler.well(ids, status=502)
    found = trace(traced, option=" -i x")
    assert (found.ended.tier, found.next_step) == ("uwsgi", "./sanso logs -i x --tier app")
    assert flaws(found)["uWSGI recorded this trace"] == "it wrote nothing about it"


def test_failed_proof_alone_leads_to_check(traced):
    traced.edit = lambda seen: seen.update(mysql_tcp=True)
    found = trace(traced)
    assert not found.ok
    assert (found.ended, found.next_step) == (None, "./sanso check")


def test_data_has_the_keys_that_the_page_reads(traced):
    data = json.loads(json.dumps(trace(traced).as_data()))
    assert list(data) == [
        "trace_id", "url", "method", "app", "status", "ok", "ended", "clock", "duration_ms", "queue_wait_ms",
        "spans", "gaps", "proofs", "hints", "spent_ms",
    ]  # fmt: skip
    assert list(data["spans"][0]) == [
        "id", "parent", "tier", "name", "kind", "start_ms", "duration_ms", "depth", "error", "attributes",
    ]  # fmt: skip
    assert list(data["proofs"][0]) == ["name", "ok", "said"]
    assert list(data["clock"]) == ["offset_ms", "error_ms", "mysql_spread_us"]
    assert data["app"] == "faults"
    assert set(data["spent_ms"]) == {"request", "collect"}
    assert min(span["start_ms"] for span in data["spans"]) == 0


def test_end_in_the_data_has_its_keys(traced):
    found = follow(traced.way, Call(f"https://{NAME}:1/", "127.0.0.1"), ca=traced.ca)
    data = found.as_data()
    assert list(data["ended"]) == ["tier", "said", "next"]
    assert (data["queue_wait_ms"], data["clock"]["mysql_spread_us"]) == (None, None)


def test_libraries_of_the_command_line_are_not_needed():
    script = "import sys, sanso.tracing; print({'click', 'rich', 'jinja2', 'yaml'} & sys.modules.keys())"
    source = Path(__file__).parents[3] / "src"
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(source)}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")
