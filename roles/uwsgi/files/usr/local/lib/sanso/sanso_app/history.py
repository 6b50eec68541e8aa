# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/history.py
"""What became of an app's releases: a record in each, and a line for each run in the app's history."""

import json
import os
import sys

from sanso_app import system

FAILED, PREPARED, SERVED, WITHDRAWN = "failed", "prepared", "served", "withdrawn"


def is_served(folder):
    return (folder / "served").is_symlink()


def record(folder):
    """What is known of a release. Those of earlier versions have no record: the link alone says that they served."""
    said = system.read_json(folder / "record.json")
    if "state" in said or not folder.is_dir():
        return said
    state = SERVED if is_served(folder) else FAILED
    return {"id": folder.name, "state": state, "at": system.time_of(folder), **said}


def note(folder, **more):
    """Add to what is known of a release; None takes a word away."""
    said = {"id": folder.name, **record(folder), **more}
    said = {name: value for name, value in said.items() if value is not None}
    system.write(folder / "record.json", json.dumps(said, indent=1) + "\n")


def mark(folder, name, is_so=True):
    """A link that says the release's id: an engine sees it with one look."""
    if is_so:
        system.replace(folder / name, lambda path: path.symlink_to(folder.name))
    else:
        (folder / name).unlink(missing_ok=True)


def file_of(app):
    return system.LOGS / app.name / "releases.jsonl"


def add(app, action, **more):
    """A line to the app's history, which is root's. What was done is done, whether it can be written down or not."""
    line = {
        "time": system.now(),
        "action": action,
        **{name: value for name, value in more.items() if value is not None},
    }
    file = file_of(app)
    try:
        file.parent.mkdir(mode=0o751, parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640), "a") as open_file:
            open_file.write(json.dumps(line) + "\n")
    except OSError as error:
        print(f"{app.name}: the history {file} can't be written: {error}", file=sys.stderr)


def folders(app):
    """Of all releases, but for what is half unpacked."""
    folder = app.home / "releases"
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def releases(app):
    """The records of all releases, the newest first."""
    return sorted(map(record, folders(app)), key=lambda said: (said.get("at", ""), said["id"]), reverse=True)
