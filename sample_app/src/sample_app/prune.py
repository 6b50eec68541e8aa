"""`flask prune`: errors that nobody will read any more."""

from datetime import UTC, datetime, timedelta

import click
from flask import Blueprint
from sqlalchemy import delete, select, tuple_

from .models import Delivery, Error, db, id_at, writing
from .patience import patiently

bp = Blueprint("prune", __name__, cli_group=None)

AT_A_TIME = 1000  # rows of a transaction: a report never waits long for this


@bp.cli.command("prune")
@click.option("--days", type=click.IntRange(1, 36_500), default=90, show_default=True, help="How many are kept.")
def prune(days):
    """Remove old errors, with their webhooks."""
    oldest = id_at(datetime.now(UTC) - timedelta(days=days))
    count = 0
    while removed := patiently(lambda: remove(oldest)):
        count += removed
    click.echo(f"{count} errors removed.")


def remove(oldest: int) -> int:
    """Remove some errors that are older than the one with this id would be; returns how many."""
    writing()
    old = select(Error.project, Error.id).where(Error.id > oldest).limit(AT_A_TIME)
    keys = [tuple(key) for key in db.session.execute(old)]
    if keys:
        for table in (Delivery, Error):
            db.session.execute(delete(table).where(tuple_(table.project, table.id).in_(keys)))
    db.session.commit()
    return len(keys)
