import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from sample_app import create_app, engine_options


def test_a_missing_database_url_is_an_error_that_says_what_to_set(monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(RuntimeError, match="Set DATABASE_URL"):
        create_app()


def test_the_database_url_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/faults.db")
    assert create_app().config["SQLALCHEMY_DATABASE_URI"] == "sqlite:////nowhere/faults.db"


def test_creating_the_app_opens_no_connection_that_a_fork_would_share(tmp_path):
    opened = []
    listener = (Engine, "do_connect", lambda *arguments: opened.append(arguments))
    event.listen(*listener)
    try:
        create_app({"DATABASE_URL": f"sqlite:///{tmp_path}/faults.db"})
    finally:
        event.remove(*listener)
    assert opened == []


def test_there_is_no_secret(app):
    assert app.secret_key is None


@pytest.mark.parametrize(
    ("url", "disabled"),
    [
        ("mysql+pymysql://faults@localhost/faults?unix_socket=/run/mysqld/mysqld.sock", True),
        ("mysql+pymysql://faults@db.example.org/faults", False),
    ],
)
def test_tls_is_left_out_on_a_unix_socket_only(url, disabled):
    assert engine_options(url)["connect_args"]["ssl_disabled"] is disabled
