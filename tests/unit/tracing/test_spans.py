"""Spans: each tier's evidence, put onto the server's clock."""

from __future__ import annotations

import pytest
import trace_builder as builder
from trace_builder import BEGIN, IDS, MS, app_spans, case

from sanso.tracing.case import Case, Ids
from sanso.tracing.evidence import Clock, CouldNotTrace
from sanso.tracing.spans import assemble, ordered, shape


def placed(made: Case) -> dict[str, tuple[float, float]]:
    """(at, took) in ms, by tier and name."""
    return {f"{s.tier} {s.name}": ((s.start - BEGIN) / MS, s.took / MS) for s in made.spans}


def test_every_tier_stands_at_its_time():
    assert placed(case()) == {
        "client GET /slow?a=b": (0, 74),
        "client TCP connect": (0, 4),
        "client TLS handshake": (4, 4),
        "nginx GET /slow?a=b": (9, 64),
        f"nginx upstream {builder.SOCKET}": (10, 62),
        "uwsgi worker 1": (11.5, 60),
        "app GET /slow": (pytest.approx(11.7), pytest.approx(59.6)),
        "app SELECT": (50, 10),
        "mysql SELECT COUNT ( * ) FROM `error`": (pytest.approx(12.1), pytest.approx(27.8)),
        "mysql SELECT `id` FROM `error` LIMIT ?": (pytest.approx(50.1), pytest.approx(9.8)),
    }


def test_callers_stand_before_those_they_call():
    assert [(span.tier, depth) for span, depth in ordered(case().spans)] == [
        ("client", 0),
        ("client", 1),
        ("client", 1),
        ("nginx", 1),
        ("nginx", 2),
        ("uwsgi", 3),
        ("app", 4),
        ("app", 5),
        ("mysql", 6),
        ("app", 5),
        ("mysql", 6),
    ]


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_clock_of_the_client_has_no_say(hours):
    made = case()
    offset = hours * 3600_000 * MS
    made.exchange.events = {name: at + made.clock.offset - offset for name, at in made.exchange.events.items()}
    made.clock = Clock(offset, MS)
    made.spans = assemble(made)
    assert placed(made)["client GET /slow?a=b"] == (0, 74)


def test_slack_of_nginx_is_its_ticks_and_the_error_of_the_clock():
    made = case()
    assert {span.slack for span in made.spans if span.tier == "nginx"} == {2 * MS + made.clock.error, 2 * MS}


def test_slack_of_mysql_is_the_spread_of_its_timer():
    (slack,) = {span.slack for span in case().spans if span.tier == "mysql"}
    assert slack == pytest.approx(MS // 4 + 4000, abs=300)


def test_middle_reading_of_the_timer_counts():
    def edit(seen):
        seen["mysql_clock"][0][0] += 5000.0  # one that was held up

    (span,) = [span for span in case(edit).spans if "COUNT" in span.name]
    assert (span.start - BEGIN) / MS == pytest.approx(12.1, abs=0.01)


def test_statements_without_a_clock_have_no_place():
    assert not case(lambda seen: seen.update(mysql_clock=[])).executed


def test_upstream_without_the_line_of_uwsgi_is_counted_from_the_end():
    made = case(builder.refused)
    (span,) = [span for span in made.spans if span.name.startswith("upstream")]
    assert (span.start - BEGIN, span.end - BEGIN) == (11 * MS, 73 * MS)


def test_upstream_that_was_tried_twice_is_one_span():
    def edit(seen):
        seen["nginx"][0] |= {"upstream": f"{builder.SOCKET}, {builder.SOCKET}", "upstream_time": "0.002, 0.060"}

    (span,) = [span for span in case(edit).spans if span.name.startswith("upstream")]
    assert (span.name, span.took) == (f"upstream {builder.SOCKET}", 62 * MS)


@pytest.mark.parametrize("nobody", ["", "-"])
def test_answer_of_nginx_itself_has_no_upstream(nobody):
    def edit(seen):
        builder.answered_by_nginx(seen)
        seen["nginx"][0]["upstream"] = nobody

    made = case(edit)
    assert made.upstream == ""
    assert [span.tier for span in made.spans] == ["client", "client", "client", "nginx"]


def test_span_of_another_trace_is_left_out():
    def edit(seen):
        app_spans(seen)[1]["traceId"] = "0" * 32

    assert len(case(edit).asked) == 1


def test_attributes_under_their_old_names_are_the_same():
    """As OpenTelemetry's instrumentations still write them, unless told otherwise."""

    def rename(seen):
        for span in app_spans(seen):
            for attribute in span["attributes"]:
                attribute["key"] = attribute["key"].replace("db.system.name", "db.system")
                attribute["key"] = attribute["key"].replace("http.response.status_code", "http.status_code")

    assert [span.attributes for span in assemble(case(rename))] == [span.attributes for span in assemble(case())]


def test_queue_wait_is_from_nginx_to_the_worker():
    assert case().queue_wait == 1_500_000


def test_queue_wait_is_never_negative():
    """nginx's tick may lie after the worker's start."""

    def edit(seen):
        seen["uwsgi"][0]["nginx_msec"] = f"{BEGIN / MS / 1000 + 0.012:.3f}"

    assert case(edit).queue_wait == 0


def test_failed_connection_has_only_the_spans_that_it_came_to():
    made = case(lambda seen: seen.clear(), events={"start": BEGIN, "end": BEGIN + MS}, status=0)
    assert [span.name for span in made.spans] == ["GET /slow?a=b"]


@pytest.mark.parametrize("status", [500, 503])
def test_failure_of_a_server_is_an_error(status):
    def edit(seen):
        seen["nginx"][0]["status"] = seen["uwsgi"][0]["status"] = status
        seen["nginx"][0]["upstream_status"] = str(status)

    made = case(edit, status=status)
    assert [span.tier for span in made.spans if span.error] == ["client", "nginx", "nginx", "uwsgi"]


@pytest.mark.parametrize(
    ("tier", "edit"),
    [
        ("nginx", lambda seen: seen["nginx"][0].pop("msec")),
        ("nginx", lambda seen: seen["nginx"].insert(0, "text")),
        ("uWSGI", lambda seen: seen["uwsgi"][0].update(start_us="soon")),
        ("the app", lambda seen: seen["app"][0].update(resourceSpans=[1])),
        ("the app", lambda seen: app_spans(seen)[0].update(kind=None)),
        ("MySQL", lambda seen: seen["mysql"][0].update(start_ps=None)),
        ("MySQL", lambda seen: seen.update(mysql_clock=[[1]])),
    ],
)
def test_evidence_of_another_shape_is_said_not_guessed(tier, edit):
    with pytest.raises(CouldNotTrace, match=f"what {tier} wrote about trace {IDS.trace} can't be understood"):
        case(edit)


def test_spans_that_call_each_other_in_a_circle_are_all_there():
    def edit(seen):
        app_spans(seen)[0]["parentSpanId"] = builder.FIRST

        app_spans(seen)[1]["parentSpanId"] = builder.SERVED

    made = case(edit)
    assert len(ordered(made.spans)) == len(made.spans)


def test_ids_are_of_the_w3c():
    ids = Ids()
    assert (len(ids.trace), len(ids.root)) == (32, 16)
    assert ids.traceparent == f"00-{ids.trace}-{ids.root}-01"
    assert ids.trace != Ids().trace


def test_statement_is_shown_without_comments_on_one_line():
    assert shape("/*traceparent='00-a'*/ SELECT\n  1 /* why */") == "SELECT 1"
