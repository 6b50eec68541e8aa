"""The picture of a trace on a terminal or in a log, and its export."""

from __future__ import annotations

import dataclasses

import pytest
import trace_builder as builder
from trace_builder import MS, case

from sanso.tracing import judged, waterfall
from sanso.tracing.spans import Span

PICTURE = """\
tier   span                          at ms  took ms
client GET /slow?a=b                 0.000   74.000  ██████████████████████████
client  TCP connect                  0.000    4.000  █
client  TLS handshake                4.000    4.000   ██
nginx   GET /slow?a=b                9.000   64.000     ███████████████████████
nginx    upstream unix:/run/app…    10.000   62.000     ██████████████████████
uwsgi     worker 1                  11.500   60.000      █████████████████████
app        GET /slow                11.700   59.600      █████████████████████
app         SELECT                  12.000   28.000      ██████████
mysql        SELECT COUNT ( * )…    12.100   27.800      ██████████
app         SELECT                  50.000   10.000                   ████
mysql        SELECT `id` FROM `…    50.100    9.800                   ████"""


@pytest.fixture
def found():
    return judged(case())


def rows(trace, width):
    return [waterfall.as_text([line]) for line in waterfall.picture(trace, width)]


def test_picture_is_as_it_should_be(found):
    assert "\n".join(rows(found, 80)) == PICTURE


@pytest.mark.parametrize("width", [80, 100, 109, 110, 137, 200])
def test_no_row_is_wider_than_the_terminal(found, width):
    lines = waterfall.picture(found, width)
    assert max(sum(waterfall.cells(text) for text, _ in line) for line in lines) <= width


@pytest.mark.parametrize(("width", "like"), [(20, 80), (500, 200)])
def test_width_has_limits(found, width, like):
    assert rows(found, width) == rows(found, like)


@pytest.mark.parametrize(("width", "shown"), [(109, False), (110, True)])
def test_evidence_is_shown_where_there_is_room(found, width, shown):
    assert ("pid 123, connection 45" in "\n".join(rows(found, width))) is shown


def test_each_tier_shows_its_evidence(found):
    assert {(span.tier, waterfall.evidence_of(span)) for span in found.spans} >= {
        ("client", "TLSv1.3"),
        ("nginx", "pid 123, connection 45"),
        ("nginx", "connect 0.000 s, header 0.062 s"),
        ("uwsgi", "pid 456, queue 1.5 ms"),
        ("app", "pid 456"),
        ("app", "connection 11 over unix"),
        ("mysql", "connection 11 (Socket), examined 90"),
    }


def test_what_a_statement_met_is_shown():
    def edit(seen):
        seen["mysql"][0] |= {"lock_ps": 1_200_000_000, "no_index": True}
        seen["mysql"][1]["errno"] = 1146

    shown = [waterfall.evidence_of(span) for span in case(edit).executed]
    assert shown == ["connection 11 (Socket), examined 90, no index, locked 1.2 ms", "error 1146"]


def test_bar_lies_where_the_time_was():
    span = Span("a", "", "app", "x", 2, 25, 50)
    assert waterfall.bar(span, 0, 100, 20) == "     █████          "


@pytest.mark.parametrize(("start", "end", "at"), [(0, 0, 0), (100, 100, 19), (99, 99, 19)])
def test_shortest_span_has_a_bar_within_the_picture(start, end, at):
    assert waterfall.bar(Span("a", "", "app", "x", 2, start, end), 0, 100, 20) == " " * at + "█" + " " * (19 - at)


def test_trace_without_time_has_a_picture():
    assert waterfall.bar(Span("a", "", "app", "x", 2, 5, 5), 5, 5, 10) == "█" + " " * 9


def test_many_spans_leave_out_the_shortest_and_say_so(found):
    more = [Span(f"{n:016x}", found.spans[0].id, "app", f"n{n}", 3, n * MS, n * MS + n) for n in range(100)]
    many = dataclasses.replace(found, spans=[*found.spans, *more])
    lines = rows(many, 120)
    assert len(lines) == waterfall.ROWS + 2
    assert lines[-1] == "… and 51 shorter spans, which --json and --html have"
    assert any(" n99 " in line for line in lines)
    assert not any(" n0 " in line for line in lines)


