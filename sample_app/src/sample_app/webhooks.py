"""Webhooks: tell another program of an error that was reported.

`webhook` in a report is an object of
- `url`: where to POST, https or http, to a public address, up to 2,000 characters;
- `secret`: 8 to 200 characters, with which the delivery is signed;
- `headers`, optional: up to 20 headers that it is sent with, such as Authorization, of up to 1,000 characters each.

What is POSTed is a JSON object: `project`, `error` as the API gives it, and `url`, its page. Headers that come with it:
`Faults-Timestamp`, when it was sent; `Faults-Signature`, `sha256=` and the HMAC-SHA256 of timestamp, dot and body in
hexadecimal digits, by the secret; `Idempotency-Key`, the same for all attempts: a delivery may arrive twice.
"""

import hashlib
import hmac
import json
import logging
import random
import re
import time

from celery import shared_task
from flask import abort, current_app, url_for
from sqlalchemy import Row, and_, or_, select, update
from sqlalchemy.exc import DBAPIError

from . import outbound, sealing
from .jobs import LEASE
from .models import Delivery, Error, as_json, db, writing
from .patience import patiently

ATTEMPTS = 8  # unless WEBHOOK_ATTEMPTS says otherwise: the last one is made after 10 to 20 minutes
FIRST, LONGEST = 10, 3600  # seconds between two attempts; each time twice as long
LOST = 120  # seconds after which what was queued and not begun is queued again

# What we send ourselves, or what would change how the message is read.
RESERVED = {
    *("connection", "content-encoding", "content-length", "content-type", "expect", "host", "idempotency-key"),
    *("keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"),
}
RESERVED_PREFIXES = ("faults-", "proxy-")


# What comes with a report


def accepted(webhook: object) -> dict:
    """The row of a webhook that came with a report, but for its key. Aborts with 422."""
    if not current_app.extensions["celery"] or not sealing.is_possible():
        missing = "WEBHOOK_KEY" if current_app.extensions["celery"] else "REDIS_URL"
        abort(422, f"This server sends no webhooks: it has no {missing}. Report the error without one.")
    if not isinstance(webhook, dict) or not {"url", "secret"} <= webhook.keys() <= {"url", "secret", "headers"}:
        abort(422, "webhook must be an object of url, secret and, if need be, headers.")
    url, secret, headers = webhook["url"], webhook["secret"], webhook.get("headers", {})
    if not isinstance(url, str) or len(url) > 2000:
        abort(422, "webhook.url must be a string of at most 2000 characters.")
    if not isinstance(secret, str) or not 8 <= len(secret) <= 200:
        abort(422, "webhook.secret must be a string of 8 to 200 characters.")
    check_headers(headers)
    try:
        parts = outbound.split(url)
        if not allow_private():
            outbound.check_literal(parts)
    except outbound.Refused as error:
        abort(422, f"webhook.url can't be used: {error}.")
    here = url_for("pages.projects", _external=True)
    return {
        "state": "queued",
        "receiver": outbound.origin(parts),
        "sealed": sealing.seal({"url": url, "secret": secret, "headers": headers, "here": here}),
        "due": now(),
        "queued": now(),
    }


def check_headers(headers: object) -> None:
    if not isinstance(headers, dict) or len(headers) > 20:
        abort(422, "webhook.headers must be an object of at most 20 headers.")
    for name, value in headers.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", name):
            abort(422, "webhook.headers holds a name that no header can have.")
        if not isinstance(value, str) or not re.fullmatch(r"[ -~\t]{0,1000}", value):
            abort(422, f"webhook.headers: {name} must be a string of at most 1000 printable ASCII characters.")
        if name.lower() in RESERVED or name.lower().startswith(RESERVED_PREFIXES):
            abort(422, f"webhook.headers: {name} can't be chosen.")


# The queue


def enqueue(project: str, id: int) -> bool:
    """Put the key of a job into the queue, if Redis takes it."""
    try:
        deliver.apply_async((project, id))
    except Exception as error:  # whatever it is, the job is in the database
        current_app.logger.warning("Redis failed, webhook %s/%s waits for it: %s", project, id, error)
        return False
    return True


def enqueue_new(project: str, id: int) -> None:
    """Queue the job of an error that is stored: so nothing that goes wrong here may reach who reported it. What isn't
    queued now is by the next sweep, or, if not even that can be noted, by one after LOST.
    """
    if not enqueue(project, id):
        try:
            note(project, id, None)
        except DBAPIError as error:
            db.session.rollback()
            current_app.logger.warning("The database failed: %s", error.orig)


def note(project: str, id: int, queued: int | None) -> None:
    writing()
    db.session.execute(update(Delivery).where(Delivery.project == project, Delivery.id == id).values(queued=queued))
    db.session.commit()


