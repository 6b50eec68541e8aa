"""Proofs: what holds for a request that went as it should, and what each flaw makes red."""

from __future__ import annotations

import pytest
import trace_builder as builder
from trace_builder import BEGIN, IDS, MS, WORKER, app_spans, case

from sanso.tracing.case import App, Case
from sanso.tracing.proofs import prove

ANSWER = "The answer carries this trace"
NESTING = "Every span lies inside its caller's"
CLOCKS = "The clocks are known"
RAN = "The app ran in the worker that uWSGI names"
UNIT = "That worker is of app-faults@current.service"
SOCKET = "nginx handed it over through the app's own socket"
CLIENT = "MySQL's client was that worker"
DOOR = "MySQL took it over its socket, as faults"
NO_TCP = "No TCP between the tiers"
RECORDED = [f"{tier} recorded this trace" for tier in ("nginx", "uWSGI", "The app", "MySQL")]
ALL = [ANSWER, *RECORDED, NESTING, CLOCKS, RAN, UNIT, SOCKET, CLIENT, DOOR, NO_TCP]


def wrong(made: Case) -> dict[str, str]:
    """What is said of the proofs that don't hold."""
    return {proof.name: proof.said for proof in prove(made) if not proof.ok}


def said(made: Case, name: str) -> str:
    (found,) = [proof.said for proof in prove(made) if proof.name == name]
    return found


def test_all_proofs_of_a_request_that_went_well_hold():
    assert [proof.name for proof in prove(case())] == ALL
    assert wrong(case()) == {}


def test_each_proof_says_what_was_seen():
    assert {proof.name: proof.said for proof in prove(case())} == {
        ANSWER: f"00-{IDS.trace}-{builder.NGINX}-01",
        "nginx recorded this trace": "pid 123, connection 45",
        "uWSGI recorded this trace": "worker 1, pid 456",
        "The app recorded this trace": "GET /slow, 2 calls of MySQL",
        "MySQL recorded this trace": "2 statements",
        NESTING: "11 spans, ± 2.100 ms",
        CLOCKS: "the server's is -0.100 ms off (± 0.100 ms), MySQL's timer ± 4 µs",
        RAN: "worker 1, pid 456",
        UNIT: "pid 456 is of app-faults@current.service, user faults",
        SOCKET: builder.SOCKET,
        CLIENT: "pid 456",
        DOOR: "connection 11 (Socket)",
        NO_TCP: ("nginx's upstream is a Unix socket, the worker has no TCP connection, MySQL doesn't listen on it"),
    }


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "something else than this nginx answered"),
        ({"traceresponse": "00-none"}, "traceresponse is '00-none'"),
        ({"traceresponse": f"00-{'0' * 32}-{builder.NGINX}-01"}, "another one"),
        ({"traceresponse": f"00-{IDS.trace}-{'9' * 16}-01"}, "its span is 9999999999999999"),
        ({"traceresponse": "\x1b[2J"}, r"\x1b"),
    ],
)
def test_answer_of_something_else_is_seen(headers, why):
    flaws = wrong(case(headers=headers))
    assert list(flaws) == [ANSWER]
    assert why in flaws[ANSWER]
    assert "\x1b" not in flaws[ANSWER]


def test_no_answer_is_no_proof():
    assert wrong(case(status=0, headers={}))[ANSWER] == "there was no answer"


def test_answer_that_broke_off_is_told():
    flaws = wrong(case(error=TimeoutError("no end within 75 s")))
    assert flaws == {"The answer is whole": "after 1234 bytes: no end within 75 s"}


@pytest.mark.parametrize(
    ("tier", "name", "file"),
    [
        ("nginx", RECORDED[0], "nginx/access.jsonl"),
        ("uwsgi", RECORDED[1], "faults/uwsgi.jsonl"),
        ("app", RECORDED[2], "faults/spans.jsonl"),
    ],
)
def test_tier_that_wrote_nothing_is_red_with_the_reason(tier, name, file):
    def edit(seen):
        seen[tier] = []
        seen["notes"] = [f"/var/log/sanso/{file} is missing", "1 line of /elsewhere is not JSON"]

    assert wrong(case(edit))[name] == f"it wrote nothing about it (/var/log/sanso/{file} is missing)"


