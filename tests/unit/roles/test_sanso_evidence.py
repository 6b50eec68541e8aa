"""What sanso-evidence finds in logs that grow, are rotated, or hold what nobody expects."""

import contextlib
import json
import os
import shutil

import pytest

TRACE, OTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "a" * 32
SOCKET = "unix:/run/app-shop/app.sock"


@pytest.fixture(scope="module")
def evidence(load):
    return load("roles/trace/files/usr/local/bin/sanso-evidence")


@pytest.fixture
def logs(evidence, tmp_path, monkeypatch):
    """The folder of the logs; nothing else of a server is there."""
    monkeypatch.setattr(evidence, "LOGS", tmp_path)
    monkeypatch.setattr(evidence, "SECRET", tmp_path / "secret")
    monkeypatch.setattr(evidence, "statements", lambda id: {"mysql": []})
    monkeypatch.setattr(evidence, "POLL", 0)
    for name in ("nginx/access.jsonl", "nginx/error.log", "shop/uwsgi.jsonl", "shop/spans.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def write(log, *lines):
    with log.open("ab") as file:
        for line in lines:
            file.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")


def nginx(id=TRACE, **fields):
    return {"trace_id": id, "flags": "01", "connection": 7, "upstream": "", "upstream_header": "", **fields}


def otlp(id=TRACE, pid=2**22 + 1):
    """A pid that no process has."""
    resource = {"attributes": [{"key": "process.pid", "value": {"intValue": str(pid)}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [{"traceId": id}]}]}]}


@pytest.fixture
def begin(evidence, logs):
    """begin() opens the logs as they are then, and returns the function that asks for the trace."""
    with contextlib.ExitStack() as opened:

        def begin():
            reader = opened.enter_context(contextlib.closing(evidence.Evidence()))
            return lambda: reader.trace(TRACE, 0)

        yield begin


@pytest.fixture
def trace(begin):
    """trace() asks for it; what was written since the test began is new."""
    return begin()


def test_every_tier_is_found(logs, trace):
    write(logs / "nginx/access.jsonl", nginx(upstream=SOCKET, upstream_header="0.001"))
    write(logs / "shop/uwsgi.jsonl", {"trace_id": TRACE, "pid": 2**22 + 1, "traced": True})
    write(logs / "shop/spans.jsonl", otlp())
    found = trace()
    assert [len(found[tier]) for tier in ("nginx", "uwsgi", "app")] == [1, 1, 1]
    assert found["processes"] == {str(2**22 + 1): {"unit": "", "user": "", "unix": [], "tcp": []}}


def test_another_trace_is_left_out(logs, trace):
    write(logs / "nginx/access.jsonl", nginx(OTHER), nginx(), nginx(OTHER))
    assert [line["trace_id"] for line in trace()["nginx"]] == [TRACE]


def test_request_that_was_made_before_is_found_too(logs, begin):
    write(logs / "nginx/access.jsonl", nginx())
    assert len(begin()()["nginx"]) == 1


# Rotation


def rename(log):
    """As logrotate does with nginx's logs."""
    log.rename(f"{log}.1")
    log.touch()


def cut(log):
    """As it does with an app's, which nobody can tell to open another file."""
    shutil.copy(log, f"{log}.1")
    os.truncate(log, 0)


@pytest.mark.parametrize("rotate", [rename, cut])
@pytest.mark.parametrize("when", ["before the line", "after the line"])
def test_log_that_is_rotated_meanwhile_loses_nothing(logs, begin, rotate, when):
    log = logs / "nginx/access.jsonl"
    write(log, nginx(OTHER), nginx(OTHER))
    trace = begin()
    if when == "before the line":
        rotate(log)
        write(log, nginx())
    else:
        write(log, nginx())
        rotate(log)
    assert len(trace()["nginx"]) == 1


@pytest.mark.parametrize("rotate", [rename, cut])
def test_line_before_a_rotation_is_seen_by_each_later_look(evidence, logs, rotate):
    """A trace is looked for again until all tiers have written."""
    log = logs / "nginx/access.jsonl"
    write(log, nginx(OTHER), nginx(OTHER))
    with contextlib.closing(evidence.Evidence()) as reader:
        write(log, nginx())
        rotate(log)
        assert [len(reader.look(TRACE)["nginx"]) for _ in range(2)] == [1, 1]


