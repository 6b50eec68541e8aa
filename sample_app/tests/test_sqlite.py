import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sample_app.models import db


@pytest.fixture
def other(app):
    """Another process's connection to the database."""
    with app.app_context():
        path = db.engine.url.database
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    yield connection
    connection.close()


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("busy_timeout", 10_000), ("synchronous", 2)])
def test_a_connection_is_made_for_several_processes(app, pragma, value):
    with app.app_context():
        assert db.session.connection().exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_reading_does_not_wait_for_who_writes(client, report, other):
    report()
    other.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    assert len(client.get("/api/projects/shop/errors").json["errors"]) == 1
    assert time.monotonic() - begun < 1


def test_a_report_waits_for_who_writes(report, other):
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, other.execute, ["COMMIT"])
    timer.start()
    assert report().status_code == 201
    timer.join()


def test_what_reads_before_it_writes_is_not_refused_when_another_writes_between(app, runner, other, monkeypatch):
    """`flask seed` asks what is there. Had it begun as a reader, its write would be refused after that of another."""
    refused = []

    def meanwhile(*arguments):
        try:
            other.execute("PRAGMA busy_timeout = 0")
            other.execute("INSERT INTO error VALUES ('a', 1, '', '', '', '[]', '{}')")
        except sqlite3.OperationalError as error:
            refused.append(str(error))

    monkeypatch.setattr("sample_app.seed.select", lambda *columns, select=db.select: meanwhile() or select(*columns))
    result = runner.invoke(args=["seed"])
    assert (result.exit_code, refused) == (0, ["database is locked"]), result.output


def test_reports_at_the_same_time_are_all_stored(app, client):
    def send(number):
        body = {"type": "KeyError", "message": str(number)}
        return app.test_client().post("/api/projects/shop/errors", json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(80))) == {201}
    errors = client.get("/api/projects/shop/errors?limit=200").json["errors"]
    assert {error["message"] for error in errors} == {str(number) for number in range(80)}
