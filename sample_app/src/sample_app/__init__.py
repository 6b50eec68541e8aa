"""faults, a small error tracker: apps report errors to it, people read them, newest first and grouped."""

import os
from collections.abc import Mapping
from pathlib import Path

from flask import Flask
from flask_migrate import Migrate
from sqlalchemy import make_url

from . import api, deliveries, health, jobs, pages, patience, problems, prune, sealing, seed, sqlite, tiers
from .models import db
from .names import Name

# The environment variables that it takes; what each of them is, README.md says.
SETTINGS = (
    "DATABASE_URL",
    "REDIS_URL",
    "WEBHOOK_KEY",
    "WEBHOOK_CONCURRENCY",
    "WEBHOOK_ATTEMPTS",
    "WEBHOOK_ALLOW_PRIVATE",
)


def create_app(config: Mapping | None = None) -> Flask:
    """Make the app from `config`, or from the environment: `DATABASE_URL`, an SQLAlchemy URL, is all it needs.

    Opens no connection to the database, so that uWSGI may fork after it: each worker opens its own.
    """
    config = config or {name: os.environ.get(name) for name in SETTINGS}
    if not config["DATABASE_URL"]:
        raise RuntimeError("Set DATABASE_URL to the database's SQLAlchemy URL, for example sqlite:////tmp/faults.db")

    app = Flask(__name__)
    app.config.from_mapping(
        config,
        MAX_CONTENT_LENGTH=256 * 1024,
        SQLALCHEMY_DATABASE_URI=config["DATABASE_URL"],
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(config["DATABASE_URL"]),
    )
    app.json.sort_keys = False
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.add_template_global(tiers.tiers)
    app.url_map.converters["name"] = Name

    db.init_app(app)
    Migrate(app, db, directory=Path(__file__).parent / "migrations")
    with app.app_context():
        sqlite.prepare(db.engine)
    for extension in (patience, sealing, jobs):
        extension.init_app(app)
    for concern in (api, pages, deliveries, health, problems, seed, prune):
        app.register_blueprint(concern.bp)
    return app


def engine_options(url: str) -> dict:
    """How to connect: a connection is tried before use, for the database may have been restarted meanwhile."""
    options = {"pool_pre_ping": True, "pool_recycle": 1800}  # seconds; MySQL itself hangs up after 8 hours
    url = make_url(url)
    if url.drivername.endswith("+pymysql"):
        options["connect_args"] = {
            # PyMySQL speaks TLS over a Unix socket too: 11 ms for each connection instead of 0.24.
            "ssl_disabled": "unix_socket" in url.query,
            # In seconds: a database that hangs becomes a 503, not a worker that hangs.
            "connect_timeout": 3,
            "read_timeout": 10,
            "write_timeout": 10,
        }
    return options
