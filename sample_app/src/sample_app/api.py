"""What other programs ask: report an error, and read a project's errors.

A report is a JSON object of
- `type`: 1 to 200 characters, not blank, such as the exception's class;
- `message`: up to 10,000 characters;
- `backtrace`, optional: up to 200 calls of up to 1,000 characters each, the innermost first;
- `context`, optional: an object of anything that helps, up to 16 KiB and 32 levels;
- `webhook`, optional: whom to tell (see `webhooks.py`).

A body that isn't JSON is a 400, or a 415 if it doesn't say that it is; JSON that isn't such an object is a 422.
"""

import json
import math

from flask import Blueprint, abort, request, url_for
from sqlalchemy import select
from werkzeug.exceptions import BadRequest

from . import webhooks
from .models import Error, as_json
from .paging import page
from .patience import patient
from .reports import report as store

bp = Blueprint("api", __name__, url_prefix="/api/projects/<name:project>/errors")


@bp.post("")
def report(project):
    values = fields(body())
    webhook = values.pop("webhook")
    id = store(project, **values, delivery=webhook)
    url = url_for("pages.error", project=project, id=id, _external=True)
    answer = {"id": str(id), "url": url}
    if webhook:
        webhooks.enqueue_new(project, id)
        answer["webhook"] = url_for("deliveries.delivery", project=project, id=id, _external=True)
    return answer, 201, {"Location": url}


@bp.get("")
@patient
def errors(project):
    rows, following = page(select(*Error.__table__.columns).where(Error.project == project))
    return {"errors": [as_json(row) for row in rows], "next": following and str(following)}


def body() -> object:
    """The request's JSON."""
    try:
        return request.get_json()
    except (BadRequest, RecursionError):
        abort(400, "The body is not valid JSON.")


def fields(report: object) -> dict:
    """The fields of `report`, checked: what passes fits the database."""
    if not isinstance(report, dict):
        abort(422, "The body must be a JSON object.")
    check_plain(report)
    if unknown := sorted(report.keys() - {"type", "message", "backtrace", "context", "webhook"}):
        abort(422, f"Unknown field: {unknown[0][:100]}.")

    backtrace, context = report.get("backtrace", []), report.get("context", {})
    if not isinstance(backtrace, list) or len(backtrace) > 200 or not all(is_text(call, 0, 1000) for call in backtrace):
        abort(422, "backtrace must be a list of at most 200 strings of at most 1000 characters.")
    if not isinstance(context, dict) or len(json.dumps(context, ensure_ascii=False).encode()) > 16 * 1024:
        abort(422, "context must be an object of at most 16 KiB.")
    if not is_text(report.get("type"), 1, 200):
        abort(422, "type must be a string of 1 to 200 characters, and not blank.")
    if not is_text(report.get("message"), 0, 10_000):
        abort(422, "message must be a string of at most 10000 characters.")
    return {
        "type": report["type"],
        "message": report["message"],
        "backtrace": backtrace,
        "context": context,
        "webhook": webhooks.accepted(report["webhook"]) if "webhook" in report else None,
    }


def is_text(value: object, least: int, most: int) -> bool:
    return isinstance(value, str) and least <= len(value.strip()) and len(value) <= most


def check_plain(value: object, depth: int = 0) -> None:
    """Refuse what Python's JSON lets in, but MySQL's or UTF-8 does not."""
    match value:
        case dict() | list() if depth > 32:
            abort(422, "The body is nested too deep.")
        case dict():
            for pair in value.items():
                check_plain(list(pair), depth)
        case list():
            for item in value:
                check_plain(item, depth + 1)
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                abort(422, "The body holds half a surrogate pair.")
        case float() if not math.isfinite(value):
            abort(422, "The body holds a number that JSON does not have.")
        case int() if not -(2**63) <= value < 2**64:
            abort(422, "The body holds a whole number of more than 64 bits.")
