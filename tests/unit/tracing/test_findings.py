"""Where a trace ended, where its time went, and what could be better."""

from __future__ import annotations

import socket
import ssl
from http.client import RemoteDisconnected

import pytest
import trace_builder as builder
from trace_builder import BEGIN, IDS, MS, app_spans, case

from sanso.tracing import findings
from sanso.tracing.spans import Span

WHERE = "faults.test:443 (10.77.0.10)"


HEADER = " while reading response header from upstream"
ABSENT = "Can't connect to MySQL server on 'localhost' ([Errno 2] No such file or directory)"
CLOSED = "Can't connect to MySQL server on 'localhost' ([Errno 111] Connection refused)"
FORBIDDEN = "Can't connect to local MySQL server through socket '/run/mysqld/mysqld.sock' (13)"


def connect(errno, why):
    return f"connect() to {builder.SOCKET} failed ({errno}: {why}) while connecting to upstream"


def ended(made, option=""):
    found = findings.ended(made, option)
    return (found.tier, found.said) if found else None


def test_request_that_went_through_ended_nowhere():
    assert ended(case()) is None


@pytest.mark.parametrize(
    ("error", "came", "said"),
    [
        (
            ConnectionRefusedError(111, "Connection refused"),
            [],
            f"nothing answers on {WHERE}: Connection refused: nginx isn't running",
        ),
        (TimeoutError("timed out"), [], f"nothing answers on {WHERE}: a firewall is in the way, or the server is down"),
        (socket.gaierror(-2, "Name or service not known"), [], "Name or service not known"),
        (ssl.SSLError(1, "[SSL] unrecognized name"), ["connected"], f"the TLS handshake with {WHERE} failed"),
        (RemoteDisconnected("closed"), ["connected", "tls", "sent"], "closed the connection without an answer"),
        (TimeoutError("timed out"), ["connected", "tls", "sent"], "didn't answer within 75 s"),
    ],
)
def test_client_that_got_nowhere_ended_at_nginx(error, came, said):
    events = dict.fromkeys(["start", *came, "end"], BEGIN)
    tier, found = ended(case(lambda seen: seen.clear(), error=error, events=events, status=0, headers={}))
    assert tier == "nginx"
    assert said in found


@pytest.mark.parametrize(
    ("text", "tier", "said"),
    [
        (connect(2, "No such file or directory"), "uwsgi", "app-faults@current.socket doesn't run"),
        (connect(13, "Permission denied"), "uwsgi", "nginx may not open the socket"),
        (connect(111, "Connection refused"), "uwsgi", "uWSGI isn't running"),
        (connect(11, "Resource temporarily unavailable"), "uwsgi", "queue is full"),
        (f"upstream timed out (110: Connection timed out){HEADER}", "app", "didn't answer in time"),
        (f"upstream prematurely closed connection{HEADER}", "uwsgi", "the worker died"),
        (f"recv() failed (104: Connection reset by peer){HEADER}", "uwsgi", "the worker closed"),
        (f"upstream sent too big header{HEADER}", "app", "headers are larger"),
        ("upstream does something new while reading upstream", "uwsgi", "nginx got upstream does something new"),
    ],
)
def test_word_of_nginx_is_told_with_its_meaning(text, tier, said):
    made = case(lambda seen: builder.refused(seen, text), status=502)
    where, found = ended(made)
    assert where == tier
    assert said in found
    assert f"on {builder.SOCKET}" in found


def test_request_that_is_one_too_many_is_told_so():
    def refuse(seen):
        builder.refused(seen, "no live upstreams while connecting to upstream", status=503)
        seen["nginx"][0]["upstream"] = "app_faults"

    made = case(refuse, status=503)
    tier, found = ended(made)
    assert (tier, made.app.name) == ("uwsgi", "faults")
    assert found.endswith("on app_faults: all workers are at work, and waiting_max requests wait already")


def test_end_is_one_sentence_with_the_next_command():
    text = f"connect() to {builder.SOCKET} failed (111: Connection refused) while connecting to upstream"
    made = case(lambda seen: builder.refused(seen, text), status=502)
    assert findings.ended(made, " -i inventory/mine") == findings.End(
        "uwsgi",
        f"nginx got connect() failed (111: Connection refused) on {builder.SOCKET}: uWSGI isn't running",
        "./sanso logs -i inventory/mine --tier app",
    )


def test_no_answer_without_a_word_of_nginx_is_an_end_too():
    assert ended(case(builder.refused, status=502)) == (
        "uwsgi",
        f"nginx got no answer from {builder.SOCKET} (502), and its log of errors doesn't say why",
    )