def requeue() -> int:
    """Queue what is due and isn't queued, such as what Redis lost, or never got; returns how many these are."""
    lost = or_(Delivery.queued.is_(None), Delivery.queued < Delivery.due, Delivery.queued < now() - LOST)
    waiting = (
        select(Delivery.project, Delivery.id)
        .where(Delivery.state == "queued", Delivery.due <= now(), lost)
        .order_by(Delivery.due)
        .limit(500)
    )
    keys = patiently(lambda: db.session.execute(waiting).all())
    for count, key in enumerate(keys):
        if not enqueue(*key):
            return count
        patiently(lambda key=key: note(*key, now()))
    return len(keys)


@shared_task
def sweep():
    requeue()


# A delivery


@shared_task
def deliver(project: str, id: int) -> None:
    """Make an attempt, if one is due: who comes for a job that another one does, or has done, finds nothing to do."""
    if attempt := patiently(lambda: begin(project, id)):
        state, status, said, wait = outcome(project, id, attempt)
        patiently(lambda: end(project, id, attempt, state, status, said, wait))
        level = logging.WARNING if state == "failed" else logging.INFO
        current_app.logger.log(level, "Webhook %s/%s, attempt %s: %s (%s)", project, id, attempt, state, said)


def begin(project: str, id: int) -> int:
    """Take the job for a while, and return the number of this attempt; 0 if there is nothing to do."""
    writing()
    taken = db.session.execute(
        update(Delivery)
        .where(Delivery.project == project, Delivery.id == id, Delivery.state == "queued", Delivery.due <= now())
        .values(attempts=Delivery.attempts + 1, due=now() + LEASE)
    ).rowcount
    attempt = db.session.scalar(select(Delivery.attempts).where(Delivery.project == project, Delivery.id == id))
    db.session.commit()
    return attempt if taken else 0


def outcome(project: str, id: int, attempt: int) -> tuple[str, int | None, str, int]:
    """Send it, and return what became of it: state, status, a word for people, and seconds until the next attempt."""
    if attempt > attempts():
        return "failed", None, "the worker was lost in its last attempt", 0
    job = (
        select(*Error.__table__.columns, Delivery.sealed)
        .join(Delivery, and_(Delivery.project == Error.project, Delivery.id == Error.id))
        .where(Error.project == project, Error.id == id)
    )
    row = patiently(lambda: db.session.execute(job).one_or_none())
    db.session.rollback()  # no transaction is open while the other side takes its time
    if row is None:
        return "failed", None, "the error was removed", 0
    try:
        status = send(row, sealing.unseal(row.sealed))
    except sealing.Unreadable:
        return "failed", None, "it was sealed with another WEBHOOK_KEY", 0
    except outbound.Refused as refusal:
        return "failed", None, str(refusal), 0
    except outbound.Unreachable as problem:
        status, said = None, str(problem)
    else:
        said = outbound.phrase(status)
    if status and 200 <= status < 300:
        return "delivered", status, said, 0
    if status and 300 <= status < 400:
        return "failed", status, f"{said}: redirects are not followed", 0
    if status == 410 or attempt == attempts():
        return "failed", status, said, 0
    return "queued", status, said, pause(attempt)


def end(project: str, id: int, attempt: int, state: str, status: int | None, said: str, wait: int) -> None:
    values = {"state": state, "status": status, "said": said[:200], "due": now() + wait}
    if state != "queued":
        values["ended"] = now()
    if state == "delivered":
        values["sealed"] = None
    these = (Delivery.project == project, Delivery.id == id, Delivery.attempts == attempt, Delivery.state == "queued")
    writing()
    db.session.execute(update(Delivery).where(*these).values(values))
    db.session.commit()


def send(error: Row, sealed: dict) -> int:
    page = f"{sealed['here']}projects/{error.project}/errors/{error.id}"
    body = json.dumps({"project": error.project, "error": as_json(error), "url": page}, ensure_ascii=False).encode()
    timestamp = str(now())
    headers = {
        **sealed["headers"],
        "Content-Type": "application/json",
        "User-Agent": "faults",
        "Faults-Timestamp": timestamp,
        "Faults-Signature": f"sha256={signature(sealed['secret'], timestamp, body)}",
        "Idempotency-Key": f"{error.project}/{error.id}",
    }
    return outbound.post(sealed["url"], body, headers, allow_private())


def signature(secret: str, timestamp: str, body: bytes) -> str:
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def pause(attempt: int) -> int:
    """Seconds until the next attempt: more each time, and never the same for all that failed together."""
    longest = min(LONGEST, FIRST * 2 ** (attempt - 1))
    return round(random.uniform(longest / 2, longest))


def retry(*these) -> list:
    """Give what has failed all its attempts again; returns the keys."""
    failed = (Delivery.state == "failed", *these)
    again = {"state": "queued", "attempts": 0, "due": now(), "queued": None, "ended": None}
    writing()
    keys = db.session.execute(select(Delivery.project, Delivery.id).where(*failed)).all()
    db.session.execute(update(Delivery).where(*failed).values(again))
    db.session.commit()
    requeue()
    return keys


# Settings


def attempts() -> int:
    return int(current_app.config.get("WEBHOOK_ATTEMPTS") or ATTEMPTS)


def allow_private() -> bool:
    return current_app.config.get("WEBHOOK_ALLOW_PRIVATE") == "1"


def now() -> int:
    return int(time.time())