def test_log_that_was_rotated_before_is_read_too(logs, begin):
    write(logs / "nginx/access.jsonl", nginx())
    rename(logs / "nginx/access.jsonl")
    assert len(begin()()["nginx"]) == 1


def test_log_that_is_missing_is_named(logs, begin):
    (logs / "shop/spans.jsonl").unlink()
    assert begin()()["notes"] == [f"{logs}/shop/spans.jsonl: No such file or directory"]


def test_log_that_appears_meanwhile_is_read(logs, begin):
    log = logs / "nginx/access.jsonl"
    log.unlink()
    trace = begin()
    write(log, nginx())
    assert len(trace()["nginx"]) == 1


# What nobody expects


def test_bytes_that_are_no_text_are_shown(logs, trace):
    """nginx escapes quotes and backslashes, and leaves other bytes as they are."""
    write(
        logs / "nginx/access.jsonl",
        b'{"trace_id":"%s","flags":"00","uri":"/\xff\\\\x41\\"\xc3\xa4"}\n' % TRACE.encode(),
    )
    assert trace()["nginx"][0]["uri"] == '/\\xff\\x41"ä'


def test_line_that_is_not_json_is_counted(logs, trace):
    write(logs / "shop/uwsgi.jsonl", b"%s was here\n" % TRACE.encode())
    assert trace()["notes"] == [f"{logs}/shop/uwsgi.jsonl: 1 lines about this trace are not JSON"]


def test_line_that_is_still_being_written_is_none(logs, trace):
    write(logs / "nginx/access.jsonl", json.dumps(nginx()).encode())
    found = trace()
    assert (found["nginx"], found["notes"]) == ([], [])


# Errors


def error(connection, text="connect() to unix:/x failed (111: Connection refused) while connecting to upstream"):
    return f"2026/11/21 22:44:01 [error] 123#123: *{connection} {text}\n".encode()


def test_errors_are_those_of_the_requests_connection(logs, trace):
    write(logs / "nginx/access.jsonl", nginx())
    write(
        logs / "nginx/error.log",
        error(6, "other"),
        error(7),
        b"2026/11/21 22:44:01 [notice] 1#1: start\n",
        b"garbage\n",
    )
    (found,) = trace()["nginx_errors"]
    assert (found["connection"], found["pid"], found["level"]) == (7, 123, "error")
    assert found["text"].startswith("connect() to unix:/x failed (111")


# Waiting


@pytest.mark.parametrize(
    ("line", "uwsgi", "app", "is_complete"),
    [
        (nginx(), [], [], True),
        (nginx(upstream=SOCKET, upstream_header="-"), [], [], True),
        (nginx(upstream=SOCKET, upstream_header="0.001"), [], [], False),
        (nginx(upstream=SOCKET, upstream_header="0.001", flags="00"), [], [], True),
        (nginx(upstream=SOCKET, upstream_header="0.001"), [{"traced": True}], [], False),
        (nginx(upstream=SOCKET, upstream_header="0.001"), [{"traced": False}], [], True),
        (nginx(upstream=SOCKET, upstream_header="0.001"), [{"traced": True}], [otlp()], True),
    ],
    ids=["nginx alone", "no answer", "answered", "not sampled", "without the app", "app that takes no part", "all"],
)
def test_what_is_waited_for_is_what_took_part(evidence, line, uwsgi, app, is_complete):
    assert evidence.complete({"nginx": [line], "uwsgi": uwsgi, "app": app}) is is_complete


# Questions


@pytest.mark.parametrize(
    "question",
    [{}, {"ask": "shell"}, {"ask": "trace", "id": "%' OR '", "wait": 1}, {"ask": "trace", "id": TRACE}, []],
    ids=["nothing", "another", "an id that is none", "no time", "no object"],
)
def test_unknown_question_is_refused(evidence, logs, question):
    with contextlib.closing(evidence.Evidence()) as reader:
        assert "unknown question" in evidence.answer(reader, question)["error"]