def test_deep_span_is_a_step_to_the_right(found):
    names = [line[7:].partition("GET")[0] for line in rows(found, 120) if "GET" in line]
    assert names == ["", " ", "    "]


def test_wide_characters_take_two_columns():
    assert waterfall.pad("日本", 6) == "日本  "
    assert waterfall.cut("日本日本", 5) == "日本…"


def test_ascii_is_enough_where_there_is_nothing_else(found):
    text = found.text(120, ascii=True)
    assert text.isascii()
    assert "####" in text
    assert "+ nginx recorded this trace" in text


def test_text_ends_with_what_matters(found):
    assert found.text().splitlines()[-1] == (
        "✓ 200 in 74.0 ms through client → nginx → uwsgi → app → mysql; all 13 proofs hold"
    )


def test_text_tells_times_clock_proofs_and_hints():
    def edit(seen):
        for each in seen["mysql"]:
            each.update(rows_examined=5000, no_index=True)

    text = judged(case(edit)).text(200)
    for part in (
        "waited in the socket's queue  1.500 ms",
        "largest gaps  11.300 ms app: after SELECT, until its end; 10.000 ms app",
        "clock  server's minus this computer's -0.100 ms (± 0.100 ms); MySQL's timer ± 4 µs",
        "✓ nginx recorded this trace  pid 123, connection 45",
        "! SELECT COUNT ( * ) FROM `error` examined 5000 rows without an index for 1 row",
    ):
        assert part in text


def test_failed_proof_is_marked_and_named_last():
    lines = judged(case(lambda seen: seen.update(mysql_tcp=True))).text().splitlines()
    assert "✗ No TCP between the tiers  MySQL listens on TCP" in lines
    assert lines[-2:] == [
        "✗ 200 in 74.0 ms, but 1 of 13 proofs failed: No TCP between the tiers",
        "  next  ./sanso check",
    ]


def test_broken_hop_is_named_last():
    text = f"connect() to {builder.SOCKET} failed (111: Connection refused) while connecting to upstream"
    lines = judged(case(lambda seen: builder.refused(seen, text), status=502)).text().splitlines()
    assert lines[-2].startswith("✗ The trace ended at uWSGI: nginx got connect() failed (111: Connection refused)")
    assert lines[-1] == "  next  ./sanso logs --tier app"


def test_styles_are_only_words(found):
    known = {"client", "nginx", "uwsgi", "app", "mysql", "good", "bad", "bold", "dim", ""}
    assert {style for line in waterfall.report(found) for _, style in line} <= known


def test_export_has_a_resource_for_each_tier(found):
    resources = found.otlp()["resourceSpans"]
    names = [each["resource"]["attributes"][0]["value"]["stringValue"] for each in resources]
    assert names == ["client", "nginx", "uwsgi", "faults", "mysql"]


def test_export_is_otlp(found):
    (span, *_) = [
        span
        for resource in found.otlp()["resourceSpans"]
        for span in resource["scopeSpans"][0]["spans"]
        if span["name"] == "worker 1"
    ]
    assert (span["traceId"], span["spanId"], span["kind"]) == (found.trace_id, builder.UWSGI, 2)
    assert int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]) == 60 * MS
    assert {"key": "process.pid", "value": {"intValue": "456"}} in span["attributes"]
    assert {"key": "uwsgi.queue_wait_ms", "value": {"doubleValue": 1.5}} in span["attributes"]


def test_export_has_no_parent_for_the_root_and_one_for_all_others(found):
    spans = [span for each in found.otlp()["resourceSpans"] for span in each["scopeSpans"][0]["spans"]]
    assert [span["name"] for span in spans if "parentSpanId" not in span] == ["GET /slow?a=b"]
    assert {span["parentSpanId"] for span in spans[1:]} <= {span["spanId"] for span in spans}


def test_export_marks_errors():
    made = case(builder.refused, status=502)
    spans = [span for each in judged(made).otlp()["resourceSpans"] for span in each["scopeSpans"][0]["spans"]]
    assert [span["name"] for span in spans if span["status"]] == [
        "GET /slow?a=b",
        "GET /slow?a=b",
        f"upstream {builder.SOCKET}",
    ]
