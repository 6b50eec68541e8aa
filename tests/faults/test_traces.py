"""A trace tells where a request broke, and is red where something else answered, or TCP lies in between."""

from __future__ import annotations

import contextlib
from dataclasses import asdict

import pytest
from client import request, trace_response

from sanso.tracing import Call, CouldNotTrace, Evidence, follow


@pytest.fixture
def trace(server, app):
    """trace(path) follows a request to the sample app."""

    def trace(path="/"):
        call = Call(f"https://{app.host_name}{path}", server.address)
        with Evidence(server.way, user=server.settings["trace_user"]) as evidence:
            return follow(server.way, call, ca=server.ca, app=asdict(app), evidence=evidence)

    return trace


@pytest.fixture
def run(server):
    """run(command, words…) runs it as root; it must succeed."""
    return server.host.check_output


@contextlib.contextmanager
def stopped(run, *units):
    try:
        run(f"systemctl stop {' '.join(units)}")
        yield
    finally:
        run(f"systemctl start {' '.join(reversed(units))}")


@pytest.fixture
def edited(run):
    """edited(path, old, new) changes a file of nginx's while the `with` lasts."""

    @contextlib.contextmanager
    def edited(path, old, new):
        run("cp --preserve %s %s", path, f"{path}.kept")
        try:
            run("sed --in-place %s %s", f"s|{old}|{new}|", path)
            assert run("cat %s", path) != run("cat %s", f"{path}.kept"), f"{old} isn't in {path}"
            run("nginx -t && systemctl reload nginx && sleep 0.5")
            yield
        finally:
            run("mv %s %s", f"{path}.kept", path)
            run("systemctl reload nginx && sleep 0.5")

    return edited


def failed(trace):
    return {proof.name for proof in trace.proofs if not proof.ok}


# A hop is broken


def test_trace_ends_where_uwsgi_does_not_run(run, trace, app):
    with stopped(run, f"app-{app.name}@current.socket", f"app-{app.name}@current.service"):
        found = trace()
    assert (found.ok, found.status, found.ended.tier) == (False, 502, "uwsgi"), found.text()
    assert f"unix:/run/app-{app.name}/app.sock" in found.ended.said, found.text()


def test_trace_ends_where_mysql_does_not_run(run, trace):
    with stopped(run, "mysql.service"):
        found = trace()
    assert (found.ok, found.status, found.ended.tier) == (False, 503, "mysql"), found.text()
    assert "--tier db" in found.ended.next


def test_trace_ends_where_nginx_does_not_run(run, trace):
    with stopped(run, "nginx.service", "nginx.socket"):
        found = trace()
    assert (found.ok, found.ended.tier) == (False, "nginx"), found.text()
    assert {span.tier for span in found.spans} == {"client"}


@pytest.mark.parametrize(("mode", "errno"), [("0600", 13), ("gone", 2)], ids=["closed", "gone"])
def test_trace_names_what_is_wrong_with_the_socket(run, trace, app, mode, errno):
    path = f"/run/app-{app.name}/current.sock"
    try:
        run("chmod 0600 %s" if mode == "0600" else "mv %s /run/sanso-faults.sock", path)
        found = trace()
    finally:
        run("chmod 0660 %s" if mode == "0600" else "mv /run/sanso-faults.sock %s", path)
    assert (found.ended.tier, f"({errno}:" in found.ended.said) == ("uwsgi", True), found.text()


# Something else is in between


def test_tcp_between_nginx_and_uwsgi_is_red(run, trace, app, edited):
    """The same app answers, by way of TCP."""
    unit, port = "sanso-faults-proxy", 9999
    proxy = f"/usr/lib/systemd/systemd-socket-proxyd /run/app-{app.name}/current.sock"
    listen = f"--socket-property=ListenStream=127.0.0.1:{port}"
    try:
        run(f"systemd-run --collect --unit={unit} {listen} {proxy}")
        with edited("/etc/nginx/conf.d/sites.conf", "uwsgi_pass app_.*;", f"uwsgi_pass 127.0.0.1:{port};"):
            found = trace()
    finally:
        run(f"systemctl stop {unit}.socket {unit}.service")
    assert found.status == 200
    assert {"nginx handed it over through the app's own socket", "No TCP between the tiers"} <= failed(found)


def test_nginx_that_answers_in_the_place_of_the_app_shows(trace, edited):
    with edited("/etc/nginx/conf.d/sites.conf", "location / {", "location / { return 200;"):
        found = trace()
    assert {span.tier for span in found.spans} == {"client", "nginx"}, found.text()