def test_warning_of_nginx_is_no_end():
    def edit(seen):
        text = "an upstream response is buffered to a temporary file while reading upstream"
        seen["nginx_errors"] = [{"level": "warn", "pid": 1, "connection": 45, "text": text}]

    assert ended(case(edit)) is None


def test_failure_of_nginx_itself_ends_there():
    def edit(seen):
        builder.answered_by_nginx(seen)
        seen["nginx"][0]["status"] = 500
        seen["nginx_errors"] = [
            {"level": "crit", "pid": 1, "connection": 45, "text": "open() failed (24: Too many open files)"}
        ]

    assert ended(case(edit, status=500)) == (
        "nginx",
        "nginx answered 500 itself: open() failed (24: Too many open files)",
    )


def failing(**attributes):
    """The app's own span says so."""

    def edit(seen):
        for key, value in attributes.items():
            app_spans(seen)[0]["attributes"].append({"key": key.replace("__", "."), "value": {"stringValue": value}})

    return edit


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        (
            {"http__response__status_code": "500", "error__type": "ZeroDivisionError"},
            "the app answered 500: ZeroDivisionError",
        ),
        ({"http__response__status_code": "500", "error__type": "500"}, "the app answered 500"),
        ({"error__type": "ZeroDivisionError"}, "the app answered 200: ZeroDivisionError"),
    ],
)
def test_failure_inside_the_app_ends_there(attributes, said):
    assert ended(case(failing(**attributes))) == ("app", said)


def test_failure_of_the_app_names_the_error_of_mysql_before_it():
    def edit(seen):
        failing(http__response__status_code="500", error__type="ProgrammingError")(seen)
        app_spans(seen)[1]["attributes"].append({"key": "error.type", "value": {"stringValue": "1146"}})

    assert ended(case(edit)) == (
        "app",
        "the app answered 500: ProgrammingError, after MySQL's error 1146 for its SELECT",
    )


@pytest.mark.parametrize("status", ["404", "302"])
def test_answer_that_finds_nothing_is_no_end(status):
    assert ended(case(failing(http__response__status_code=status))) is None


def connecting(error, message, name="connect"):
    def edit(seen):
        builder.without_mysql(seen)
        attributes = {"error__type": error, "error__message": message}
        app_spans(seen).append(builder.db_span(IDS, "6" * 16, name, BEGIN + 12 * MS, BEGIN + 13 * MS, **attributes))

    return edit


@pytest.mark.parametrize(
    ("error", "message", "said"),
    [
        ("2003", ABSENT, "its socket isn't there"),
        ("2003", CLOSED, "nobody listens on its socket"),
        ("2002", FORBIDDEN, "app_mysql_group"),
        ("2002", "Can't connect", "MySQL isn't running, or can't be reached"),
        ("1045", "Access denied for user 'faults'@'localhost'", "no account for the app's user"),
        ("1698", "Access denied for user 'faults'@'localhost'", "no account for the app's user"),
        ("1040", "Too many connections", "mysql_max_connections"),
        ("TimeoutError", "", "the app got TimeoutError for connecting to MySQL"),
    ],
)
def test_connection_that_failed_ends_at_mysql(error, message, said):
    made = case(connecting(error, message))
    tier, found = ended(made)
    assert tier == "mysql"
    assert said in found
    assert message in found
    assert findings.ended(made).next == "./sanso logs --tier db"


def test_connection_lost_during_a_statement_ends_at_mysql():
    assert ended(case(connecting("2013", "Lost connection", name="SELECT")))[0] == "mysql"


def test_connection_that_came_at_the_second_try_is_no_end():
    def edit(seen):
        attributes = {"error__type": "2006"}
        app_spans(seen).append(builder.db_span(IDS, "6" * 16, "SELECT", BEGIN + 12 * MS, BEGIN + 12 * MS, **attributes))

    assert ended(case(edit)) is None


def test_statement_that_mysql_refused_is_the_apps_to_answer_for():
    def edit(seen):
        app_spans(seen)[2]["attributes"].append({"key": "error.type", "value": {"stringValue": "1146"}})

    assert ended(case(edit)) is None


def test_statement_that_still_runs_ends_at_mysql():
    def edit(seen):
        builder.refused(
            seen, "upstream timed out (110: Connection timed out) while reading response header from upstream", 504
        )
        seen["mysql"] = [
            builder.statement(builder.FIRST, 1, 3600_012 * MS, 35_000 * MS, "SELECT SLEEP (?)", running=True)
        ]

    assert ended(case(edit, status=504)) == ("mysql", "MySQL still ran SELECT SLEEP (?) after 35000 ms")


