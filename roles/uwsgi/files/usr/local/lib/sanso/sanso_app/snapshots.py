# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/snapshots.py
"""What an app's database was: in /srv/APP/snapshots, which is root's, a packed dump and a description of it each."""

import contextlib
import json
import os
import shutil
import signal
import time
from datetime import UTC, datetime

from sanso_app import system
from sanso_app.system import PROBLEMS, Failed

MARGIN = 64 << 20  # bytes that stay free
PATIENCE = 30  # seconds in which the app comes to an end with what it writes
SAFETY_KEPT = 2


def megabytes(count):
    return f"{count / 1e6:.0f} MB"


class Snapshots:
    def __init__(self, app):
        self.app, self.folder = app, app.home / "snapshots"

    def all(self):
        """Descriptions of those that are whole, the newest first."""
        found = []
        for path in self.folder.glob("*.json"):
            with contextlib.suppress(ValueError):
                said = json.loads(path.read_text())
                if "file" in said and (self.folder / said["file"]).exists():
                    found.append(said)
        return sorted(found, key=lambda said: (said["at"], said["name"]), reverse=True)

    def named(self, name):
        found = {said["name"]: said for said in self.all()}
        if name not in found:
            raise Failed(f"{self.app.name} has no snapshot {name!r}, but {', '.join(found) or 'none at all'}.")
        return found[name]

    def take(self, database, why, **about):
        """Write one, and return its name. It is there as a whole, or not at all."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        size, free = database.size(), shutil.disk_usage(self.folder).free
        if free < size + MARGIN:
            raise Failed(
                f"There is no room for a snapshot of its database: it may need {megabytes(size)}, and "
                f"{self.folder} has {megabytes(free)} free, of which {megabytes(MARGIN)} have to stay."
            )
        name = base = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{why}"
        count = 1
        while (self.folder / f"{name}.json").exists():
            name, count = f"{base}-{count}", count + 1
        file = f"{name}.{database.suffix}"
        said = {"name": name, "file": file, "why": why, "at": system.now(), "data": size, **about}
        half = self.folder / f".{file}"
        with umask(0o077):
            try:
                database.dump(half)
                half.rename(self.folder / file)
            finally:
                half.unlink(missing_ok=True)
            said["bytes"] = (self.folder / file).stat().st_size
            # Last: without it there is none.
            system.write(self.folder / f"{name}.json", json.dumps(said, indent=1) + "\n", mode=0o600)
        return name

    def prune(self, needed):
        """Remove those that no release needs; of those that a restore made, the newest stay."""
        safety = [said["name"] for said in self.all() if said["why"] == "restore"]
        kept = {*needed, *safety[:SAFETY_KEPT]}
        for path in [*self.folder.glob("*.json"), *self.folder.glob("*.gz"), *self.folder.glob(".*.gz")]:
            if path.name != MARKER and path.name.removeprefix(".").partition(".")[0] not in kept:
                path.unlink()


MARKER = "restoring.json"


def marker_of(app):
    """What says that a snapshot is on its way to the place of what is there."""
    return app.home / "snapshots" / MARKER


@contextlib.contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def units(app):
    """All that runs of an app: pages, workers, commands."""
    return system.listed("--state=running", f"app-{app.name}@*.service", f"app-{app.name}-*.service")


def thaw(app):
    """After a run that was killed: what it had stopped in its tracks goes on."""
    for unit in units(app):
        if system.shown(unit, "FreezerState") == "frozen":
            system.systemctl("thaw", unit)


@contextlib.contextmanager
def still(app, database):
    """Stop all that the app does where it is: requests wait in its socket, and nothing is written meanwhile."""
    frozen = []
    until = time.monotonic() + PATIENCE
    with handled(stop):
        try:
            while True:
                for unit in units(app):
                    frozen.append(unit)  # first: a signal may come at any moment
                    system.systemctl("freeze", unit)
                # What is stopped in the midst of writing to a file would keep it locked.
                if not hasattr(database, "is_quiet") or database.is_quiet():
                    break
                let_go(frozen)
                if time.monotonic() > until:
                    raise Failed(f"{database.path} was written to without a pause for {PATIENCE} s.")
                time.sleep(0.1)
            yield
        finally:
            let_go(frozen)


def let_go(units):
    while units:
        system.systemctl("thaw", units[-1])
        units.pop()


def stop(number, frame):
    """A signal that ends the tool lets it tidy up first: nobody else would let the app go on."""
    raise Failed(f"It was ended by {signal.Signals(number).name}.")


@contextlib.contextmanager
def handled(how):
    """What signals that end the tool do meanwhile."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, how) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Swap:
    """A snapshot in the place of what is there, which is kept as another one; or everything as it was."""

    def __init__(self, app, database):
        self.app, self.database, self.snapshots = app, database, Snapshots(app)
        self.marker = marker_of(app)

    def take_back(self):
        """Put back what was there before."""
        thaw(self.app)
        with still(self.app, self.database):
            self.put(system.read_json(self.marker)["safety"])
        self.marker.unlink()

    def put(self, name):
        self.database.load(self.snapshots.folder / self.snapshots.named(name)["file"])

    def go(self, said, target="", **about):
        """Returns the name of the snapshot that holds what was there.

        target: the release for which it is done. Until that serves, the marker says what would have to be put back.
        """
        path = self.snapshots.folder / said["file"]
        try:
            self.database.check(path)
        except (EOFError, OSError) as error:
            raise Failed(f"{path} is damaged ({error}); nothing was changed.") from error
        folder, free = self.database.room()
        if free < 2 * said["data"] + MARGIN:  # MySQL writes each row into its log of changes too
            raise Failed(
                f"There is no room to restore {said['name']}: it needs up to {megabytes(2 * said['data'])}, and "
                f"{folder} has {megabytes(free)} free; nothing was changed."
            )
        with still(self.app, self.database):
            safety = self.snapshots.take(self.database, "restore", **about)
            marker = {"safety": safety, "kind": said["kind"], "target": target}
            system.write(self.marker, json.dumps(marker) + "\n", mode=0o600)
            try:
                self.put(said["name"])
            except BaseException as error:
                with handled(signal.SIG_IGN):
                    self.undo(safety, error)
                raise
            if not target:
                self.marker.unlink()
        return safety

    def undo(self, safety, error):
        try:
            self.put(safety)
        except PROBLEMS as problem:
            raise Failed(
                f"The snapshot could not be restored: {error}\nNor could what was there before: {problem}\n"
                f"It is in {self.snapshots.folder}; next: sudo sanso-app restore {self.app.name} {safety}"
            ) from error
        self.marker.unlink()
        raise Failed(f"The snapshot could not be restored: {error}\nAll is as it was before.") from error