def test_hello_hands_out_the_secret_and_the_apps(evidence, logs):
    (logs / "secret").write_text('"1b4e28ba-2fa1" 1;\n')
    with contextlib.closing(evidence.Evidence()) as reader:
        said = evidence.answer(reader, {"ask": "hello"})
    assert said == {"version": 1, "secret": "1b4e28ba-2fa1", "apps": ["shop"]}


# The kernel's tables


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0A004D0A:01BB", "10.77.0.10:443"),
        ("00000000000000000000000001000000:0CEA", "[::1]:3306"),
    ],
    ids=["IPv4", "IPv6"],
)
def test_address_is_read_as_the_kernel_writes_it(evidence, text, expected):
    """On a little-endian computer."""
    assert evidence.address(text) == expected


def test_connections_of_others_and_listeners_are_left_out(evidence, tmp_path):
    row = "   0: 0100007F:9C40 0100007F:0CEA {} 00000000:00000000 00:00000000 00000000  {}        0 12345"
    table = tmp_path / "tcp"
    table.write_text("\n".join(["head", row.format("01", 33), row.format("01", 34), row.format("0A", 33)]) + "\n")
    assert evidence.tcp(table, 33) == ["127.0.0.1:40000 -> 127.0.0.1:3306 ESTABLISHED"]


def test_process_is_found_with_its_user(evidence):
    found = evidence.process(os.getpid())
    assert found["user"]


# The logs of all tiers


@pytest.fixture
def journal(monkeypatch, tmp_path):
    """journal(entry, …) is what journalctl says."""
    program = tmp_path / "bin/journalctl"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    def says(*entries):
        lines = "\n".join(json.dumps({"__REALTIME_TIMESTAMP": "5000000", "_PID": "9", **entry}) for entry in entries)
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
        program.chmod(0o755)

    says()
    return says


UWSGI = {"trace_id": TRACE, "status": 200, "method": "GET", "start_us": 2000000, "micros": 1500, "nginx_msec": "1.999"}
ACCESS = nginx(msec=2.5, status=200, method="GET", host="shop.test", uri="/", request_time=0.0125, pid=7)
SPAN = {"traceId": TRACE, "name": "GET /", "startTimeUnixNano": "2000000000", "endTimeUnixNano": "2004200000"}
MYSQL = """/usr/sbin/mysqld, Version: 8.4
# Time: 1970-01-01T00:00:03.500000Z
# User@Host: shop[shop] @ localhost []  Id: 12
SELECT 1;
"""


@pytest.fixture
def everything(logs, journal, evidence, monkeypatch, tmp_path):
    """Each log has a line."""
    monkeypatch.setattr(evidence, "MYSQL_LOGS", tmp_path / "mysql")
    (tmp_path / "mysql").mkdir()
    (tmp_path / "mysql/error.log").write_text("1970-01-01T00:00:03.250000Z 0 [System] ready\n")
    (tmp_path / "mysql/slow.log").write_text(MYSQL)
    write(logs / "nginx/access.jsonl", ACCESS)
    write(logs / "nginx/error.log", error(7))
    write(logs / "shop/uwsgi.jsonl", {**UWSGI, "pid": 9, "traced": True})
    otlp_line = otlp(pid=9)
    otlp_line["resourceSpans"][0]["scopeSpans"][0]["spans"] = [SPAN]
    write(logs / "shop/spans.jsonl", otlp_line)
    journal({"_SYSTEMD_UNIT": "app-shop@current.service", "SYSLOG_IDENTIFIER": "shop", "MESSAGE": "hello"})


TEXTS = {
    "web": ["200 GET shop.test/ 12.5 ms trace=" + TRACE],
    "app": [
        f"200 GET 1.5 ms, waited 1.0 ms in the socket trace={TRACE}",
        f"GET / 4.2 ms, 0 calls trace={TRACE}",
        "hello",
    ],
    "db": ["0 [System] ready", "# User@Host: shop[shop] @ localhost []  Id: 12\nSELECT 1;"],
}


@pytest.mark.parametrize("tier", TEXTS)
def test_lines_of_a_tier_are_in_the_order_of_time(evidence, everything, tier):
    lines, _ = evidence.logs([tier], 0, 100)
    assert [line["text"].removeprefix("\n") for line in lines] == TEXTS[tier]


