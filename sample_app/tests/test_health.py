import pytest
from sqlalchemy import text

from sample_app import create_app, health
from sample_app.models import db


def test_health_does_not_ask_the_database(client_without_database):
    answer = client_without_database.get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_a_migrated_database_is_ready(client):
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "migration": "0002"})


def test_a_database_that_is_down_is_not_ready(client_without_database):
    answer = client_without_database.get("/readyz")
    assert answer.status_code == 503
    assert "database can't answer" in answer.json["error"]


def test_a_database_without_tables_is_not_ready(tmp_path):
    app = create_app({"DATABASE_URL": f"sqlite:///{tmp_path}/empty.db"})
    assert app.test_client().get("/readyz").status_code == 503
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize("change", ["DELETE FROM alembic_version", "UPDATE alembic_version SET version_num = '0000'"])
def test_a_database_behind_the_code_is_not_ready(app, client, monkeypatch, change):
    monkeypatch.setattr(health, "outdated", lambda: {"0000"})
    with app.app_context():
        db.session.execute(text(change))
        db.session.commit()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "flask db upgrade" in answer.json["error"]


def test_a_database_ahead_of_the_code_is_ready(app, client):
    with app.app_context():
        db.session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        db.session.commit()
    assert client.get("/readyz").status_code == 200


def test_the_last_migration_is_not_outdated(app):
    with app.app_context():
        assert "0002" not in health.outdated()
