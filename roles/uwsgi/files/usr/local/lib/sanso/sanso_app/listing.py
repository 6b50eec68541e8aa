# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/listing.py
"""What releases an app has, and at which revision its database is, for a person or a program."""

import json
import sys

from sanso_app import database, history, lock, system
from sanso_app.app import CURRENT, App
from sanso_app.system import Failed


def found(app):
    """All that is known of an app's releases, the newest first."""
    current = app.linked(CURRENT)
    releases = [{**said, "serves": bool(current) and said["id"] == current.name} for said in history.releases(app)]
    names = ("revision", "compatible_revisions", "migrate")
    for said in releases:
        told = system.read_json(app.home / "releases" / said["id"] / "release.json")
        said.update({name: told[name] for name in names if name in told and name not in said})
    return {
        "app": app.name,
        "current": current.name if current else None,
        "releases": releases,
        "locked": lock.holder(app),
        "history": str(history.file_of(app)),
    }


def releases(options):
    app = App(options.app)
    if not app.home.is_dir():
        print(f"There is no app {app.name} on this server: {app.home} is missing.", file=sys.stderr)
        return 1
    told = found(app)
    if options.json:
        print(json.dumps(told))
        return 0
    for said in told["releases"]:
        sign = "*" if said["serves"] else " "
        words = [said["id"], f"{said['state']:9}", said.get("at", ""), said.get("by", "")]
        words += [str(said.get(name)) for name in ("version", "revision", "step") if said.get(name)]
        print(sign, "  ".join(words).rstrip())
    if told["locked"]:
        print(f"Busy: {lock.told(told['locked'])}")
    return 0


@system.verb
def revision(options):
    """Of the database as the release that serves has one; empty where it has none."""
    app = App(options.app)
    if not (current := app.linked(CURRENT)):
        raise Failed(f"No release of {app.name} serves on this server.")
    return database.revision(app, current)
