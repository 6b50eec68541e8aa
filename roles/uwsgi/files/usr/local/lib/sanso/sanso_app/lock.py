# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/lock.py
"""One run at a time for each app. The kernel lets go of the lock of a run that was killed."""

import contextlib
import fcntl
import json
import os
import sys

from sanso_app import system
from sanso_app.system import Failed

WORDS = "{who} began to {what} it at {when} (process {pid}){because}"


def told(said):
    """A run, in words."""
    because = f", because: {said['why']}" if said.get("why") else ""
    known = {name: said.get(name, "somebody" if name == "who" else "?") for name in ("who", "what", "when", "pid")}
    return WORDS.format(**known, because=because)


def read(file):
    try:
        found = json.loads(file.read() or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def held(app, what, by, why):
    """Hold an app's lock, or say who does. what: the verb, say "release"."""
    path = app.home / "lock"
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o640), "r+")
    except FileNotFoundError:
        raise Failed(f"There is no app {app.name} on this server: {app.home} is missing.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(
                f"{app.name} is busy: {told(read(file))}. Nothing was changed.\n"
                "Wait until it is done, and begin again; no run hangs for ever, and one that is killed frees the lock."
            ) from None
        if left := read(file):
            print(f"{app.name}: {told(left)}, and was killed before it was done. What it left is settled first.")
            sys.stdout.flush()
        said = {"who": by, "when": system.now(), "why": why, "what": what, "pid": os.getpid()}
        say(file, json.dumps(said))
        try:
            yield
        finally:
            say(file, "")


def say(file, text):
    # A disk that is full keeps nobody from releasing what frees it: what holds the lock is not what it says.
    with contextlib.suppress(OSError):
        file.seek(0)
        file.truncate()
        file.write(text)
        file.flush()


def holder(app):
    """Who holds an app's lock, as a dictionary; None where nobody does."""
    try:
        file = (app.home / "lock").open()
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return read(file)
    return None