@pytest.mark.parametrize(("tier", "name"), [("nginx", RECORDED[0]), ("uwsgi", RECORDED[1]), ("app", RECORDED[2])])
def test_tier_that_took_part_twice_is_red(tier, name):
    assert wrong(case(lambda seen: seen[tier].append(seen[tier][0])))[name] == "2 times"


def test_request_that_was_not_sampled_says_why():
    def edit(seen):
        seen["nginx"][0]["flags"] = "00"
        seen |= {"uwsgi": [], "app": [], "mysql": []}

    assert "nginx_trace_sampling" in wrong(case(edit))["The request was sampled"]


def test_request_that_nginx_answers_needs_nobody_else():
    made = case(builder.answered_by_nginx)
    assert wrong(made) == {}
    assert said(made, "No other tier took part") == "nginx answered it itself"


@pytest.mark.parametrize("tier", ["uwsgi", "app", "mysql"])
def test_tier_that_took_part_behind_the_back_of_nginx_is_red(tier):
    def edit(seen):
        there = seen[tier]
        builder.answered_by_nginx(seen)
        seen[tier] = there

    assert "No other tier took part" in wrong(case(edit))


def test_request_without_a_statement_has_none_to_prove():
    made = case(builder.without_mysql)
    assert wrong(made) == {}
    assert said(made, RECORDED[3]) == "no statement: the app asked nothing"


def test_app_without_a_database_has_no_proof_of_mysql():
    def edit(seen):
        builder.without_mysql(seen)
        seen |= {"mysql_problem": "ERROR 2002 (HY000): Can't connect", "mysql_tcp": False, "mysql_clock": []}

    made = case(edit, app=App("faults", database="none"))
    assert wrong(made) == {}
    assert RECORDED[3] not in [proof.name for proof in prove(made)]


def test_app_that_is_not_traced_is_not_missed():
    made = case(lambda seen: seen.update(app=[], mysql=[], mysql_problem="ERROR 2002"), app=App("faults", trace=False))
    assert wrong(made) == {}
    assert said(made, RECORDED[2]) == "not expected: faults is described by trace: false"


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda seen: seen["mysql"].pop(), "MySQL doesn't know the app's SELECT (5555555555555555)"),
        (lambda seen: app_spans(seen).pop(), "the app doesn't know MySQL's SELECT `id` FROM `error` LIMIT ?"),
        (lambda seen: seen.update(mysql_problem="ERROR 1045"), "could not be seen: ERROR 1045"),
        (lambda seen: seen.update(mysql_clock=[]), "could not be seen: MySQL's clock is missing"),
    ],
)
def test_statements_of_the_app_and_of_mysql_are_the_same(edit, why):
    assert why in wrong(case(edit))[RECORDED[3]]


def test_database_that_should_take_part_is_asked_for_even_without_a_statement():
    def edit(seen):
        builder.without_mysql(seen)
        seen["mysql_problem"] = "ERROR 2002"

    assert set(wrong(case(edit))) == {RECORDED[3], NO_TCP}


@pytest.mark.parametrize(("error", "missed"), [("2013", False), ("2006", False), ("1064", True)])
def test_statement_that_mysql_may_never_have_seen_is_not_missed(error, missed):
    def edit(seen):
        seen["mysql"].pop()
        app_spans(seen)[2]["attributes"].append({"key": "error.type", "value": {"stringValue": error}})

    assert (RECORDED[3] in wrong(case(edit))) is missed


def test_connecting_is_no_statement():
    def edit(seen):
        app_spans(seen).append(builder.db_span(IDS, "6" * 16, "connect", BEGIN + 12 * MS, BEGIN + 12 * MS))

    assert wrong(case(edit)) == {}


def shifted(event, by):
    """The app's span `event` (0 the server's, 1 and 2 MySQL's) begins or ends this much (ms) later."""

    def edit(seen):
        for key in by:
            app_spans(seen)[event][key] = str(int(app_spans(seen)[event][key]) + round(by[key] * MS))

    return edit


START, END = "startTimeUnixNano", "endTimeUnixNano"


