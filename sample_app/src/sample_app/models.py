"""What is stored: a table of errors, whose primary key lists each project's newest first, and one of their webhooks."""

import re
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import JSON, BigInteger, Index, Row, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_ID = 2**63 - 1

# One byte a character, compared byte by byte: these columns make up the keys.
Key = String(64).with_variant(mysql.VARCHAR(64, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Error(db.Model):
    """One error that an app reported.

    `id` counts down: it is 2**63 - 1 less the microseconds since 1970, so the smallest id is the newest error and
    holds its time; nothing else stores it. Two errors of a project in the same microsecond want the same id: the
    second takes the next smaller one, as if it had come a microsecond later (see `report`).

    The primary key is (project, id), in this order: a project's newest errors are the start of one range of the
    clustered key, and a page of older ones is the range after an id. No sort, no offset, and what arrives meanwhile
    shifts no page.

    An id has 19 digits (until the year 2231), which is more than a JavaScript number keeps (2**53): in JSON, ids are
    strings, and sort as such.
    """

    project: Mapped[str] = mapped_column(Key, primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Key)
    type: Mapped[str] = mapped_column(String(200))
    message: Mapped[str] = mapped_column(Text)
    backtrace: Mapped[list[str]] = mapped_column(JSON)  # the innermost call first
    context: Mapped[dict] = mapped_column(JSON)

    __table_args__ = (
        Index("error_by_group", "project", "fingerprint", "id"),  # holds all that the list of groups counts
        {"mysql_charset": "utf8mb4"},
    )


class Delivery(db.Model):
    """The webhook of an error, whose key it has. This row is the job, and holds all that it takes: what is queued in
    Redis is no more than its key. So nothing is lost with Redis, and a job that is queued twice is done once.

    Times are whole seconds since 1970.
    """

    project: Mapped[str] = mapped_column(Key, primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    state: Mapped[str] = mapped_column(Key)  # queued, delivered or failed
    receiver: Mapped[str] = mapped_column(String(300))  # of its URL only what is no secret: scheme, host and port
    sealed: Mapped[str | None] = mapped_column(Text)  # URL, secret and headers, encrypted; gone once it is delivered
    attempts: Mapped[int] = mapped_column(default=0)
    status: Mapped[int | None]  # what the receiver last answered
    said: Mapped[str] = mapped_column(String(200), default="")  # how the last attempt went, for people
    due: Mapped[int] = mapped_column(BigInteger)  # no attempt begins before
    queued: Mapped[int | None] = mapped_column(BigInteger)  # when its key last went into Redis
    ended: Mapped[int | None] = mapped_column(BigInteger)  # when it was delivered or given up

    __table_args__ = (Index("delivery_by_state", "state", "due"), {"mysql_charset": "utf8mb4"})


def id_at(time: datetime) -> int:
    """The id of an error at `time`."""
    return MAX_ID - (time - EPOCH) // timedelta(microseconds=1)


def time_of(id: int) -> datetime:
    """The time, in UTC, that an id holds."""
    return EPOCH + timedelta(microseconds=MAX_ID - id)


def fingerprint(type: str, message: str, backtrace: list[str]) -> str:
    """What the errors of one group share, in 16 hexadecimal digits: the type, and the innermost call or, without a
    backtrace, the message. Numbers don't count: the group outlives a moved line, and order 17 is as good as order 4.
    """
    place = re.sub(
        r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|0x[0-9a-f]+|\d+",
        "#",
        backtrace[0] if backtrace else message,
        flags=re.IGNORECASE,
    )
    return blake2b(f"{type}\n{place}".encode(), digest_size=8).hexdigest()


def as_json(row: Row | Error) -> dict:
    """An error as other programs read it."""
    return {
        "id": str(row.id),
        "time": time_of(row.id).isoformat(timespec="microseconds"),
        "group": row.fingerprint,
        "type": row.type,
        "message": row.message,
        "backtrace": row.backtrace,
        "context": row.context,
    }


def writing() -> None:
    """Begin a transaction that will write, which SQLite wants to know; one that has only read is left for it."""
    db.session.rollback()
    db.session.connection(execution_options={"writes": True})
