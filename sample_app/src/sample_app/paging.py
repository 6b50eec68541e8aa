"""Pages by key: `?after=<id>&limit=<n>` is what follows that id, whatever arrived since the page before."""

import re

from flask import abort, request
from sqlalchemy import Row, Select
from sqlalchemy.orm import InstrumentedAttribute

from .models import MAX_ID, Error, db


def page(statement: Select, key: InstrumentedAttribute = Error.id) -> tuple[list[Row], int | None]:
    """The page of `statement`, which selects `key`, an id, that the request asks for, newest first (50 rows, 200 at
    most), and the id after which the next page starts: None on the last. Aborts with 400.
    """
    after = _number("after", default=0, least=0, most=MAX_ID)
    limit = _number("limit", default=50, least=1, most=200)
    rows = db.session.execute(statement.where(key > after).order_by(key).limit(limit + 1)).all()
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def _number(name: str, default: int, least: int, most: int) -> int:
    value = request.args.get(name, str(default))
    if not re.fullmatch("[0-9]{1,19}", value) or not least <= int(value) <= most:
        abort(400, f"{name} must be a whole number from {least} to {most}.")
    return int(value)
