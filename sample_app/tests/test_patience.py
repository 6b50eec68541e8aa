import sqlite3

import pymysql
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from sample_app import patience
from sample_app.patience import patiently


def failure(code, invalidated=False):
    return OperationalError(
        "SELECT 1", {}, pymysql.err.OperationalError(code, "no"), connection_invalidated=invalidated
    )


@pytest.fixture
def clock(monkeypatch):
    """The time, which passes only where somebody waits."""
    now = [1000.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


@pytest.fixture
def tries(app, clock):
    """tries(error, times) is what a request does that gets the error so often: its answer, or None, and the seconds."""

    def tries(error, times=1_000_000):
        begun, left = clock[0], [times]

        def work():
            if left[0]:
                left[0] -= 1
                raise error
            return "answer"

        with app.app_context():
            try:
                return patiently(work), clock[0] - begun
            except OperationalError:
                return None, clock[0] - begun

    return tries


@pytest.mark.parametrize("code", [2002, 2003, 1053])
def test_a_request_waits_for_a_database_that_restarts(tries, code):
    answer, seconds = tries(failure(code), times=50)
    assert answer == "answer"
    assert seconds == pytest.approx(10)


def test_a_request_goes_on_after_its_connection_broke(tries):
    assert tries(failure(2013, invalidated=True), times=1)[0] == "answer"


def test_a_request_does_not_wait_for_longer_than_a_restart_takes(tries):
    answer, seconds = tries(failure(2002))
    assert answer is None
    assert 15 <= seconds < 16


def test_when_a_restart_takes_too_long_nobody_waits_any_more(tries):
    tries(failure(2002))
    assert tries(failure(2002)) == (None, 0)


def test_the_next_restart_is_waited_for_again(tries, clock):
    tries(failure(2002))
    tries(failure(2002), times=0)
    assert tries(failure(2002), times=5)[0] == "answer"


def test_an_outage_that_nobody_saw_end_is_not_taken_for_the_same(tries, clock):
    tries(failure(2002))
    clock[0] += 60
    assert tries(failure(2002), times=5)[0] == "answer"


@pytest.mark.parametrize("code", [1146, 1205, 1213, 1698])
def test_another_failure_is_not_tried_again(tries, code):
    assert tries(failure(code), times=1) == (None, 0)


def test_a_database_that_hangs_is_not_waited_for(tries):
    error = failure(2013, invalidated=True)
    error.orig.__context__ = TimeoutError()
    assert tries(error, times=1) == (None, 0)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/projects/shop", "/projects/shop/groups/{group}", "/projects/shop/errors/{id}"),
        *("/projects/shop/webhooks", "/api/projects/shop/webhooks", "/api/projects/shop/errors"),
    ],
)
def test_whatever_reads_waits(client, report, clock, monkeypatch, path):
    report()
    (error,) = client.get("/api/projects/shop/errors").json["errors"]
    left = [3]
    for name in ("execute", "get"):
        real = getattr(patience.db.session, name)

        def failing(*arguments, real=real, **keywords):
            if left[0]:
                left[0] -= 1
                raise failure(2002)
            return real(*arguments, **keywords)

        monkeypatch.setattr(patience.db.session, name, failing)
    assert client.get(path.format(**error)).status_code == 200
    assert left == [0]


def test_whoever_reads_waits_for_a_database_that_goes_before_the_last_word_to_it(app, client, clock, monkeypatch):
    """A request ends its transaction, which asks the database once more."""
    assert client.get("/api/projects/shop/errors").status_code == 200  # its first connection ends one by itself
    with app.app_context():
        dialect = patience.db.engine.dialect
    real, left = dialect.do_rollback, [1]

    def failing(connection):
        if left[0]:
            left[0] -= 1
            raise sqlite3.OperationalError("gone")
        real(connection)

    monkeypatch.setattr(dialect, "do_rollback", failing)
    monkeypatch.setattr(patience, "is_gone", lambda error: True)
    assert client.get("/api/projects/shop/errors").status_code == 200
    assert left == [0]


def test_a_request_waits_for_a_database_that_answers_not_even_a_rollback_any_more(app, clock, monkeypatch):
    def failing(connection):
        raise sqlite3.OperationalError("gone")

    def work():
        answer = patience.db.session.scalar(text("SELECT 'answer'"))
        if clock[0] == begun:
            monkeypatch.setattr(dialect, "do_rollback", failing)
            raise failure(1053)
        monkeypatch.setattr(dialect, "do_rollback", real)
        return answer

    with app.app_context():
        dialect, begun = patience.db.engine.dialect, clock[0]
        real = dialect.do_rollback
        patience.db.engine.connect().close()  # the first one ends a transaction by itself
        assert patiently(work) == "answer"


def test_whether_it_is_ready_is_said_at_once(client_without_database, monkeypatch):
    monkeypatch.setattr(patience, "SECONDS", 60)
    assert client_without_database.get("/readyz").status_code == 503
