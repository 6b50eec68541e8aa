# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/release.py
"""Let a new release serve, or keep the one that does."""

import contextlib
import os
import shutil
import time

from sanso_app import assets, database, history, lock, sandbox, system, venv
from sanso_app.app import CANDIDATE, CURRENT, App, how
from sanso_app.system import PROBLEMS, Failed

FAILED_KEPT = 2  # releases that never served, for study
LONGEST = 4000  # characters that a record keeps of what an app said


class Change:
    """An app on its way from the release that serves to another.

    Nothing of the one that serves is touched until the other one has answered for itself; and whenever this is killed,
    the next run settles what is half done.
    """

    action = "release"

    def __init__(self, app, id, by="", why=""):
        self.app, self.id, self.folder, self.by, self.why = app, id, app.home / "releases" / id, by, why
        self.before = app.serving(self.folder)
        self.began, self.has_switched = time.time(), False

    def steps(self):
        """What is done, each with its name."""
        yield "Name it the candidate", lambda: self.app.link(CANDIDATE, self.folder)
        yield "Know its units", lambda: self.app.know_units(self.folder)
        yield "Try it on a socket of its own", self.try_it
        yield "Serve it", self.serve

    def go(self):
        step = "Find it"
        try:
            for step, do in self.steps():  # noqa: B007 -- told when it fails
                do()
        except PROBLEMS as error:
            said = str(error) or "It was interrupted."
            serving = self.back()
            kept = self.failed(step, said, system.is_full(error))
            raise Failed(
                f'{self.app.name}: release {self.id} failed at "Release | {step}".\n{said}\n{serving} {kept}'.rstrip()
            ) from error

    def try_it(self):
        self.app.start(CANDIDATE, how(self.folder, "health_path", "/"))

    def serve(self):
        if self.before:
            self.app.link("before", self.before)
        self.has_switched = True
        self.app.serve(self.folder)

    def back(self):
        """Let the one before serve, whatever this one has changed. Returns a sentence that says what serves now."""
        if not self.before:
            for instance in (CANDIDATE, CURRENT) if self.has_switched else (CANDIDATE,):
                self.app.stop(instance)
            if self.has_switched:
                self.app.reach(CURRENT)
                (self.app.home / CURRENT).unlink(missing_ok=True)
            return "No release serves yet."
        try:
            self.app.know_units(self.before)
            # Also where it was a run of an earlier version that made this one the current one, and was killed.
            if self.has_switched or self.app.linked(CURRENT) != self.before:
                self.app.make_current(self.before)
                self.app.come_home()
                history.mark(self.before, "served")
            else:
                self.app.stop(CANDIDATE)
        except PROBLEMS as error:
            text = f"Release {self.before.name}, which served before, does not any more: {error}\n"
            return text + (f"Release {self.id} serves, as {CANDIDATE}." if self.app.reached() == CANDIDATE else "")
        return f"Release {self.before.name} keeps serving."

    def finish(self):
        try:
            self.app.finish(self.folder)
        except PROBLEMS as error:
            raise Failed(f"{self.app.name}: release {self.id} serves, but not all runs beside it: {error}") from error

    @property
    def seconds(self):
        return round(time.time() - self.began, 1)

    def tell(self, action, **more):
        before = self.before.name if self.before else None
        told = {"release": self.id, "before": before, "by": self.by, "why": self.why or None, "seconds": self.seconds}
        history.add(self.app, action, **told, **more)

    def failed(self, step, said, is_full):
        """Write down that it did. Returns a sentence that says what stays of it."""
        self.tell("failed", step=step)
        return ""


