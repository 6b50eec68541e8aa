# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/release.py
"""Let a new release serve, or keep the one that does."""

import shutil
import sys

from sanso_app import sandbox, system, workers
from sanso_app.app import App, how
from sanso_app.system import PROBLEMS, Failed


class Release:
    """One release of an app, on its way from an unpacked folder to the one that serves.

    Nothing of the one that serves is touched until this one has answered for itself; and whenever this is killed, the
    next run finds what is half done, and does it again.
    """

    def __init__(self, app, id):
        self.app, self.id, self.folder = app, id, app.home / "releases" / id
        self.before = app.serving(self.folder)
        self.is_served = False

    def steps(self):
        yield "Install its dependencies from the wheels that came along", self.install
        yield "Name it the candidate", lambda: self.app.link("candidate", self.folder)
        yield "Know its units", lambda: self.app.know_units(self.folder)
        yield "Migrate the database", self.migrate
        yield "Try it on a socket of its own", self.try_it
        yield "Serve it", self.serve

    def go(self):
        step = "Find it"
        try:
            for step, do in self.steps():  # noqa: B007 -- told when it fails
                do()
        except PROBLEMS as error:
            raise Failed(
                f'{self.app.name}: release {self.id} failed at "Release | {step}".\n{error}\n'
                f"{self.back()} The failed one stays in {self.folder}."
            ) from error

    def install(self):
        # A release that runs keeps what it runs with: it was whole before it ran.
        if self.folder not in (self.before, self.app.linked("current")):
            (self.folder / "served").unlink(missing_ok=True)
            # Anew: a run that was broken off leaves a part of one.
            system.succeed("python3", "-m", "venv", "--clear", "venv", cwd=self.folder, umask=0o027)
            command = [self.folder / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
            command += ["--find-links=wheels", "--no-deps", "--require-hashes", "--requirement=requirements.txt"]
            system.succeed(*command, cwd=self.folder, umask=0o027)
            system.succeed("chgrp", "-R", self.app.name, "venv", cwd=self.folder)
        shutil.rmtree(self.folder / "wheels", ignore_errors=True)  # none came along where nothing is needed

    def migrate(self):
        """As the app's user, with its groups and its environment: what it may, and no more."""
        if not (command := how(self.folder, "migrate", "")):
            return
        # By name there is only one: what a run that was killed has left behind is not overtaken.
        unit = f"app-{self.app.name}-migration"
        system.succeed(*sandbox.command(self.app.name, self.folder, ["/bin/sh", "-c", command], unit=unit))

    def try_it(self):
        try:
            self.app.start("candidate", how(self.folder, "health_path", "/"))
        finally:
            self.app.stop("candidate")

    def serve(self):
        if self.before:
            self.app.link("before", self.before)
        self.is_served = True
        self.app.serve(self.folder)

    def back(self):
        """Let the one before serve, whatever this one has changed. Returns a sentence that says what serves now."""
        # Also where it was a run that was killed which made this one the current one.
        is_served = self.is_served or (self.app.linked("current") == self.folder != self.before)
        if not self.before:
            if is_served:
                self.app.stop("current")
                (self.app.home / "current").unlink(missing_ok=True)
            return "No release serves yet."
        try:
            self.app.know_units(self.before)
            if is_served:
                self.app.serve(self.before)
        except PROBLEMS as error:
            return f"Release {self.before.name}, which served before, does not any more: {error}\n"
        return f"Release {self.before.name} keeps serving."

    def prune(self, kept):
        """Remove all but so many others, the youngest."""
        others = [path for path in self.folder.parent.iterdir() if path != self.folder]
        try:
            for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[kept:]:
                (path / "served").unlink(missing_ok=True)  # first: a part of it is no release to go back to
                shutil.rmtree(path)
        except OSError as error:
            raise Failed(f"{self.app.name}: release {self.id} serves, but an old one stays: {error}") from error


def release(options):
    """Exit code 0 once the release serves; 1 if it can't, with what it said: the one before keeps serving."""
    new = Release(App(options.app, options.host, options.seconds), options.id)
    try:
        new.go()
        workers.restart(new.app)
        new.prune(options.kept)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    return 0
