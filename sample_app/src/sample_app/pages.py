"""What people read: projects, a project's groups, a group's errors, an error. Plain HTML, no script."""

import json

from flask import Blueprint, abort, render_template, request
from sqlalchemy import func, select

from .models import MAX_ID, Delivery, Error, db, time_of
from .paging import page
from .patience import patient

bp = Blueprint("pages", __name__)
bp.add_app_template_filter(time_of)


@bp.app_template_filter()
def plain(value: object) -> str:
    """A value of an error's context, as a person reads it."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


@bp.get("/")
@patient
def projects():
    newest = func.min(Error.id)
    rows = db.session.execute(
        select(Error.project, func.count().label("times"), newest.label("newest"))
        .group_by(Error.project)
        .order_by(newest)
    )
    failed = select(Delivery.project, func.count()).where(Delivery.state == "failed").group_by(Delivery.project)
    return render_template("projects.html", projects=rows.all(), failed=dict(db.session.execute(failed).all()))


@bp.get("/projects/<name:project>")
@patient
def project(project):
    """A project's groups. It exists from its first error on: before, this is a 404 that says how to report one."""
    groups = (
        select(func.min(Error.id).label("newest"), func.max(Error.id).label("oldest"), func.count().label("times"))
        .where(Error.project == project)
        .group_by(Error.fingerprint)
        .subquery()
    )
    rows, following = page(
        select(Error.id, Error.fingerprint, Error.type, Error.message, groups.c.oldest, groups.c.times)
        .join(groups, Error.id == groups.c.newest)
        .where(Error.project == project)
    )
    states = select(Delivery.state, func.count()).where(Delivery.project == project).group_by(Delivery.state)
    webhooks = dict(db.session.execute(states).all())
    status = 200 if rows or "after" in request.args else 404
    return render_template("project.html", project=project, groups=rows, following=following, webhooks=webhooks), status


@bp.get("/projects/<name:project>/groups/<name:fingerprint>")
@patient
def group(project, fingerprint):
    these = (Error.project == project, Error.fingerprint == fingerprint)
    rows, following = page(select(Error.id, Error.message).where(*these))
    times, newest, oldest = db.session.execute(
        select(func.count(), func.min(Error.id), func.max(Error.id)).where(*these)
    ).one()
    if not times:
        abort(404, "There is no such group of errors.")
    latest = db.session.get_one(Error, (project, newest))
    return render_template("group.html", latest=latest, times=times, oldest=oldest, errors=rows, following=following)


@bp.get(f"/projects/<name:project>/errors/<int(max={MAX_ID}):id>")
@patient
def error(project, id):
    error = db.get_or_404(Error, (project, id), description="There is no such error.")
    return render_template("error.html", error=error, delivery=db.session.get(Delivery, (project, id)))
