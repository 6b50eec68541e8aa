"""A tier that is gone is said so to the client, and comes back by itself or when it is started."""

import contextlib
import socket
import time

import client
import pytest
from load import Load


@contextlib.contextmanager
def stopped(host, *units):
    host.check_output(f"systemctl stop {' '.join(units)}")
    try:
        yield
    finally:
        host.check_output(f"systemctl start {' '.join(reversed(units))}")


def test_without_the_app_nginx_says_bad_gateway(server, app, ready):
    with stopped(server.host, f"app-{app.name}@current.service", f"app-{app.name}@current.socket"):
        answer = ready()
    assert (answer.status, answer.headers["Retry-After"]) == (502, None), answer


def test_static_files_are_served_without_the_app(server, app):
    with stopped(server.host, f"app-{app.name}@current.service", f"app-{app.name}@current.socket"):
        assert client.request(server, app.host_name, "/static/style.css").status == 200


def test_without_the_database_the_app_says_unavailable(server, ready):
    with stopped(server.host, "mysql.service"):
        answer = ready()
    assert answer.status == 503, answer
    assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("how", ["systemctl stop {unit}", "systemctl kill --signal=KILL {unit}"])
def test_request_waits_for_an_app_that_was_stopped_or_killed(server, app, ready, how):
    server.host.check_output(how.format(unit=f"app-{app.name}@current.service"))
    assert ready().status == 200


def test_killed_database_comes_back_with_what_it_acknowledged(server, app):
    path = "/api/projects/sanso-check/errors"
    report = {"type": "Killed", "message": "kept"}
    answer = client.request(server, app.host_name, path, "POST", body=report)
    assert answer.status == 201, answer
    server.host.check_output("systemctl kill --signal=KILL mysql.service")
    server.host.check_output("timeout 60 sh -c 'until mysqladmin --silent ping; do sleep 0.2; done'")
    assert client.request(server, app.host_name, answer.headers["Location"]).status == 200


# More requests than the app takes


@pytest.fixture
def busy(server, app):
    """As many requests as the app takes are on their way, and none of its workers does anything."""
    unit = f"app-{app.name}@current.service"
    described = next(each for each in server.settings["apps"] if each["name"] == app.name)
    count = described.get("waiting_max", 100) + app.processes * described.get("threads", 1)
    with contextlib.ExitStack() as stack:
        server.host.check_output(f"systemctl kill --signal=STOP {unit}")
        stack.callback(server.host.check_output, f"systemctl kill --signal=CONT {unit}")
        for _ in range(count):
            plain = stack.enter_context(socket.create_connection((server.address, 443), 10))
            tls = stack.enter_context(client.trusting().wrap_socket(plain, server_hostname=app.host_name))
            tls.sendall(f"GET /readyz HTTP/1.1\r\nHost: {app.host_name}\r\n\r\n".encode())
        # Until all have come as far as they come: into the socket's queue, which only its own network namespace shows.
        inside = f"nsenter --net=/proc/$(systemctl show --property=MainPID --value {unit})/ns/net"
        queue = f"{inside} ss -Hxln src /run/app-{app.name}/current.sock | awk '{{print $3}}'"
        server.host.check_output("timeout 10 sh -c %s", f"until [ $({queue}) -eq {count} ]; do sleep 0.1; done")
        yield


def test_request_that_is_too_many_is_answered_at_once(server, app, busy):
    began = time.monotonic()
    answer = client.request(server, app.host_name, "/readyz")
    assert (answer.status, answer.headers["Retry-After"], answer.headers["Server"]) == (503, "1", "nginx"), answer
    assert time.monotonic() - began < 2
    expected = server.headers_of(app)
    assert {name: answer.headers[name] for name in expected} == expected


def test_static_file_is_served_however_busy_the_app_is(server, app, busy):
    assert client.request(server, app.host_name, "/static/style.css").status == 200


# nginx and its sockets


@pytest.mark.parametrize(
    "how",
    [
        "systemctl reload nginx",
        "systemctl restart nginx",
        "systemctl stop nginx; sleep 1; systemctl start nginx",
        "invoke-rc.d nginx upgrade || invoke-rc.d nginx restart",  # as the package's own script does
    ],
)
def test_nobody_is_refused_by(server, app, how):
    with Load(server, app.host_name) as load:
        for _ in range(3):
            server.host.check_output(how.format(app=app.name))
    assert not load.failed, load.problems


