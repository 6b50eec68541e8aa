"""The app on a SQLite file that the real migrations made, and on a MySQL that is down. No machine is needed."""

import shutil
from datetime import UTC, datetime
from types import SimpleNamespace

import flask_migrate
import pytest

from sample_app import create_app, models, patience, reports


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """A database file with the schema and no rows, made once: each test gets a copy."""
    path = tmp_path_factory.mktemp("migrated") / "faults.db"
    app = create_app({"DATABASE_URL": f"sqlite:///{path}"})
    with app.app_context():
        flask_migrate.upgrade()
        models.db.engine.dispose()
    return path


@pytest.fixture
def app(migrated, tmp_path):
    path = shutil.copy(migrated, tmp_path / "faults.db")
    app = create_app({"DATABASE_URL": f"sqlite:///{path}", "TESTING": True})
    yield app
    with app.app_context():
        models.db.engine.dispose()


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def runner(app):
    return app.test_cli_runner()


@pytest.fixture
def client_without_database(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "SECONDS", 0)
    url = f"mysql+pymysql://faults@localhost/faults?unix_socket={tmp_path}/absent.sock&charset=utf8mb4"
    return create_app({"DATABASE_URL": url, "TESTING": True}).test_client()


@pytest.fixture
def report(client):
    """Report an error that is fine but for what the test changes; returns the response."""

    def report(project="shop", **changes):
        fields = {"type": "KeyError", "message": "'voucher'", "backtrace": ["checkout.py:88 in total"], "context": {}}
        return client.post(f"/api/projects/{project}/errors", json=fields | changes)

    return report


@pytest.fixture
def stopped_clock(monkeypatch):
    """Every error is reported in the same microsecond, which is returned."""
    now = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
    monkeypatch.setattr(reports, "datetime", SimpleNamespace(now=lambda zone: now))
    return now
