# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/remove.py
"""Take an app off the server, and leave its data, unless told otherwise."""

import shutil

from sanso_app import database, history, lock, system, workers
from sanso_app.app import CANDIDATE, CURRENT, App
from sanso_app.system import Failed

# What of an app's folder are its data.
DATA = ("shared", "redis", "snapshots", "lock")


@system.verb
def remove(options):
    """Done once it is gone. What is gone already is no mistake: the next run makes good one that was killed."""
    app = App(options.app)
    with lock.held(app, "remove", options.by, options.why):
        data = "delete" if options.delete_data else "keep"
        history.add(app, "remove", by=options.by, why=options.why or None, data=data)
        stop(app)
        (database.delete if options.delete_data else database.close)(app)
        for path in app.home.iterdir():
            if path.name not in DATA or (options.delete_data and path.name != "lock"):
                erase(path)
        for path in units(app):  # last: an engine asks for them
            path.unlink(missing_ok=True)
        system.systemctl("daemon-reload")
        if options.delete_data:
            erase(app.home)
            system.run("userdel", app.name)
    kept = "its data too" if options.delete_data else f"its data stay in {app.home}, and its database where it is"
    return f"{app.name} is removed: {kept}."


def units(app):
    """The files of its units: app-NAME@.service, those beside it, and the slice that they run in."""
    return system.UNITS.glob(f"app-{app.name}[@.-]*")


def stop(app):
    workers.remove(workers.present(app))
    names = {*system.listed("--all", f"app-{app.name}[@-]*")}
    names |= {f"{app.unit_of(instance)}.{kind}" for instance in (CURRENT, CANDIDATE) for kind in ("socket", "service")}
    # First what would start others.
    for kinds in ((".timer", ".socket"), (".service",)):
        for name in sorted(name for name in names if name.endswith(kinds)):
            system.systemctl("disable", "--now", name)
            system.systemctl("reset-failed", name)
    left = system.run("systemctl", "is-active", f"{app.unit_of(CURRENT)}.service").stdout.strip()
    if left == "active":
        raise Failed(f"{app.name} does not stop: systemctl status app-{app.name}@current")
    system.systemctl("stop", f"app-{app.name}.slice")  # which stays, empty, without its file too
    shutil.rmtree(app.sockets, ignore_errors=True)


def erase(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