def test_errors_of_nginx_are_lines_too(evidence, everything):
    lines, _ = evidence.logs(["web"], 1e9, 2e10)
    assert [(line["pid"], line["text"][:13]) for line in lines] == [(123, "[error] 123#1")]


def test_lines_outside_of_the_time_are_left_out(evidence, everything):
    lines, _ = evidence.logs(["db"], 3.3, 100)
    assert [line["source"] for line in lines] == ["mysql slow"]


@pytest.mark.parametrize(
    ("entry", "tier"),
    [
        ({"_SYSTEMD_UNIT": "nginx.service"}, "web"),
        ({"_SYSTEMD_UNIT": "init.scope", "UNIT": "app-shop@candidate.socket"}, "app"),
        ({"_SYSTEMD_UNIT": "mysql.service"}, "db"),
        ({"_SYSTEMD_UNIT": "ssh.service"}, "os"),
        ({}, "os"),
    ],
    ids=["nginx", "systemd about an app", "mysql", "ssh", "the kernel"],
)
def test_journal_is_told_apart_by_its_units(evidence, logs, journal, entry, tier):
    journal({"MESSAGE": "x", **entry})
    lines, _ = evidence.logs(["web", "app", "db", "os"], 0, 100)
    assert [line["tier"] for line in lines if line["text"] == "x"] == [tier]


def test_message_that_is_no_text_is_shown(evidence, logs, journal):
    journal({"MESSAGE": [104, 105, 255]})
    assert evidence.logs(["os"], 0, 100)[0][0]["text"] == "hi\\xff"


def test_log_that_may_not_be_read_is_a_note(evidence, everything, logs):
    (logs / "mysql/slow.log").unlink()
    lines, notes = evidence.logs(["db"], 0, 100)
    assert (len(lines), notes) == (1, [f"{logs}/mysql/slow.log: No such file or directory"])


def test_request_has_its_lines_and_those_of_its_worker(evidence, everything, journal, monkeypatch):
    monkeypatch.setattr(evidence, "statements", lambda id: {"mysql": [], "mysql_clock": []})
    unit = {"_SYSTEMD_UNIT": "app-shop@current.service"}
    journal(
        {**unit, "__REALTIME_TIMESTAMP": "2100000", "MESSAGE": "by its worker"},
        {**unit, "__REALTIME_TIMESTAMP": "2100000", "_PID": "10", "MESSAGE": "meanwhile"},
    )
    with contextlib.closing(evidence.Evidence()) as reader:
        found = evidence.request(reader, TRACE, ["web", "app", "db"])["lines"]
    sure = {line["text"].split()[0] if line["source"] == "nginx" else line["text"] for line in found if line["sure"]}
    assert {"by its worker", "200", *TEXTS["app"][:2]} == sure
    assert "meanwhile" in {line["text"] for line in found if not line["sure"]}


def test_request_of_another_is_left_out(evidence, everything, logs, monkeypatch):
    monkeypatch.setattr(evidence, "statements", lambda id: {"mysql": [], "mysql_clock": []})
    write(logs / "nginx/access.jsonl", {**ACCESS, "trace_id": OTHER})
    with contextlib.closing(evidence.Evidence()) as reader:
        found = evidence.request(reader, TRACE, ["web"])["lines"]
    assert [line["text"] for line in found] == TEXTS["web"]


def test_request_that_nobody_knows_has_no_lines(evidence, everything):
    with contextlib.closing(evidence.Evidence()) as reader:
        assert evidence.request(reader, OTHER, ["web"])["lines"] == []


def test_statements_of_a_request_are_lines_of_the_database(evidence, monkeypatch):
    """MySQL's timers count picoseconds from a zero of their own: at 7 s it was 100 s, so the statement ended at 99."""
    row = {
        "text": "SELECT ?",
        "start_ps": 5_500_000_000_000,
        "wait_ps": 500_000_000_000,
        "rows_examined": 3,
        "errno": 0,
    }
    clock = [[100_000_000.0, 7_000_000_000_000]]
    monkeypatch.setattr(evidence, "statements", lambda id: {"mysql": [row], "mysql_clock": clock})
    (line,) = evidence.statement_lines(TRACE)
    assert (line["time"], line["text"]) == (99.0, "SELECT ? 500.0 ms, 3 rows examined")