@pytest.mark.parametrize(
    ("edit", "violation"),
    [
        (shifted(0, {START: -3}), "the app's GET /slow starts 2.800 ms before uWSGI's worker 1"),
        (shifted(0, {END: 30}), "the app's GET /slow ends 29.800 ms after uWSGI's worker 1"),
        (shifted(1, {START: -1}), "the app's SELECT starts 0.700 ms before the app's GET /slow"),
        (shifted(2, {END: 12}), "the app's SELECT ends 0.700 ms after the app's GET /slow"),
        (shifted(1, {START: 0.5}), "MySQL's SELECT COUNT ( * ) FROM `error` starts 0.400 ms before the app's SELECT"),
        (
            lambda seen: app_spans(seen)[0].update(parentSpanId="9" * 16),
            "the caller of the app's GET /slow is missing",
        ),
        (lambda seen: seen["nginx"][0].update(parent_id=""), "the caller of nginx's GET /slow?a=b is missing"),
    ],
)
def test_span_outside_of_its_callers_is_named(edit, violation):
    assert wrong(case(edit)) == {NESTING: violation}


@pytest.mark.parametrize(
    "edit",
    [
        shifted(0, {START: -2.1}),  # within the ticks of nginx's clock
        shifted(0, {END: 20}),  # a server that still cleans up
        shifted(1, {START: -0.5}),
    ],
)
def test_span_within_the_slack_is_inside(edit):
    assert wrong(case(edit)) == {}


def test_two_spans_of_one_id_are_red():
    def edit(seen):
        app_spans(seen)[2]["spanId"] = seen["mysql"][1]["span_id"] = builder.FIRST

    assert "2 spans are called 4444444444444444" in wrong(case(edit))[NESTING]


def test_server_that_outlasts_its_caller_is_shown():
    assert said(case(shifted(0, {END: 20})), NESTING).endswith("the app outlasts its caller by 19.800 ms")


def test_clock_that_is_off_is_found_out_by_the_nesting():
    made = case()
    for span in made.spans:
        if span.tier == "client":
            span.start, span.end = span.start - 3600_000 * MS, span.end - 3600_000 * MS
    assert "nginx's GET /slow?a=b ends" in wrong(made)[NESTING]


def test_error_of_the_clock_gives_slack():
    def shift(made, error):
        made.clock = type(made.clock)(made.clock.offset, error)
        for span in made.spans:
            if span.tier == "client":
                span.start, span.end = span.start + 12 * MS, span.end + 12 * MS
            if span.tier == "nginx":
                span.slack += error
        return made

    assert NESTING in wrong(shift(case(), 0))
    assert NESTING not in wrong(shift(case(), 10 * MS))


def test_clock_that_was_set_meanwhile_is_red():
    assert wrong(case(jump=3600_000 * MS))[CLOCKS].startswith("the server's was set by +3600000.000 ms")


def test_app_in_another_process_than_the_worker_is_red():
    flaws = wrong(case(lambda seen: seen["uwsgi"][0].update(pid=9)))
    assert flaws[RAN] == "the app ran in 456, uWSGI names 9"
    assert flaws[CLIENT] == "MySQL served 456, uWSGI names 9"


def test_worker_that_nobody_names_is_no_proof():
    flaws = wrong(case(lambda seen: seen.update(uwsgi=[], processes={})))
    assert {name for name, said in flaws.items() if "could not be seen" in said} == {RAN, UNIT, CLIENT, NO_TCP}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"unit": "app-faults@candidate.service"}, "app-faults@candidate.service"),
        ({"user": "root"}, "user root"),
        ({"unit": ""}, "could not be seen: it had ended"),
    ],
)
def test_worker_of_another_unit_or_user_is_red(change, why):
    assert why in wrong(case(lambda seen: seen["processes"][str(WORKER)].update(change)))[UNIT]


@pytest.mark.parametrize("upstream", ["unix:/run/app-other/app.sock", "127.0.0.1:8000"])
def test_upstream_that_is_not_the_apps_socket_is_red(upstream):
    flaws = wrong(case(lambda seen: seen["nginx"][0].update(upstream=upstream)))
    assert flaws[SOCKET] == upstream
    assert (NO_TCP in flaws) is (upstream[0] == "1")


