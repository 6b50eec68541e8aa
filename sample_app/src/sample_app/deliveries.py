"""What became of webhooks: for people, for other programs, and on the command line (`flask webhooks`)."""

from datetime import UTC, datetime

import click
from flask import Blueprint, abort, render_template, request
from sqlalchemy import Row, Select, and_, func, or_, select

from . import webhooks
from .models import MAX_ID, Delivery, db
from .paging import page
from .patience import patient

bp = Blueprint("deliveries", __name__, cli_group="webhooks")

STATES = ("queued", "delivered", "failed")


@bp.get("/projects/<name:project>/webhooks")
@patient
def deliveries(project):
    rows, following = page(chosen(project), Delivery.id)
    counts = dict(
        db.session.execute(
            select(Delivery.state, func.count()).where(Delivery.project == project).group_by(Delivery.state)
        ).all()
    )
    return render_template(
        "webhooks.html", project=project, deliveries=rows, following=following, counts=counts, states=STATES
    )


@bp.get("/api/projects/<name:project>/webhooks")
@patient
def deliveries_as_json(project):
    rows, following = page(chosen(project), Delivery.id)
    return {"webhooks": [as_json(row) for row in rows], "next": following and str(following)}


@bp.get(f"/api/projects/<name:project>/webhooks/<int(max={MAX_ID}):id>")
@patient
def delivery(project, id):
    return as_json(db.get_or_404(Delivery, (project, id), description="There is no such webhook."))


def chosen(project: str) -> Select:
    """A project's webhooks, of one state if the request asks for it."""
    statement = select(*Delivery.__table__.columns).where(Delivery.project == project)
    state = request.args.get("state")
    if state is None:
        return statement
    if state not in STATES:
        abort(400, f"state must be one of {', '.join(STATES)}.")
    return statement.where(Delivery.state == state)


def as_json(row: Row | Delivery) -> dict:
    return {
        "error": str(row.id),
        "state": row.state,
        "receiver": row.receiver,
        "attempts": row.attempts,
        "status": row.status,
        "said": row.said,
        "due": time_of(row.due) if row.state == "queued" else None,
        "ended": time_of(row.ended) if row.ended else None,
    }


def time_of(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@bp.cli.command("failed")
def failed():
    """List the webhooks that were given up, the newest first. The exit code is 1 if there are any."""
    rows = db.session.execute(
        select(*Delivery.__table__.columns).where(Delivery.state == "failed").order_by(Delivery.id)
    ).all()
    for row in rows:
        when = time_of(row.ended)
        click.echo(f"{row.project}/{row.id}  {when}  {row.receiver}  {row.attempts} attempts, the last: {row.said}")
    if rows:
        click.echo(f"{len(rows)} failed. To give them all their attempts again: flask webhooks retry --all", err=True)
    raise SystemExit(1 if rows else 0)


@bp.cli.command("retry")
@click.argument("keys", metavar="[PROJECT/ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that failed.")
def retry(keys, everything):
    """Give webhooks that failed all their attempts again."""
    if bool(keys) == everything:
        raise click.UsageError("Name webhooks as `flask webhooks failed` does, or say --all.")
    these = []
    if keys:
        these = [or_(*(and_(Delivery.project == project, Delivery.id == id) for project, id in map(key, keys)))]
    click.echo(f"{len(webhooks.retry(*these))} queued again.")


def key(word: str) -> tuple[str, int]:
    project, _, id = word.partition("/")
    if not id.isdecimal() or int(id) > MAX_ID:
        raise click.UsageError(f"{word} is not of the form PROJECT/ID.")
    return project, int(id)


@bp.cli.command("requeue")
def requeue():
    """Queue what is due and isn't queued. The worker does this all the time."""
    click.echo(f"{webhooks.requeue()} queued.")
