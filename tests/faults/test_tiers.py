"""A tier that is gone is said so to the client, and comes back by itself or when it is started."""

import contextlib

import client
import pytest


@contextlib.contextmanager
def stopped(host, *units):
    host.check_output(f"systemctl stop {' '.join(units)}")
    try:
        yield
    finally:
        host.check_output(f"systemctl start {' '.join(reversed(units))}")


def test_without_the_app_nginx_says_bad_gateway(server, app, ready):
    with stopped(server.host, f"app-{app.name}@current.service", f"app-{app.name}@current.socket"):
        assert ready().status == 502


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
