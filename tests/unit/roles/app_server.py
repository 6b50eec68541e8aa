"""A server's commands, as far as sanso-app uses them: which release runs as which instance, and what it answers."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path

OLD, NEW, HEALTH = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "/readyz"


class Killed(BaseException):
    """As by SIGKILL: nothing of the tool runs after it."""


class Server:
    """The app `shop`, its releases and units.

    wrong: what would have cost a request, of all that was done: what nginx reaches was stopped, or was no good.
    """

    def __init__(self, folder):
        self.srv, self.units, self.sockets = folder / "srv", folder / "units", folder / "run"
        self.logs, self.sites = folder / "log", folder / "conf.d"
        self.home = self.srv / "shop"
        self.commands, self.running, self.known = [], {}, ""
        self.bad = {}  # release to the instances that it is no good as
        self.refused = {}  # a command's word to what it says on its standard error
        self.queue = {}  # instance to how many requests wait, each time somebody asks
        self.build = {}  # what the build command writes: name to text
        self.moments = itertools.count(1)
        self.killed_at = self.killed_by = None
        self.is_watched, self.wrong = False, []
        for path in (self.units, self.sites):
            path.mkdir()

    def moment(self):
        """A moment in which the tool may be killed."""
        if self.is_watched and not self.reaches_good:
            self.wrong.append(f"nginx reaches {self.reached}, which is {self.running.get(self.reached)}")
        if next(self.moments) == self.killed_at:
            raise Killed

    @property
    def reached(self):
        link = self.sockets / "app-shop/app.sock"
        return link.readlink().stem if link.is_symlink() else "current"

    @property
    def reaches_good(self):
        id = self.running.get(self.reached)
        return id is not None and self.reached not in self.bad.get(id, ())

    def bring(self, id, unit="a unit", files=None, **how):
        """Bring a release to the server, as an engine does."""
        incoming = self.home / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        told = {"migrate": f"migrate {id}", "health_path": HEALTH, **how}
        said = {"release.json": json.dumps(told), "requirements.txt": id, "wheels/one.whl": "", "app/x.py": ""}
        said |= {f"unit.{kind}": f"{unit}: {kind}" for kind in ("socket", "service")} | (files or {})
        (incoming / f"{id}.tar.gz").write_text(json.dumps(said))
        (incoming / f"{id}.secrets").write_text(f"SECRET={id}")
        return self.home / "releases" / id

    def run(self, *command, **options):
        words = [str(word) for word in command]
        self.moment()
        if self.killed_by and set(self.killed_by) <= set(words):
            raise Killed
        self.commands.append(words)
        said = next((text for word, text in self.refused.items() if word in words), "")
        out = "" if said else self.done(words)
        self.moment()
        return subprocess.CompletedProcess(words, 1 if said else 0, out or "", said)

    def done(self, words):
        name = Path(words[0]).name
        if name == "systemctl":
            return self.systemctl(*words[1:])
        if name == "tar":
            self.unpack(Path(words[2]), Path(words[-1]))
        elif words[:3] == ["python3", "-m", "venv"]:
            shutil.rmtree(words[-1], ignore_errors=True)
            (Path(words[-1]) / "bin").mkdir(parents=True)
        elif name == "pip":
            (Path(words[0]).parents[1] / "installed").touch()
        elif name == "systemd-run":
            for file, text in self.build.items() if "--unit=app-shop-build" in words else ():
                folder = self.home / "candidate/build"
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_text(text)
        elif name == "nsenter":
            waiting = self.queue.get(Path(words[-1]).stem, [])
            return f"u_str LISTEN {waiting.pop(0) if waiting else 0} 128 {words[-1]} 1 * 0"
        elif name == "journalctl":
            return "out of the journal"
        return ""

    def unpack(self, archive, folder):
        for name, text in json.loads(archive.read_text()).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    def systemctl(self, verb, *words):
        instance = words[-1].rpartition("@")[2].partition(".")[0] if words else ""
        if verb == "show" and "--property=ActiveState" in words:
            return "active\n" if instance in self.running else "inactive\n"
        if verb == "show":
            return "a group\n"
        if verb in ("stop", "kill", "restart") and self.is_watched and instance == self.reached:
            self.wrong.append(f"systemctl {verb} {words[-1]}, which nginx reaches")
        if verb == "daemon-reload":
            unit = self.units / "app-shop@.service"
            self.known = unit.read_text() if unit.exists() else ""
        elif verb in ("stop", "kill", "disable"):
            self.running.pop(instance, None)
        elif verb == "restart":
            self.running[instance] = (self.home / instance).resolve().name
        return ""

    def ask(self, path, at, host):
        instance = Path(at).stem
        id = self.running.get(instance)
        if id is None or instance in self.bad.get(id, ()):
            return 500, f"no good: {id}"
        return (200 if (path, host) == (HEALTH, "shop.test") else 404), ""

    @property
    def serves(self):
        """What answers nginx, now and after a restart."""
        current = self.home / "current"
        return self.running.get(self.reached), current.resolve().name if current.is_symlink() else None

    @property
    def served(self):
        """What an engine asks."""
        link = self.home / "current/served"
        return str(link.readlink()) if link.is_symlink() else None

    def record(self, id):
        return json.loads((self.home / "releases" / id / "record.json").read_text())

    @property
    def history(self):
        return [json.loads(line) for line in (self.logs / "shop/releases.jsonl").read_text().splitlines()]
