"""Traces: whose trace ids nginx takes over, who may have a request sampled, and who may read what the tiers wrote."""

from __future__ import annotations

import http.client
import json

import pytest
from client import Answer, Connection, require_traces, trace_response, trusting
from evidence import ask, connect_attempt, modes, mysql, read_attempt

GROUPS = {"web"}

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
LOGS = "/var/log/sanso"

# Name: (headers, whether they are valid, whether they ask for sampling). https://www.w3.org/TR/trace-context/#traceparent-header
HEADERS = {
    "sampled": ([f"00-{TRACE}-{PARENT}-01"], True, True),
    "not sampled": ([f"00-{TRACE}-{PARENT}-00"], True, False),
    "another flag beside it": ([f"00-{TRACE}-{PARENT}-03"], True, True),
    "another flag instead": ([f"00-{TRACE}-{PARENT}-02"], True, False),
    "later version": ([f"cc-{TRACE}-{PARENT}-01"], True, True),
    "later version with more": ([f"cc-{TRACE}-{PARENT}-01-what-the-future"], True, True),
    "later version with more, wrongly": ([f"cc-{TRACE}-{PARENT}-01.what"], False, False),
    "version 00 with more": ([f"00-{TRACE}-{PARENT}-01-x"], False, False),
    "version ff": ([f"ff-{TRACE}-{PARENT}-01"], False, False),
    "upper case": ([f"00-{TRACE.upper()}-{PARENT}-01"], False, False),
    "trace id of zeros": ([f"00-{'0' * 32}-{PARENT}-01"], False, False),
    "parent of zeros": ([f"00-{TRACE}-{'0' * 16}-01"], False, False),
    "short trace id": ([f"00-{TRACE[:-1]}-{PARENT}-01"], False, False),
    "long trace id": ([f"00-{TRACE}a-{PARENT}-01"], False, False),
    "flags that are none": ([f"00-{TRACE}-{PARENT}-0x"], False, False),
    "empty": ([""], False, False),
    "two of them": ([f"00-{TRACE}-{PARENT}-01", f"00-{TRACE[::-1]}-{PARENT}-01"], False, False),
    "the end of a comment": ([f"00-{TRACE}-{PARENT}-01*/ DROP"], False, False),
    "a space behind": ([f"00-{TRACE}-{PARENT}-01 "], True, True),
    "none": ([], False, False),
    "an encoded line break": ([f"00-{TRACE}-{PARENT}-01%0a"], False, False),
    "a quote": (['"},{"a":"'], False, False),
}


@pytest.fixture(autouse=True)
def traced(server):
    require_traces(server)


@pytest.fixture(scope="module")
def name(server):
    """A name that is served."""
    return server.sites[0].name if server.sites else pytest.skip("the inventory describes no site")


@pytest.fixture(scope="module")
def secret(host):
    return ask(host, "cat /etc/nginx/trace_secret").split('"')[1]


@pytest.fixture
def ask_with(server, name):
    """ask_with(headers) asks for a page that nobody has, with these (name, value) pairs, and returns the answer."""

    def ask_with(headers):
        connection = Connection(server.address, name, trusting())
        try:
            connection.putrequest("GET", "/sanso-check")
            for pair in headers:
                connection.putheader(*pair)
            connection.endheaders()
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    return ask_with


# Trace ids


@pytest.mark.parametrize("kind", HEADERS)
def test_traceparent_is_taken_over_only_if_valid(server, ask_with, secret, kind):
    headers, is_valid, is_sampled = HEADERS[kind]
    if server.settings["nginx_trace_sampling"] == "nobody":
        is_sampled = False
    answer = ask_with([("X-Sanso-Trace", secret), *(("traceparent", value) for value in headers)])
    parts = trace_response(answer)
    drawn = float(server.settings["nginx_trace_ratio"]) > 0
    assert (parts["trace"] == TRACE, parts["flags"] == "01") == (
        is_valid,
        is_sampled or (drawn and parts["flags"] == "01"),
    )
    assert parts["span"] != PARENT


@pytest.mark.parametrize(
    "headers", [[], [("X-Sanso-Trace", "guessed")]], ids=["without the secret", "with another secret"]
)
def test_stranger_can_not_have_a_request_sampled(server, ask_with, headers):
    settings = server.settings
    if settings["nginx_trace_sampling"] == "anyone" or float(settings["nginx_trace_ratio"]) > 0:
        pytest.skip("the inventory lets strangers' requests be sampled")
    answer = ask_with([("traceparent", f"00-{TRACE}-{PARENT}-01"), *headers])
    assert trace_response(answer).group("trace", "flags") == (TRACE, "00"), answer