def test_answer_that_broke_off_is_an_end():
    assert ended(case(error=TimeoutError("no end within 75 s")))[1] == (
        "the answer broke off after 1234 bytes: no end within 75 s"
    )


def test_app_that_answers_an_error_and_writes_nothing_is_told():
    def edit(seen):
        seen["app"] = []
        seen["nginx"][0]["status"] = 500

    assert ended(case(edit, status=500)) == ("app", "the app answered 500, and wrote nothing about this trace")


def test_largest_gaps_come_first_in_good_words():
    found = findings.gaps(case().spans)
    assert [(round(gap.ns / MS, 1), gap.said) for gap in found] == [
        (11.3, "app: after SELECT, until its end"),
        (10.0, "app: between SELECT and SELECT"),
        (1.5, "nginx: before uWSGI"),
        (1.0, "client: between TLS handshake and nginx"),
        (1.0, "client: after nginx, until its end"),
    ]


def test_gap_around_a_statement_is_the_statements():
    def edit(seen):
        seen["mysql"][0]["start_ps"] += 10 * MS * 1000

    assert "app's SELECT: before MySQL" in [gap.said for gap in findings.gaps(case(edit).spans)]


def test_children_side_by_side_cover_once():
    spans = [
        Span("a", "", "app", "GET", 2, 0, 10 * MS),
        Span("b", "a", "app", "long", 3, 1 * MS, 8 * MS),
        Span("c", "a", "app", "short", 3, 2 * MS, 3 * MS),
    ]
    assert [(gap.ns // MS, gap.said) for gap in findings.gaps(spans)] == [
        (2, "app: after long, until its end"),
        (1, "app: before long"),
    ]


def test_hints_of_a_request_that_went_well_are_none():
    assert findings.hints(case()) == []


def executed(*rows):
    def edit(seen):
        del app_spans(seen)[1:]
        seen["mysql"] = []
        for number, (text, changes) in enumerate(rows):
            id, start = f"{number:016x}", BEGIN + (12 + number) * MS
            app_spans(seen).append(builder.db_span(IDS, id, "SELECT", start, start + MS))
            seen["mysql"].append(builder.statement(id, number, 3600_012 * MS + number * MS, MS, text, **changes))

    return edit


@pytest.mark.parametrize(("times", "told"), [(4, False), (5, True), (25, True)])
def test_statement_that_is_executed_often_is_pointed_out(times, told):
    found = findings.hints(case(executed(*[("SELECT `a` FROM `b` WHERE `id` = ?", {})] * times)))
    assert [hint.partition(" (")[0] for hint in found] == [
        f"SELECT `a` FROM `b` WHERE `id` = ? was executed {times} times"
    ] * told


def test_different_statements_are_no_repetition():
    assert findings.hints(case(executed(*[(f"SELECT `a{number}`", {}) for number in range(9)]))) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rows_examined": 999, "no_index": True}, ""),
        (
            {"rows_examined": 1000, "no_index": True, "rows_sent": 900},
            "examined 1000 rows without an index for 900 rows",
        ),
        ({"rows_examined": 1000, "rows_sent": 11}, ""),
        ({"rows_examined": 1000, "rows_sent": 10}, "examined 1000 rows for 10 rows"),
        ({"rows_examined": 1000, "rows_sent": 0, "rows_affected": 900}, ""),
        ({"rows_examined": 5000, "rows_sent": 0}, "examined 5000 rows for 0 rows"),
    ],
)
def test_statement_that_examines_many_rows_is_pointed_out(changes, told):
    found = findings.hints(case(executed(("SELECT 1", changes))))
    assert told in "".join(found)
    assert len(found) == bool(told)


def test_temporary_table_on_disk_is_pointed_out():
    assert findings.hints(case(executed(("SELECT 1", {"tmp_disk_tables": 1})))) == [
        "SELECT 1 put 1 temporary table on disk: sort or group fewer or shorter columns"
    ]


@pytest.mark.parametrize(("waited", "told"), [(9, False), (11, True)])
def test_long_wait_in_the_queue_is_pointed_out(waited, told):
    def edit(seen):
        seen["uwsgi"][0]["nginx_msec"] = f"{BEGIN / MS / 1000 + (12 - waited) / 1000:.3f}"

    assert any("in the socket for a free worker" in hint for hint in findings.hints(case(edit))) is told


@pytest.mark.parametrize(("took", "told"), [(9, False), (10, True)])
def test_slow_connection_to_mysql_is_pointed_out(took, told):
    def edit(seen):
        app_spans(seen).append(builder.db_span(IDS, "6" * 16, "connect", BEGIN + 12 * MS, BEGIN + (12 + took) * MS))

    assert any("connecting to MySQL took" in hint for hint in findings.hints(case(edit))) is told