def statements(**change):
    def edit(seen):
        for each in seen["mysql"]:
            each.update(change)

    return edit


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"connection_type": "TCP/IP"}, "its connection is of the type TCP/IP"),
        ({"connection_type": None}, "its connection is of the type unknown"),
        ({"user": "root"}, "the user is root"),
        ({"user": None}, "the user is unknown"),
    ],
)
def test_statement_through_another_door_or_of_another_user_is_red(change, why):
    assert wrong(case(statements(**change))) == {DOOR: why}


def test_tls_over_the_socket_is_the_socket_only_without_tcp():
    assert wrong(case(statements(connection_type="SSL/TLS"))) == {}

    def edit(seen):
        statements(connection_type="SSL/TLS")(seen)
        seen["mysql_tcp"] = True

    assert {DOOR, NO_TCP} == set(wrong(case(edit)))


@pytest.mark.parametrize(("pid", "why"), [(None, "could not be seen"), (9, "MySQL served 9, uWSGI names 456")])
def test_client_of_mysql_is_the_worker(pid, why):
    assert why in wrong(case(statements(client_pid=pid)))[CLIENT]


def test_connection_that_was_closed_again_is_judged_by_the_doors_there_are():
    gone = dict.fromkeys(("connection_type", "user", "client_pid", "connection_id", "host", "os_thread"))
    made = case(statements(**gone))
    assert wrong(made) == {}
    assert said(made, DOOR) == "its connection was closed since; MySQL has no other door"
    assert "by the app's word" in said(made, CLIENT)

    def edit(seen):
        statements(**gone)(seen)
        seen["mysql_tcp"] = True

    assert DOOR in wrong(case(edit))


def test_closed_connection_over_tcp_is_red():
    def edit(seen):
        statements(connection_type=None, user=None, client_pid=None)(seen)
        for span in app_spans(seen)[1:]:
            span["attributes"] = [each for each in span["attributes"] if each["key"] != "network.transport"]
            span["attributes"].append({"key": "network.transport", "value": {"stringValue": "tcp"}})

    assert wrong(case(edit))[DOOR] == "the app went over tcp"


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (
            lambda seen: seen["processes"]["456"].update(tcp=["10.0.0.1:5 -> 10.0.0.2:3306 ESTABLISHED"]),
            "10.0.0.2:3306",
        ),
        (lambda seen: seen["processes"]["456"].pop("tcp"), "could not be seen: the worker's sockets"),
        (lambda seen: seen.update(processes={}), "could not be seen: the worker's sockets"),
        (lambda seen: seen.update(mysql_tcp=True), "MySQL listens on TCP"),
        (lambda seen: seen.update(mysql_tcp=None), "could not be seen: whether MySQL listens on TCP"),
        (lambda seen: seen.update(mysql_problem="ERROR 2002"), "could not be seen: whether MySQL listens on TCP"),
        (lambda seen: seen["nginx"][0].update(upstream="127.0.0.1:80"), "nginx's upstream is 127.0.0.1:80"),
        (
            lambda seen: app_spans(seen)[1]["attributes"][2]["value"].update(stringValue="tcp"),
            "the app reached MySQL over",
        ),
    ],
)
def test_tcp_between_tiers_is_red(edit, why):
    assert why in wrong(case(edit))[NO_TCP]


def test_app_that_may_use_the_network_may_have_connections():
    def edit(seen):
        seen["processes"]["456"]["tcp"] = ["10.0.0.1:5 -> 192.0.2.1:443 ESTABLISHED"]

    made = case(edit, app=App("faults", network=True))
    assert wrong(made) == {}
    assert "network: true" in said(made, NO_TCP)


def test_app_that_nobody_describes_is_the_one_of_the_socket():
    made = case()
    made.described = None
    assert made.app.name == "faults"
    assert wrong(made) == {}


def test_app_that_nobody_describes_is_traced_if_uwsgi_says_so():
    def edit(seen):
        seen["uwsgi"][0]["traced"] = False
        seen |= {"app": [], "mysql": []}

    made = case(edit)
    assert "uWSGI says that it isn't traced" in wrong(made)[RECORDED[2]]
    made.described = None
    assert wrong(made) == {}


def test_description_of_an_inventory_is_taken_as_it_stands():
    assert App.of({"name": "faults", "wsgi": "x", "network": True}) == App("faults", network=True)