class Release(Change):
    """A release that an engine has brought, on its way to be the one that serves."""

    noted: dict = {}  # noqa: RUF012 -- replaced, never changed
    migration = None

    def steps(self):
        yield "Unpack it", self.unpack
        yield "Install its dependencies from the wheels that came along", self.install
        yield "Name it the candidate", lambda: self.app.link(CANDIDATE, self.folder)
        yield "Know its units", lambda: self.app.know_units(self.folder)
        yield "Build its files", self.build
        yield "Lay out its static files", self.publish
        yield "Migrate the database", self.migrate
        yield "Try it on a socket of its own", self.try_it
        yield "Serve it", self.serve

    @property
    def is_whole(self):
        """Whether it is a release that runs, or has: what is there was judged, and stays as it is."""
        folders = [self.before, self.app.linked(CURRENT), self.app.linked("before")]
        folders += [self.app.linked(CANDIDATE)] * (self.app.reached() == CANDIDATE)
        known = (history.SERVED, history.WITHDRAWN)
        return self.folder in folders or (self.folder.is_dir() and history.record(self.folder)["state"] in known)

    def unpack(self):
        incoming = self.app.home / "incoming"
        archive, hidden = incoming / f"{self.id}.tar.gz", incoming / f"{self.id}.secrets"
        if self.is_whole:
            return
        if not archive.exists():
            if not self.folder.is_dir():
                raise Failed(f"There is neither {archive} nor {self.folder}.")
            return
        beside = self.folder.with_name(f".{self.id}.new")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            beside.mkdir(parents=True)
            beside.chmod(0o751)
            system.succeed("tar", "-xzf", archive, "--no-same-owner", "--same-permissions", "-C", beside)
            if hidden.exists():
                system.write(beside / "secrets", hidden.read_text(), mode=0o600)
            system.succeed("chgrp", "-R", self.app.name, beside)
            history.note(beside, id=self.id, state=history.PREPARED, at=system.now(), by=self.by)
            shutil.rmtree(self.folder, ignore_errors=True)
            beside.rename(self.folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise

    def install(self):
        if not (self.is_whole and (self.folder / "venv/bin").is_dir()):
            venv.install(self.app, self.folder)

    def build(self):
        """As the app's user, who may write to that folder while it lasts."""
        command, folder = how(self.folder, "build", ""), self.folder / "build"
        if not command or (self.is_whole and folder.is_dir()):
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o750)
        system.succeed("chown", f"{self.app.name}:{self.app.name}", folder)
        words, unit = ["/bin/sh", "-c", command], f"app-{self.app.name}-build"
        system.succeed(*sandbox.command(self.app.name, self.folder, words, unit=unit, writable=(folder,)))
        system.succeed("chown", "-hR", f"root:{self.app.name}", folder)
        for found in folder.rglob("*"):
            if found.is_symlink():
                if not any(found.resolve().is_relative_to(top) for top in (folder, self.folder / "app")):
                    found.unlink()  # nginx would follow it
            else:
                found.chmod(0o750 if found.is_dir() or os.access(found, os.X_OK) else 0o640)

    def publish(self):
        if not (self.is_whole and (self.folder / "public").is_dir()):
            assets.publish(self.folder)
        assets.collect(self.app, self.folder)

    def migrate(self):
        """As the app's user, with its groups and its environment: what it may, and no more."""
        self.migration = migration = database.Migration(self.app, self.folder, self.before)
        migration.begin()
        if command := how(self.folder, "migrate", ""):
            # By name there is only one: what a run that was killed has left behind is not overtaken.
            words, unit = ["/bin/sh", "-c", command], f"app-{self.app.name}-migration"
            try:
                system.succeed(*sandbox.command(self.app.name, self.folder, words, unit=unit))
            except PROBLEMS as error:
                raise migration.failed(error) from error
        self.noted = {name: value for name, value in migration.done().items() if value}

    def served(self):
        """Write down that it does."""
        source = system.read_json(self.folder / "source.json")
        known = {name: source.get(name) or None for name in ("version", "commit", "subject", "dirty")}
        noted = dict(self.noted)
        if self.folder == self.before:  # its migration had nothing to do any more
            noted.pop("revision_before", None)
        told = {"by": self.by, "why": self.why or None, "seconds": self.seconds, **known, **noted}
        # What is there of an earlier time was true then.
        gone = dict.fromkeys(("step", "said", "withdrawn_by", "withdrawn_why"))
        history.note(self.folder, state=history.SERVED, at=system.now(), **told, **gone)
        history.mark(self.folder, "withdrawn", False)
        self.tell(self.action, snapshot=self.noted.get("snapshot"))

    def failed(self, step, said, is_full):
        super().failed(step, said, is_full)
        if is_full:
            shutil.rmtree(self.app.home / "incoming", ignore_errors=True)
        if not self.folder.is_dir() or self.is_whole:
            return ""
        if is_full:
            shutil.rmtree(self.folder, ignore_errors=True)
            return "The disk is full: nothing of the failed one stays. What takes the room: sudo du -xh / | sort -h"
        told = {"by": self.by, "why": self.why or None, "seconds": self.seconds, "step": step, "said": said[-LONGEST:]}
        with contextlib.suppress(OSError):
            history.note(self.folder, state=history.FAILED, at=system.now(), **told, **self.noted)
        return f"The failed one stays in {self.folder}.\n{self.stays()}".rstrip()

    def stays(self):
        """What a migration that was done has left, where a later step failed."""
        if not self.noted:
            return ""
        try:
            return self.migration.stays()
        except PROBLEMS as error:
            return f"What its migration left can't be seen: {error}"

    def clean(self):
        """Remove what is older than what is kept, and what nothing uses."""
        others = [said for said in history.releases(self.app) if said["id"] not in self.needed]
        good = [said["id"] for said in others if said["state"] in (history.SERVED, history.WITHDRAWN)]
        bad = [said["id"] for said in others if said["id"] not in good]
        # The one before counts as one of those that stay.
        old = good[max(self.app.kept - len(self.needed - {self.id}), 0) :] + bad[FAILED_KEPT:]
        releases = self.folder.parent
        try:
            for path in [*(releases / id for id in old), *releases.glob(".*.new")]:
                (path / "served").unlink(missing_ok=True)  # first: a part of it is no release to go back to
                shutil.rmtree(path)
            venv.prune(self.app)
            shutil.rmtree(self.app.home / "incoming", ignore_errors=True)
        except OSError as error:
            raise Failed(f"{self.app.name}: release {self.id} serves, but an old one stays: {error}") from error

    @property
    def needed(self):
        linked = (self.app.linked(name) for name in (CURRENT, "before"))
        return {self.id, *(folder.name for folder in linked if folder)}


def refuse_withdrawn(app, new, again):
    if again or not (new.folder / "withdrawn").is_symlink():
        return
    said = history.record(new.folder)
    raise Failed(
        f"{app.name}: release {new.id} was rolled back by {said.get('by', 'somebody')}, and is not released again. "
        "Nothing was changed.\nRelease something else; or, if you want this one after all, say so: --again."
    )


@system.verb
def release(options):
    """Done once the release serves; if it can't, with what it said, the one before keeps serving."""
    app = App(options.app, host=options.host, seconds=options.seconds, kept=options.kept)
    with lock.held(app, f"release {options.id}", options.by, options.why):
        refuse_withdrawn(app, Release(app, options.id), options.again)
        app.settle()
        app.remember()
        new = Release(app, options.id, options.by, options.why)
        new.go()
        new.served()
        new.finish()
        new.clean()
    return f"{app.name}: release {new.id} serves ({new.seconds} s)."