def test_fake_server_is_red(run, trace, server, app):
    """It has nginx's certificate, and answers 200 with a `traceresponse` that it made up."""
    fake = (
        "import http.server, ssl\n"
        "class Fake(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        trace = self.headers.get('traceparent', '')[3:35]\n"
        "        self.send_response(200)\n"
        "        self.send_header('traceresponse', f'00-{trace}-00f067aa0ba902b7-01')\n"
        "        self.end_headers()\n"
        "server = http.server.HTTPServer(('', 443), Fake)\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        f"context.load_cert_chain('/etc/nginx/tls/{app.name}.pem')\n"
        "server.socket = context.wrap_socket(server.socket, server_side=True)\n"
        "server.serve_forever()\n"
    )
    with stopped(run, "nginx.service", "nginx.socket"):
        try:
            run("systemd-run --collect --unit=sanso-faults-fake python3 -c %s", fake)
            run("until ss -Hltn sport = 443 | grep -q .; do sleep 0.1; done")
            assert request(server, app.host_name).status == 200
            with pytest.raises(CouldNotTrace, match="no line of trace"):
                trace()
        finally:
            run("systemctl stop sanso-faults-fake.service")


# What the app is told

ECHO = r"""
import json, os, socket, struct
path = "/run/sanso-faults.sock"
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.chmod(path, 0o666)
listener.listen()
while True:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        length, = struct.unpack("<xHx", stream.read(4))
        data, texts = stream.read(length), []
        while data:
            size, = struct.unpack("<H", data[:2])
            texts.append(data[2 : 2 + size].decode())
            data = data[2 + size :]
        told = dict(zip(texts[::2], texts[1::2]))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + json.dumps(told).encode())
"""


@pytest.fixture
def told(server, app, run, edited):
    """told(headers) asks in the place of the app what nginx tells it: (the variables, the parts of traceresponse)."""

    def told(**headers):
        answer = request(server, app.host_name, "/", headers=headers)
        return answer.data, trace_response(answer)

    try:
        run("systemd-run --collect --unit=sanso-faults-echo python3 -c %s", ECHO)
        run("until test -S /run/sanso-faults.sock; do sleep 0.1; done")
        with edited("/etc/nginx/conf.d/sites.conf", "uwsgi_pass app_.*;", "uwsgi_pass unix:/run/sanso-faults.sock;"):
            yield told
    finally:
        run("systemctl stop sanso-faults-echo.service; rm --force /run/sanso-faults.sock")


TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_app_is_called_by_nginx_where_nothing_is_sampled(told):
    asked = (told(traceparent=f"00-{TRACE}-{PARENT}-00", tracestate="a=1") for _ in range(50))
    # nginx_trace_ratio has some sampled all the same.
    variables, answered = next((answer for answer in asked if answer[1]["flags"] == "00"), (None, None))
    assert variables, "every request is sampled"
    assert variables["HTTP_TRACEPARENT"] == f"00-{TRACE}-{answered['span']}-00"
    assert variables["HTTP_TRACESTATE"] == "a=1"
    assert [name for name in variables if name.startswith("TRACE_")] == []


def test_app_is_called_by_uwsgi_where_it_is_sampled(told, run):
    secret = run("cat /etc/nginx/trace_secret").split('"')[1]
    variables, answered = told(traceparent=f"00-{TRACE}-{PARENT}-01", **{"X-Sanso-Trace": secret})
    assert variables["HTTP_TRACEPARENT"] == f"00-{TRACE}-{variables['TRACE_SPAN']}-01"
    ids = {name: variables[name] for name in ("TRACE_ID", "TRACE_PARENT", "TRACE_FLAGS")}
    assert ids == {"TRACE_ID": TRACE, "TRACE_PARENT": answered["span"], "TRACE_FLAGS": "01"}
    assert len({PARENT, variables["TRACE_PARENT"], variables["TRACE_SPAN"]}) == 3


def test_app_is_not_told_the_secret_nor_a_strangers_headers(told):
    variables, _ = told(traceparent="garbage", tracestate="a=1", **{"X-Sanso-Trace": "guessed"})
    assert [name for name in variables if name.startswith(("HTTP_X_SANSO", "HTTP_TRACESTATE"))] == []
    assert variables["HTTP_TRACEPARENT"].startswith("00-")


# The logs


def test_log_that_is_rotated_in_between_loses_no_trace(run, trace):
    before = trace()
    run("logrotate --force --state /run/sanso-faults-logrotate /etc/logrotate.d/sanso && sleep 0.5")
    after = trace()
    assert (before.ok, after.ok) == (True, True), after.text()


def test_log_of_an_app_that_is_missing_is_made_anew_by_the_next_start(run, trace, app):
    run(f"rm /var/log/sanso/{app.name}/*.jsonl")
    red = trace()
    run(f"systemctl restart app-{app.name}@current.service")
    green = trace()
    assert (red.ok, green.ok) == (False, True), green.text()
    assert {"uWSGI recorded this trace", "The app recorded this trace"} & failed(red), red.text()