def test_nobody_is_refused_by_a_new_certificate(server, app, play, description):
    before = client.handshake(server, app.host_name).certificate
    names = [*app.server_names, f"other.{app.host_name}"]
    try:
        with Load(server, app.host_name) as load:
            done = play("web", apps=[description | {"server_names": names}])
            after = client.handshake(server, app.host_name).certificate
    finally:
        play("web")
    assert (done.succeeded, before == after) == (True, False), done.said
    assert not load.failed, load.problems


def test_killed_nginx_comes_back_with_the_next_request(server, ready):
    server.host.check_output("systemctl kill --signal=KILL nginx.service")
    assert ready().status == 200


def test_restart_with_a_broken_configuration_keeps_those_who_come_until_it_is_mended(server, ready):
    path = "/etc/nginx/conf.d/sanso-faults.conf"
    mended = f"(sleep 5; rm -f {path}) >/dev/null 2>&1 &"
    server.host.check_output(f"echo 'nonsense on;' > {path}; {mended}")
    restarted = server.host.run("systemctl restart nginx")
    assert restarted.failed
    assert ready().status == 200
    assert not server.host.file(path).exists, "it answered with what is broken"


OF_BEFORE = """
[Service]
User=www-data
Group=www-data
SupplementaryGroups=ssl-cert
AmbientCapabilities=CAP_NET_BIND_SERVICE
PIDFile=/run/nginx/nginx.pid
"""


def test_server_of_before_gets_its_sockets_from_systemd_in_one_run(server, play, ready):
    """nginx opened them itself once."""
    host, units = server.host, "/etc/systemd/system"
    before = "systemctl stop nginx.socket && cd %s && rm nginx.socket && printf %s > nginx.service.d/sanso.conf"
    host.check_output(before, units, OF_BEFORE)
    host.check_output("systemctl daemon-reload && systemctl start nginx")
    assert '"systemd"' not in host.check_output("ss -Hltnp sport = :443")
    assert play("web").succeeded
    assert '"systemd"' in host.check_output("ss -Hltnp sport = :443")
    assert ready().status == 200


# Files


@pytest.fixture
def asset(server, app):
    """The name of a file that only an earlier release had."""
    file = f"/srv/{app.name}/assets/static/earlier.css"
    server.host.check_output(f"echo earlier | install --mode=0644 /dev/stdin {file}")
    yield "earlier.css"
    server.host.check_output(f"rm {file}")


def test_file_of_an_earlier_release_is_still_there(server, app, asset):
    answer = client.request(server, app.host_name, f"/static/{asset}")
    assert (answer.status, answer.text, answer.headers["Content-Type"]) == (200, "earlier\n", "text/css")


# A path below the names


def test_app_can_begin_at_a_path_of_its_server(server, app, play, description, ready):
    """Beside another one, which isn't there yet."""
    other = description | {"name": "other", "path": "/other", "body_max": "1k"}

    def ask(path, **words):
        return client.request(server, app.host_name, path, **words)

    try:
        done = play("web", apps=[description | {"path": "/shop"}, other])
        assert done.succeeded, done.said
        page = ask("/shop/")
        assert (page.status, 'href="/shop/static/style.css' in page.text) == (200, True), page.text
        assert ask("/shop/static/style.css").status == 200
        assert ask("/shop/a%2520b%0Ac").status == 404
        redirect = ask("/shop?a=1")
        assert (redirect.status, redirect.headers["Location"]) == (308, f"https://{app.host_name}/shop/?a=1")
        assert [ask(path).status for path in ("/", "/shopping", "/static/style.css", "/other/")] == [404, 404, 404, 502]
        assert ask("/other/", method="POST", headers={"Content-Length": "1025"}).status == 413
        expected = server.headers_of(app)
        assert {name: page.headers.get_all(name) for name in expected} == {name: [expected[name]] for name in expected}
    finally:
        play("web")
        server.host.check_output("rm -f /run/app-other/app.sock; rmdir /run/app-other")
    assert ready().status == 200
