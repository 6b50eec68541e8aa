"""What a load balancer or a deployment asks: does the app run, and can it serve?"""

from functools import cache

from alembic.script import ScriptDirectory
from flask import Blueprint, abort, current_app
from sqlalchemy import text

from .models import db

bp = Blueprint("health", __name__)


@bp.get("/healthz")
def healthz():
    """The process runs. Asks nothing of the database: restarting the app would not mend that one."""
    return {"status": "ok"}


@bp.get("/readyz")
def readyz():
    """The database answers, and its tables are as new as this code or newer: 503 otherwise, with the reason.

    Newer is fine, because a release may migrate and then fail its own checks: the one before it must go on serving.
    """
    version = db.session.scalar(text("SELECT version_num FROM alembic_version"))
    if version is None or version in outdated():
        abort(503, f"The database is at migration {version}, and the code is ahead: run `flask db upgrade`.")
    return {"status": "ok", "migration": version}


@cache
def outdated() -> set[str]:
    """The migrations that this code knows, but for the last."""
    script = ScriptDirectory(current_app.extensions["migrate"].directory)
    return {migration.revision for migration in script.walk_revisions()} - set(script.get_heads())
