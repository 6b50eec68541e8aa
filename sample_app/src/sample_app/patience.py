"""A restart of the database costs no request: who finds it gone waits for it, as long as a restart takes."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask, current_app
from sqlalchemy.exc import DBAPIError

from .models import db

# In seconds. Less than uWSGI's harakiri (30) by what the last try may take: 3 to connect, 10 to answer.
SECONDS = 15
PAUSE = 0.2

# What MySQL says that goes or comes, beside what SQLAlchemy knows to be the end of a connection: can't connect (2002,
# 2003), shutdown in progress (1053), interrupted by it (1317), not ready yet (3168).
RESTARTING = {2002, 2003, 1053, 1317, 3168}


class Outage:
    """The time since this process first missed the database. It is the outage that patience is for, not the request:
    when it has lasted too long, requests are refused at once instead of filling all workers.
    """

    def __init__(self):
        self.since = 0.0
        self.seen = None

    def bearable(self) -> bool:
        """The database is gone: may it still be a restart?"""
        now = time.monotonic()
        if self.seen is None or now - self.seen > SECONDS:  # nobody asked for so long: this is another one
            self.since = now
        self.seen = now
        return now - self.since < SECONDS

    def end(self) -> None:
        self.seen = None  # and not since: another thread may be about to ask for it


def init_app(app: Flask) -> None:
    app.extensions["outage"] = Outage()


def patiently(work: Callable[[], Any]) -> Any:
    """work(), done anew while the database is gone: it must come to the same when it is done twice."""
    outage = current_app.extensions["outage"]
    while True:
        try:
            result = work()
        except DBAPIError as error:
            if not is_gone(error) or not outage.bearable():
                db.session.rollback()
                raise
            db.session().invalidate()  # no rollback: a database that shuts down has no answer to that either
            time.sleep(PAUSE)
        else:
            outage.end()
            return result


def patient(view: Callable) -> Callable:
    """A view that only reads, and waits for the database."""

    @wraps(view)
    def waiting(*arguments, **keywords):
        def read():
            answer = view(*arguments, **keywords)
            db.session.rollback()  # here: at the end of the request nobody would try again
            return answer

        return patiently(read)

    return waiting


def is_gone(error: DBAPIError) -> bool:
    """Whether the database went away or isn't there. One that is there and hangs is another matter: each try would take
    as long as this one.
    """
    code = error.orig.args[0] if error.orig.args else None
    hangs = isinstance(error.orig.__context__, TimeoutError)
    return (error.connection_invalidated or code in RESTARTING) and not hangs
