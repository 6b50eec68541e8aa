# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/app.py
"""An app on this server: its releases, and which of them is reached."""

import json
import time

from sanso_app import history, system, uwsgi, workers
from sanso_app.system import PROBLEMS, Failed

CURRENT, CANDIDATE = "current", "candidate"
SETTINGS = ("host", "seconds", "kept")
GOING = ("active", "activating", "deactivating", "reloading", "refreshing")
MOMENT = 0.1  # s, in which systemd hears of a request that came to a socket whose service has just stopped


class App:
    """An app on this server, in releases, each a folder.

    host: whose health is asked for; seconds: within which it has to be healthy; kept: how many old releases stay. What
    isn't said is as the last release was told.
    """

    def __init__(self, name, **told):
        self.name, self.home, self.sockets = name, system.HOME / name, system.SOCKETS / f"app-{name}"
        self.settings = system.read_json(self.home / "settings.json")
        self.settings.update({key: value for key, value in told.items() if value is not None})

    @property
    def host(self):
        return self.settings.get("host", "localhost")

    @property
    def seconds(self):
        return self.settings.get("seconds", 30)

    @property
    def kept(self):
        return self.settings.get("kept", 5)

    def remember(self):
        system.write(self.home / "settings.json", json.dumps({key: getattr(self, key) for key in SETTINGS}) + "\n")

    def linked(self, name):
        """The release that a link leads to; None if it leads nowhere."""
        release = self.home / name
        return release.resolve() if release.is_dir() else None

    def link(self, name, release):
        system.replace(self.home / name, lambda path: path.symlink_to(release))

    def serving(self, new):
        """The release that is known to serve well, before `new` does; None if there is none."""
        current = self.linked(CURRENT)
        if current and not history.is_served(current):
            # What made it the current one broke off before it had answered; or it is older than such links are.
            return self.linked("before") or (None if current == new else current)
        return current

    # Which of the two instances is reached

    def reached(self):
        """The instance that nginx reaches; None before the first release, and after an older version's."""
        link = self.sockets / "app.sock"
        return link.readlink().stem if link.is_symlink() else None

    def reach(self, instance):
        """From now on nginx reaches this one: whoever connects follows the link as it is at that moment."""
        self.sockets.mkdir(mode=0o755, parents=True, exist_ok=True)
        system.replace(self.sockets / "app.sock", lambda path: path.symlink_to(f"{instance}.sock"))

    def is_reached(self, instance):
        """Whether nginx reaches this one: by the link, or as an earlier version had told it, by its own name."""
        own = str(self.socket_of(instance))
        return self.reached() == instance or any(own in file.read_text() for file in system.SITES.glob("*.conf"))

    def serve(self, release):
        """Let the candidate, which answers, serve until the current one is this release too."""
        self.reach(CANDIDATE)
        self.make_current(release)
        self.come_home()

    def make_current(self, release):
        """Let the current instance, which nobody reaches meanwhile, be this release, and see it answer."""
        history.mark(release, "served", False)
        self.link(CURRENT, release)
        self.drain(CURRENT)
        self.start(CURRENT, how(release, "health_path", "/"))

    def come_home(self):
        """The current instance, which answers, is reached; the candidate has done its work."""
        self.reach(CURRENT)
        self.retire(CANDIDATE)

    def finish(self, release):
        """Let what runs beside the pages be this release, too. `served` says that nothing is missing any more."""
        workers.restart(self)
        history.mark(release, "served")

    def settle(self):
        """Bring to an end what a run that was killed has begun. What is reached serves on until something else does."""
        instance, current = self.reached(), self.linked(CURRENT)
        if instance == CANDIDATE:
            self.settle_on(current)
            return
        if instance is None:
            self.reach(CURRENT)
        elif current and not history.is_served(current) and self.answers(current):
            self.settle_beside(current)
        if self.state_of(CANDIDATE) in GOING:
            self.retire(CANDIDATE)  # it may have requests in hand

    def settle_beside(self, current):
        """A worker that doesn't start keeps no release away that mends it."""
        try:
            self.finish(current)
        except PROBLEMS as error:
            print(f"{self.name}: {error}")
            history.mark(current, "served")

    def settle_on(self, current):
        """Let the current instance take over from the candidate: as the release that was wanted, if it can."""
        if current and history.is_served(current) and self.answers(current):
            self.come_home()
            return
        said = []
        for release in dict.fromkeys(filter(None, (current, self.linked(CANDIDATE), self.linked("before")))):
            try:
                self.know_units(release)
                self.make_current(release)
            except PROBLEMS as error:
                said.append(f"Release {release.name}: {error}")
            else:
                self.come_home()
                self.settle_beside(release)
                return
        raise Failed(
            f"{self.name}: a run that was killed left its candidate serving, and no release takes over from it.\n"
            + "\n".join(said)
        )

    def answers(self, release):
        return uwsgi.ask(how(release, "health_path", "/"), str(self.socket_of(CURRENT)), self.host)[0] == 200

    # The instances

    def unit_of(self, instance):
        return f"app-{self.name}@{instance}"

    def socket_of(self, instance):
        return self.sockets / f"{instance}.sock"

    def state_of(self, instance):
        return system.shown(f"{self.unit_of(instance)}.service", "ActiveState")

    def know_units(self, release):
        """The units as they belong to this release; others may have come with one that failed."""
        for kind in ("socket", "service"):
            if (mine := release / f"unit.{kind}").exists():
                system.renew(system.UNITS / f"app-{self.name}@.{kind}", mine)
        workers.know(self, release)

    def start(self, instance, path):
        """Start the instance anew, and wait until it answers 200 on `path`."""
        unit, began = self.unit_of(instance), time.time()
        system.systemctl("reset-failed", f"{unit}.service")
        if problem := self.wait_for_health(instance, path, began):
            raise Failed(f"{problem}\n\n{system.said(f'{unit}.service', f'--since=@{began:.0f}')}")

    def wait_for_health(self, instance, path, began):
        """Start the unit and ask until it answers 200. Returns what went wrong, or an empty string."""
        unit, at = self.unit_of(instance), self.socket_of(instance)
        # A socket lives on over restarts, with the requests that wait in it. If its unit has changed, it is made anew,
        # once nobody is on the way to it.
        if not self.is_reached(instance) and system.newer(system.UNITS / f"app-{self.name}@.socket", at):
            self.retire(instance)
        if not (system.systemctl("start", f"{unit}.socket") and system.systemctl("restart", f"{unit}.service")):
            return f"{self.name} did not start."
        while True:
            status, text = uwsgi.ask(path, str(at), self.host)
            if status == 200:
                return ""
            if time.time() - began > self.seconds or not system.systemctl("is-active", f"{unit}.service"):
                return f"{self.name} did not answer 200 on {path} in {self.seconds} s; its last answer:\n{text}"
            time.sleep(0.1)

    def waiting(self, instance):
        """How many requests wait in its socket. Where nobody can tell, none: they are served after a restart, too."""
        pid, at = system.shown(f"{self.unit_of(instance)}.service", "MainPID"), self.socket_of(instance)
        # A Unix socket is listed in the network namespace that it was made in.
        command = ["nsenter", f"--net=/proc/{pid}/ns/net", "ss", "--no-header", "--numeric", "--unix", "--listening"]
        words = system.run(*command, "src", at).stdout.split()
        return int(words[2]) if len(words) > 2 and words[2].isdigit() else 0

    def drain(self, instance):
        """Wait, as long as a health check may take, until all who came to its socket are in a worker's hands."""
        until = time.time() + self.seconds
        while self.waiting(instance) and time.time() < until:
            time.sleep(0.02)

    def retire(self, instance):
        """Stop one that nobody reaches any more. Requests in hand are answered, and those that wait."""
        unit = self.unit_of(instance)
        until = time.time() + self.seconds
        while True:
            self.drain(instance)
            system.systemctl("stop", f"{unit}.service")
            time.sleep(MOMENT)
            # It runs again if somebody had just come to its socket: systemd starts it for that.
            if self.state_of(instance) not in GOING or time.time() > until:
                break
        system.systemctl("stop", f"{unit}.socket", f"{unit}.service")
        system.systemctl("reset-failed", f"{unit}.service")  # the journal remembers

    def stop(self, instance):
        """Stop one that nobody has reached."""
        unit = self.unit_of(instance)
        system.systemctl("kill", "--signal=KILL", f"{unit}.service")  # nobody waits for an answer of it
        system.systemctl("stop", f"{unit}.service", f"{unit}.socket")
        system.systemctl("reset-failed", f"{unit}.service")  # the journal remembers


def how(release, key, default):
    """What the release says of itself; those of earlier versions say little or nothing."""
    file = release / "release.json"
    return json.loads(file.read_text()).get(key, default) if file.exists() else default
