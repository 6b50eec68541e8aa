# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/app.py
"""An app on this server."""

import json
import shutil
import time

from sanso_app import system, uwsgi, workers
from sanso_app.system import Failed


class App:
    """An app on this server, in releases, each a folder."""

    def __init__(self, name, host, seconds):
        self.name, self.host, self.seconds = name, host, seconds
        self.home = system.HOME / name

    def linked(self, name):
        """The release that a link leads to; None if it leads nowhere."""
        release = self.home / name
        return release.resolve() if release.is_dir() else None

    def link(self, name, release):
        system.replace(self.home / name, lambda path: path.symlink_to(release))

    def serving(self, new):
        """The release that is known to serve well, before `new` does; None if there is none."""
        current = self.linked("current")
        if current and not (current / "served").is_symlink():
            # What made it the current one broke off before it had answered; or it is older than such links are.
            return self.linked("before") or (None if current == new else current)
        return current

    def serve(self, release):
        """Make it the current one, and see it answer."""
        (release / "served").unlink(missing_ok=True)
        self.link("current", release)
        # Requests wait in the socket, which is systemd's, until the new workers take them.
        self.start("current", how(release, "health_path", "/"))
        # From now on, too, its age counts: what is made in a folder changes the folder's date.
        system.replace(release / "served", lambda path: path.symlink_to(release.name))

    def unit_of(self, instance):
        return f"app-{self.name}@{instance}"

    def know_units(self, release):
        """The units as they belong to this release; others may have come with one that failed."""
        for kind in ("socket", "service"):
            mine, unit = release / f"unit.{kind}", system.UNITS / f"app-{self.name}@.{kind}"
            if mine.exists() and not (unit.exists() and mine.read_bytes() == unit.read_bytes()):
                system.replace(unit, lambda path, mine=mine: shutil.copyfile(mine, path).chmod(0o644))
        workers.know(self, release)

    def start(self, instance, path):
        """Start the instance anew, and wait until it answers 200 on `path`."""
        unit, began = self.unit_of(instance), time.time()
        system.systemctl("reset-failed", f"{unit}.service")
        if problem := self.wait_for_health(instance, path, began):
            command = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--unit={unit}.service"]
            system.run("journalctl", "--sync")  # it may not have read yet what was said last
            log = system.run(*command, f"--since=@{began:.0f}", "--lines=40").stdout
            raise Failed(f"{problem}\n\nWhat it said (journalctl -u {unit}):\n{log.rstrip()}")

    def wait_for_health(self, instance, path, began):
        """Start the unit and ask until it answers 200. Returns what went wrong, or an empty string."""
        unit, at = self.unit_of(instance), system.SOCKETS / f"app-{self.name}/{instance}.sock"
        # A socket lives on over restarts, with the requests that wait in it; if its unit has changed, it is made anew.
        if system.newer(system.UNITS / f"app-{self.name}@.socket", at):
            system.systemctl("stop", f"{unit}.service", f"{unit}.socket")
        if not (system.systemctl("start", f"{unit}.socket") and system.systemctl("restart", f"{unit}.service")):
            return f"{self.name} did not start."
        while True:
            status, text = uwsgi.ask(path, str(at), self.host)
            if status == 200:
                return ""
            if time.time() - began > self.seconds or not system.systemctl("is-active", f"{unit}.service"):
                return f"{self.name} did not answer 200 on {path} in {self.seconds} s; its last answer:\n{text}"
            time.sleep(0.2)

    def stop(self, instance):
        unit = self.unit_of(instance)
        system.systemctl("kill", "--signal=KILL", f"{unit}.service")  # nobody waits for an answer of it
        system.systemctl("stop", f"{unit}.service", f"{unit}.socket")
        system.systemctl("reset-failed", f"{unit}.service")  # the journal remembers


def how(release, key, default):
    """What the release says of itself; those of earlier versions say nothing."""
    file = release / "release.json"
    return json.loads(file.read_text()).get(key, default) if file.exists() else default
