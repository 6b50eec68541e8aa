import pymysql
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError, OperationalError

from sample_app import patience
from sample_app.models import Delivery, Error, db, id_at
from sample_app.reports import report

REPORT = {"project": "shop", "type": "KeyError", "message": "", "backtrace": [], "context": {}}


@pytest.fixture(autouse=True)
def context(app, monkeypatch):
    monkeypatch.setattr(patience, "PAUSE", 0)
    with app.app_context():
        yield


@pytest.fixture
def breaking(monkeypatch):
    """breaking(done) lets the next COMMIT have no answer, though it was done or not."""

    def breaking(done, meanwhile=lambda: None):
        real = db.session.commit

        def commit():
            monkeypatch.setattr(db.session, "commit", real)
            real() if done else db.session.rollback()
            meanwhile()
            lost = pymysql.err.OperationalError(2013, "Lost connection")
            raise OperationalError("COMMIT", {}, lost, connection_invalidated=True)

        monkeypatch.setattr(db.session, "commit", commit)

    return breaking


def stored():
    return db.session.scalars(select(Error.id).order_by(Error.id.desc())).all()


def test_errors_of_the_same_microsecond_get_ids_of_their_own(stopped_clock):
    ids = [report(**REPORT) for _ in range(3)]
    assert ids == [id_at(stopped_clock), id_at(stopped_clock) - 1, id_at(stopped_clock) - 2]


def test_projects_do_not_take_ids_from_each_other(stopped_clock):
    assert report(**REPORT) == report(**REPORT | {"project": "till"})


def test_a_constraint_that_no_other_id_satisfies_is_an_error():
    with pytest.raises(IntegrityError):
        report(**REPORT | {"message": None, "backtrace": ["main.py:7 in run"]})


@pytest.mark.parametrize("done", [True, False], ids=["it was done", "it was not"])
def test_a_commit_without_an_answer_stores_the_error_once(breaking, done):
    breaking(done)
    id = report(**REPORT)
    assert stored() == [id]


def test_a_commit_without_an_answer_stores_the_webhook_once(breaking):
    breaking(done=True)
    id = report(**REPORT, delivery={"state": "queued", "receiver": "https://example.org", "due": 1})
    assert db.session.scalars(select(Delivery.id)).all() == [id]


def test_what_another_stored_with_the_same_id_meanwhile_is_not_taken_for_ones_own(breaking, stopped_clock):
    breaking(done=False, meanwhile=lambda: report(**REPORT | {"message": "another"}))
    assert report(**REPORT) == id_at(stopped_clock) - 1
    assert len(stored()) == 2


def test_an_error_without_its_webhook_is_not_stored():
    with pytest.raises(IntegrityError):
        report(**REPORT, delivery={"state": None, "receiver": "https://example.org", "due": 1})
    assert db.session.scalar(select(func.count()).select_from(Error)) == 0
