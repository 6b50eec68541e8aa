from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from sample_app import prune
from sample_app.models import Delivery, Error, db, id_at

ROW = {"fingerprint": "f", "type": "KeyError", "message": "", "backtrace": [], "context": {}}


@pytest.fixture
def add(app):
    """add(days, …) stores an error that is so old; returns its id."""

    def add(days, project="shop"):
        id = id_at(datetime.now(UTC) - timedelta(days=days))
        with app.app_context():
            db.session.execute(insert(Error).values(project=project, id=id, **ROW))
            row = {"state": "failed", "receiver": "https://example.org", "due": 1}
            db.session.execute(insert(Delivery).values(project=project, id=id, **row))
            db.session.commit()
        return id

    return add


def left(app, table):
    with app.app_context():
        return set(db.session.execute(select(table.project, table.id)))


@pytest.mark.parametrize(
    ("words", "kept"), [([], {"shop"}), (["--days", "1"], set()), (["--days", "999"], {"shop", "till"})]
)
def test_old_errors_go_with_their_webhooks(app, runner, add, words, kept):
    rows = {(project, add(days, project)) for project, days in (("shop", 89), ("till", 91))}
    result = runner.invoke(args=["prune", *words])
    assert result.output == f"{2 - len(kept)} errors removed.\n"
    expected = {row for row in rows if row[0] in kept}
    assert (left(app, Error), left(app, Delivery)) == (expected, expected)


def test_many_go_in_several_transactions(app, runner, add, monkeypatch):
    monkeypatch.setattr(prune, "AT_A_TIME", 2)
    for days in (100, 200, 300, 400, 500):
        add(days)
    newest = add(1)
    assert runner.invoke(args=["prune"]).output == "5 errors removed.\n"
    assert left(app, Error) == {("shop", newest)}


@pytest.mark.parametrize("days", ["0", "-1", "all"])
def test_everything_is_never_removed_by_accident(runner, days):
    assert runner.invoke(args=["prune", "--days", days]).exit_code == 2