def test_bytes_that_are_no_text_do_not_break_the_log(server, host, name):
    """nginx writes them as they came, and the one that reads them shows them as \\xNN."""
    connection = Connection(server.address, name, trusting())
    connection.connect()
    try:
        connection.sock.sendall(
            b"GET /\xff\\x41\"' HTTP/1.1\r\nHost: " + name.encode() + b"\r\nConnection: close\r\n\r\n"
        )
        answer = http.client.HTTPResponse(connection.sock)
        answer.begin()
        id = trace_response(Answer(answer.status, answer.headers, answer.read()))["trace"]
    finally:
        connection.close()
    question = json.dumps({"ask": "trace", "id": id, "wait": 0})
    found = json.loads(
        ask(host, "echo %s | sudo -u %s /usr/local/bin/sanso-evidence", question, server.settings["trace_user"])
    )
    assert [line["uri"] for line in found["nginx"]] == ["/\\xff\\x41\"'"]


# Who reads it


@pytest.fixture(scope="module")
def logs(host):
    """The files that the tiers write about requests, and the history of each app's releases."""
    return ask(host, "find %s -type f", LOGS).splitlines()


@pytest.fixture(scope="module")
def reader(server):
    return server.settings["trace_user"]


def test_nobody_logs_in_as_the_reader(host, reader):
    shell = ask(host, "getent passwd %s", reader).split(":")[6]
    password = ask(host, "getent shadow %s", reader).split(":")[1]
    assert (shell, password[:1]) in {("/usr/sbin/nologin", "!"), ("/usr/sbin/nologin", "*")}


def test_reader_is_in_no_group_but_that_of_the_socket(server, host, reader):
    assert set(ask(host, "id -Gn %s", reader).split()) == {reader, server.settings["mysql_socket_group"]}


def test_reader_reads_what_is_about_requests_and_no_history(host, logs, reader):
    wanted = {log: "EACCES" if "/releases.jsonl" in log else "done" for log in logs}
    assert {log: read_attempt(host, log, reader) for log in logs} == wanted, "\n".join(modes(host, log) for log in logs)


def test_logs_are_closed_to_anybody_else(host, logs):
    attempts = {log: read_attempt(host, log, "nobody") for log in logs}
    assert attempts == dict.fromkeys(logs, "EACCES"), "\n".join(modes(host, log) for log in logs)


def test_no_app_reads_the_logs_of_another_tier(host, app):
    logs = ask(host, "find %s -type f -not -path %s", LOGS, f"{LOGS}/{app.name}/*").splitlines()
    attempts = {log: read_attempt(host, log, app.name) for log in logs}
    assert attempts == dict.fromkeys(logs, "EACCES"), "\n".join(modes(host, log) for log in logs)


@pytest.mark.parametrize("user", ["nobody", "www-data"])
def test_secret_is_closed_to(host, user):
    assert read_attempt(host, "/etc/nginx/trace_secret", user) == "EACCES", modes(host, "/etc/nginx/trace_secret")


def test_folders_of_the_logs_are_roots(host):
    """Whoever owns one could lay a link there, and logrotate would follow it as root."""
    folders = ask(host, "find %s -type d -printf '%%u %%m %%p\\n'", LOGS).splitlines()
    assert {folder for folder in folders if not folder.startswith(("root 751 ", "root 755 "))} == set()


def test_reader_sees_four_tables_of_mysql_and_nothing_else(host, reader):
    grants = {row[0] for row in mysql(host, f"SHOW GRANTS FOR '{reader}'@'localhost'")}
    tables = ["events_statements_current", "events_statements_history_long", "session_connect_attrs", "threads"]
    to = f"TO `{reader}`@`localhost`"
    assert grants == {
        f"GRANT USAGE ON *.* {to}",
        *(f"GRANT SELECT ON `performance_schema`.`{each}` {to}" for each in tables),
    }


def test_account_of_the_reader_is_for_nobody_else(host, server, reader):
    """Somebody else comes as far as the socket at most: who a connection is, the kernel says."""
    assert mysql(host, f"SELECT plugin, host FROM mysql.user WHERE user = '{reader}'") == [["auth_socket", "localhost"]]
    assert connect_attempt(host, "/run/mysqld/mysqld.sock", "nobody") == "EACCES"


def test_tool_is_roots(host):
    assert ask(host, "stat --format='%U %a' /usr/local/bin/sanso-evidence") == "root 755"


# How long it is kept


def test_logs_are_rotated_every_day(host):
    timer = host.service("logrotate.timer")
    assert (timer.is_running, timer.is_enabled) == (True, True)


def test_rotation_knows_each_log(host, logs):
    said = host.run("logrotate --debug --state /dev/null /etc/logrotate.d/sanso").stderr
    current = [log for log in logs if log.endswith((".log", ".jsonl"))]
    assert [log for log in current if f"considering log {log}" not in said] == [], said
