"""The app on a SQLite file that the real migrations made, and on a MySQL that is down; its queue is in memory. No
machine is needed.
"""

import contextlib
import shutil
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
def make(migrated, tmp_path):
    """make(NAME=value, …) makes the app with further settings; all that it makes have the same database."""
    path, made = shutil.copy(migrated, tmp_path / "faults.db"), []

    def make(**settings):
        made.append(create_app({"DATABASE_URL": f"sqlite:///{path}", "TESTING": True, **settings}))
        return made[-1]

    yield make
    for app in made:
        with app.app_context():
            models.db.engine.dispose()


@pytest.fixture
def app(make):
    return make()


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
def sending(make):
    """The app as it sends webhooks, also to this computer."""
    app = make(REDIS_URL="memory://", WEBHOOK_KEY="k" * 32, WEBHOOK_ALLOW_PRIVATE="1")
    yield app
    queued(app)


def queued(app):
    """Take all messages out of the queue: the keys that they hold."""
    keys = []
    with (
        app.extensions["celery"].connection_for_read() as connection,
        connection.SimpleQueue("celery") as queue,
        contextlib.suppress(queue.Empty),
    ):
        while True:
            message = queue.get_nowait()
            message.ack()
            keys.append(tuple(message.payload[0]))
    return keys


@pytest.fixture
def receiver():
    """What webhooks are sent to: its `url`, the `requests` it got, and `answers`, the statuses it will give."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.requests.append(SimpleNamespace(path=self.path, headers=self.headers, body=body))
            self.send_response(found.answers.pop(0) if found.answers else 204)
            self.send_header("Location", f"{found.url}/elsewhere")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", requests=[], answers=[])
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def stopped_clock(monkeypatch):
    """Every error is reported in the same microsecond, which is returned."""
    now = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
    monkeypatch.setattr(reports, "datetime", SimpleNamespace(now=lambda zone: now))
    return now
