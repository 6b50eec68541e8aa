"""How an error is stored: once, whatever the database does meanwhile."""

from datetime import UTC, datetime

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from .models import Delivery, Error, db, fingerprint, id_at, writing
from .patience import patiently


def report(
    project: str, type: str, message: str, backtrace: list[str], context: dict, delivery: dict | None = None
) -> int:
    """Store an error that happens now, and its webhook if it has one, and return its id: from then on they are in the
    database. Raises IntegrityError after a hundred taken ids.

    When the database goes away during COMMIT, nobody knows whether that was done. It is found out by the id, which
    stays the same: if it is taken when the database is back, and by this very error, it was.
    """
    row = {
        "project": project,
        "fingerprint": fingerprint(type, message, backtrace),
        "type": type,
        "message": message,
        "backtrace": backtrace,
        "context": context,
    }
    id = id_at(datetime.now(UTC))
    last = id - 99
    unanswered = None  # the id of a COMMIT without an answer

    def store():
        nonlocal id, unanswered
        while True:
            try:
                writing()
                db.session.execute(insert(Error).values(id=id, **row))
                if delivery:
                    db.session.execute(insert(Delivery).values(project=project, id=id, **delivery))
            except IntegrityError:
                db.session.rollback()
                if unanswered == id and is_there(row | {"id": id}):
                    return id
                if id == last:
                    raise
                id -= 1
            else:
                unanswered = id
                db.session.commit()
                return id

    return patiently(store)


def is_there(row: dict) -> bool:
    """Whether what has this id is this error, and not another's that came in the same microsecond."""
    found = db.session.get_one(Error, (row["project"], row["id"]))
    return (found.fingerprint, found.message) == (row["fingerprint"], row["message"])
