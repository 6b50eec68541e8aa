# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/workers.py
"""What runs beside an app's pages: its Redis, its workers and its jobs, in units that belong to its release.

A release brings them along in units/, by their names, and in units/started those that are started, a line each.
"""

import re
import time

from sanso_app import system
from sanso_app.system import Failed

SECONDS = 10  # for what was started to be there


def brought(release):
    """The unit files that a release brings along, beside those of its pages, by their names."""
    folder = release / "units"
    return {file.name: file for file in folder.iterdir() if file.name != "started"} if folder.is_dir() else {}


def started(release):
    """The units that a release wants started, beside that of its pages."""
    file = release / "units/started"
    return [unit for unit in file.read_text().split() if "@current." not in unit] if file.exists() else []


def present(app):
    """The unit files that are there."""
    return {file.name for file in system.UNITS.glob(f"app-{app.name}-*.*") if file.is_file()}


def know(app, release):
    """Let systemd know a release's units, and take away what neither it nor the release that serves brought along."""
    mine, current = brought(release), app.linked("current")
    for name, file in mine.items():
        system.renew(system.UNITS / name, file)
    remove(present(app) - mine.keys() - (brought(current).keys() if current else set()))
    system.succeed("systemctl", "daemon-reload")
    check_calendars(mine)
    start_redis(app, release)


def check_calendars(mine):
    """A timer that systemd can't read would just never be due."""
    for name, file in mine.items():
        if name.endswith(".timer"):
            (event,) = re.findall("(?m)^OnCalendar=(.*)", file.read_text())
            done = system.run("systemd-analyze", "calendar", event)
            if done.returncode:
                raise Failed(f"{name}: {event!r} is no calendar event: {done.stderr.strip()}")


def start_redis(app, release):
    """Before anything that may want it: a release that is tried, too."""
    name = f"app-{app.name}-redis.service"
    if name in brought(release):
        at = system.SOCKETS / f"app-{app.name}-redis/redis.sock"
        verb = "restart" if system.newer(system.UNITS / name, at) else "start"
        is_enabled = any(system.UNITS.glob(f"*.wants/{name}"))  # or systemd would read all units anew
        if not ((is_enabled or system.systemctl("enable", name)) and system.systemctl(verb, name)):
            raise Failed(f"{name} does not start.\n{system.said(name)}")


def remove(names):
    """Stop units and forget them, with their instances, by the names of their files."""
    for name in sorted(names, reverse=True):  # a timer before what it starts
        units = instances(name) if "@." in name else [name]
        if units:
            system.systemctl("disable", "--now", *units)
            system.systemctl("reset-failed", *units)  # the journal remembers
        if name.endswith(".timer"):
            system.systemctl("clean", "--what=state", name)  # when it was due last
        (system.UNITS / name).unlink(missing_ok=True)


def instances(template):
    """Those that run, failed, or are started at boot."""
    stem, _, kind = template.rpartition(".")
    at_boot = {file.name for file in system.UNITS.glob(f"*.wants/{stem}*.{kind}")}
    return sorted({*system.listed("--all", f"{stem}*.{kind}")} | at_boot)


def restart(app):
    """Let them run the release that serves. What a worker has in hand it may end, as long as its unit says.

    Raises Failed where one doesn't run then; the others do.
    """
    release = app.linked("current")
    know(app, release)
    wanted = started(release)
    services = [unit for unit in wanted if "@" in unit]
    templates = {f"{unit.partition('@')[0]}@.service" for unit in services}
    surplus = {unit for each in templates for unit in instances(each)} - set(services)
    if surplus:
        system.systemctl("disable", "--now", *sorted(surplus))
        system.systemctl("reset-failed", *sorted(surplus))
    if wanted:
        system.succeed("systemctl", "enable", *wanted)
    timers = [unit for unit in wanted if unit.endswith(".timer")]
    if timers:
        system.succeed("systemctl", "restart", *timers)
    if services:
        system.systemctl("reset-failed", *services)
        # All at once: each may take its time.
        system.systemctl("restart", *services)
        wait_for(services)


def wait_for(services):
    """See that they stay: a worker that can't begin ends within seconds."""
    until = time.time() + SECONDS
    while time.time() < until:
        shown = {unit: properties(unit) for unit in services}
        if bad := [unit for unit, each in shown.items() if each["ActiveState"] != "active" or each["NRestarts"] != "0"]:
            raise Failed(f"{bad[0]} does not stay up.\n{system.said(bad[0])}")
        if all(age(each) > 2 for each in shown.values()):
            return
        time.sleep(0.2)


def properties(unit):
    asked = "ActiveState,NRestarts,ActiveEnterTimestampMonotonic"
    lines = system.run("systemctl", "show", f"--property={asked}", unit).stdout.splitlines()
    return {"ActiveState": "", "NRestarts": "0", **dict(line.split("=", 1) for line in lines)}


def age(shown):
    """For how many seconds it has been active."""
    return time.monotonic() - int(shown.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
