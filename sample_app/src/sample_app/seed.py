"""`flask seed`: some errors to look at."""

from datetime import UTC, datetime, timedelta
from random import Random

import click
from flask import Blueprint
from sqlalchemy import insert, select

from .models import Error, db, fingerprint, id_at, writing

bp = Blueprint("seed", __name__, cli_group=None)

START = datetime(2026, 3, 2, 6, tzinfo=UTC)

# Project, how often, type, message, backtrace (innermost first), context. {n} and {who} differ from error to error.
FAULTS = [
    (
        "shop", 11, "KeyError", "'voucher'",
        ["shop/checkout.py:88 in total", "shop/checkout.py:41 in pay", "flask/app.py:902 in dispatch_request"],
        {"url": "/checkout/{n}", "method": "POST", "user": "{who}", "basket": {"items": 3, "currency": "EUR"}},
    ),
    (
        "shop", 6, "OperationalError", "(1205, 'Lock wait timeout exceeded; try restarting transaction')",
        ["pymysql/err.py:150 in raise_mysql_exception", "shop/stock.py:63 in reserve", "shop/checkout.py:47 in pay"],
        {"url": "/checkout/{n}", "method": "POST", "sku": "TEA-{n}", "waited_seconds": 50},
    ),
    (
        "shop", 4, "TemplateNotFound", "mail/receipt_ja.html",
        ["jinja2/loaders.py:209 in get_source", "shop/receipts.py:17 in render"],
        {"locale": "ja-JP", "customer": "三好 🍵", "order": "{n}"},
    ),
    (
        "shop", 2, "ValueError", "invalid literal for int() with base 10: '<script>alert(1)</script>'",
        ["shop/search.py:24 in page_number", "flask/app.py:902 in dispatch_request"],
        {"url": "/search?page=<script>alert(1)</script>", "method": "GET", "agent": "sqlmap/1.8"},
    ),
    (
        "mail-worker", 9, "TimeoutError", "no answer from smtp.example.org:587 within 30 s",
        ["smtplib.py:341 in connect", "worker/send.py:52 in deliver", "worker/main.py:19 in run"],
        {"job": "{n}", "recipient": "{who}@example.org", "attempt": 3},
    ),
    (
        "mail-worker", 3, "UnicodeDecodeError", "'utf-8' codec can't decode byte 0xe9 in position {n}",
        ["worker/inbox.py:71 in body", "worker/main.py:27 in run"],
        {"job": "{n}", "charset": "latin-1", "bounced": False},
    ),
    (
        "till", 7, "TypeError", "Cannot read properties of undefined (reading 'price')",
        ["addLine (till.js:214:31)", "onScan (till.js:96:5)", "HTMLInputElement.<anonymous> (till.js:12:3)"],
        {"branch": "Kyōto", "till": 4, "barcode": "49012{n}"},
    ),
    (
        "till", 1, "PrinterOffline", "The receipt printer at till 4 has not answered for 300 s", [], {},
    ),
]  # fmt: skip


@bp.cli.command("seed")
def seed():
    """Add some dozens of errors in three projects. The same ones each time: what is there already stays as it is."""
    rows = list(errors())
    writing()
    these = Error.id.in_([row["id"] for row in rows])
    there = set(db.session.execute(select(Error.project, Error.id).where(these)))
    missing = [row for row in rows if (row["project"], row["id"]) not in there]
    if missing:
        db.session.execute(insert(Error), missing)
        db.session.commit()
    click.echo(f"{len(missing)} errors added, {len(rows) - len(missing)} were there already.")


def errors():
    """The rows to add, spread over a week."""
    random = Random(3)
    for project, times, type, message, backtrace, context in FAULTS:
        for _ in range(times):
            some = {"n": random.randrange(1000, 9999), "who": random.choice(["aoi", "ben", "chidi", "dana"])}
            said = message.format(**some)
            yield {
                "project": project,
                "id": id_at(START + timedelta(microseconds=random.randrange(7 * 86_400_000_000))),
                "fingerprint": fingerprint(type, said, backtrace),
                "type": type,
                "message": said,
                "backtrace": backtrace,
                "context": {key: v.format(**some) if isinstance(v, str) else v for key, v in context.items()},
            }
