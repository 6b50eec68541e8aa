import os
import sys
from types import SimpleNamespace

from sqlalchemy import text

from sample_app.models import db
from sample_app.tiers import tiers

BEHIND_NGINX = {"NGINX_VERSION": "1.30.0", "SERVER_NAME": "faults.test", "SERVER_PROTOCOL": "HTTP/2.0"}


def names(path):
    return [tier.name.split()[0] for tier in path]


def test_a_page_states_which_tiers_served_it(client):
    page = client.get("/", environ_overrides=BEHIND_NGINX).text
    for tier in ("Browser", "nginx 1.30.0", "Flask 3", "SQLite 3"):
        assert f"<strong>{tier}" in page


def test_the_development_server_is_called_so(app):
    with app.test_request_context():
        assert "Flask's development server" in [tier.name for tier in tiers()]


def test_a_uwsgi_worker_gives_its_number(app, monkeypatch):
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(version=b"2.0.31", worker_id=lambda: 2))
    with app.test_request_context():
        assert ("uWSGI 2.0.31", f"worker 2, process {os.getpid()}") in tiers()


def test_nginx_is_there_only_if_it_says_so(app):
    with app.test_request_context(headers={"Nginx-Version": "1.30.0"}):
        assert "nginx" not in names(tiers())
    with app.test_request_context(environ_overrides=BEHIND_NGINX):
        assert ("nginx 1.30.0", "faults.test") in tiers()


def test_tls_is_stated(app):
    with app.test_request_context(base_url="https://faults.test/", environ_overrides=BEHIND_NGINX):
        assert tiers()[0] == ("Browser", "HTTP/2.0 over TLS")


def test_the_database_has_a_version_once_it_was_asked_something(app):
    with app.test_request_context():
        assert tiers()[-1].name == "SQLite"
        db.session.execute(text("SELECT 1"))
        assert tiers()[-1].name.startswith("SQLite 3.")


def test_the_databases_unix_socket_is_stated(client_without_database):
    with client_without_database.application.test_request_context():
        name, detail = tiers()[-1]
    assert name == "MySQL"
    assert detail.startswith("Unix socket /")
    assert detail.endswith("/absent.sock")
