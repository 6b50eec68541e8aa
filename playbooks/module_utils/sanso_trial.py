#!/usr/bin/python3
"""A trial of settings that decide who gets in: what was is kept, and comes back by itself unless somebody gets in.

On a server this file has two lives. Who changes files there imports it; and during a trial a copy of it lies beside
what is kept, where systemd runs it when the time is over, and at the next boot. So it needs nothing but Python's
library.

    trial.py keep TOKEN    the new settings stay: whoever can say so came in with them
    trial.py back [TOKEN]  the old ones return
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HOME = Path("/var/lib/sanso/access")
UNITS = Path("/etc/systemd/system")
# Whoever is logged in may ask for the old settings by making `back` in here, without sudo: it may be sudo that broke.
DOOR = Path("/run/sanso-access")
SECONDS = 45  # until the old settings return; the rest of a minute is for their return
PATIENCE = 20  # s, for each command
NAME = "sanso-access"

SERVICE = """\
# Made by Sansō for the time of a trial: puts back what decides who gets in, unless somebody has got in.
[Unit]
Description=Return to the settings of SSH, sudo and the firewall that were kept
DefaultDependencies=no
RequiresMountsFor={home}
After=local-fs.target
# At a boot, before anything could use the settings that nobody has confirmed.
Before=shutdown.target nftables.service fail2ban.service ssh.service ssh.socket
Conflicts=shutdown.target
ConditionPathExists={home}/trial

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 {home}/trial.py back
"""

TIMER = """\
[Unit]
Description=End of the time in which somebody has to get in

[Timer]
OnActiveSec={seconds}
AccuracySec=100ms
"""

PATH = f"""\
[Unit]
Description=Wish of somebody who is logged in to return to the old settings

[Path]
PathExists={DOOR}/back
"""


class Failed(Exception):
    """Something a person has to know."""


@dataclass(frozen=True)
class Change:
    """What a file shall be; content None: there shall be none."""

    path: Path
    content: bytes | None
    mode: int = 0o644
    uid: int = 0
    gid: int = 0

    @property
    def service(self) -> str:
        """What reads this file once and has to be told; empty if it is read each time."""
        folders = {"/etc/ssh/": "ssh", "/etc/nftables.conf": "nftables", "/etc/fail2ban/": "fail2ban"}
        return next((name for folder, name in folders.items() if str(self.path).startswith(folder)), "")

    @property
    def is_made(self) -> bool:
        try:
            found = self.path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return self.content is None
        here = (self.path.is_file() and not self.path.is_symlink(), found.st_mode & 0o7777, found.st_uid, found.st_gid)
        return here == (True, self.mode, self.uid, self.gid) and self.path.read_bytes() == self.content

    def make(self):
        replace([self])

    def candidate(self) -> Path:
        """Put the new content beside its place, and return where: a rename on one file system is atomic."""
        self.make_folders()
        # The dot and the end keep it from being read as one of a folder's drop-ins.
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".sanso")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self.content)
                file.flush()
                os.fchown(file.fileno(), self.uid, self.gid)
                os.fchmod(file.fileno(), self.mode)
                os.fsync(file.fileno())
        except OSError:
            Path(name).unlink()
            raise
        return Path(name)

    def make_folders(self):
        missing = [folder for folder in self.path.parents if not folder.is_dir()]
        for folder in reversed(missing):
            folder.mkdir()
            # Of a user's own folder (.ssh), nobody else's business; of the system's, everybody's, whatever the umask.
            os.chown(folder, self.uid, self.gid)
            folder.chmod(0o700 if self.uid else 0o755)


def replace(changes: Sequence[Change], judge: Callable[[Change, Path], None] = lambda change, candidate: None):
    """Make the changes, all of them or none. `judge` is asked about each candidate once all are there; it may raise."""
    candidates = []
    try:
        for change in changes:
            if change.content is not None:
                candidates.append((change, change.candidate()))
        for change, candidate in candidates:
            judge(change, candidate)
        for change, candidate in candidates:
            candidate.replace(change.path)
    finally:
        for _, candidate in candidates:
            candidate.unlink(missing_ok=True)
    for change in changes:
        if change.content is None:
            change.path.unlink(missing_ok=True)


def tried(command: Sequence[str], given: str | None = None, seconds: int = PATIENCE) -> tuple[str, str]:
    """What it says when it fails, else nothing; and its output. given: what it may read."""
    stdin = {"stdin": subprocess.DEVNULL} if given is None else {"input": given}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, **stdin)
    except subprocess.TimeoutExpired:
        return f"it took more than {seconds} s", ""
    except OSError as error:
        return str(error), ""
    said = f"{(done.stderr or done.stdout).strip()} (exit code {done.returncode})" if done.returncode else ""
    return said, done.stdout


def call(*command: str, check: bool = True, seconds: int = PATIENCE) -> str:
    """Its standard output; with `check`, a failure is Failed with what it said."""
    said, out = tried(command, seconds=seconds)
    if check and said:
        raise Failed(f"`{' '.join(command)}` said: {said}")
    return out


def is_active(unit: str) -> bool:
    """Also while it reads its settings again."""
    return call("systemctl", "is-active", unit, check=False).strip() in {"active", "reloading", "activating"}


def listening() -> list[str]:
    """Where sshd's settings tell it to listen."""
    lines = call("/usr/sbin/sshd", "-T", check=False).lower().splitlines()
    return sorted(line for line in lines if line.startswith(("port ", "listenaddress ")))


def tell(services: set[str], moved: bool):
    """Let running services read their settings again. moved: sshd shall listen elsewhere than before."""
    if "nftables" in services:
        call("systemctl", "enable", "--quiet", "nftables")
        # Starts it, or reloads: a restart would flush others' tables.
        call("systemctl", "reload-or-restart", "nftables")
    if "ssh" in services:
        tell_ssh(moved, is_active("ssh.socket"))
    if "fail2ban" in services and Path("/usr/bin/fail2ban-client").exists():
        call("systemctl", "enable", "--quiet", "fail2ban")
        call("systemctl", "reload-or-restart", "fail2ban")


def tell_ssh(moved: bool, socket: bool):
    """socket: whether systemd listens for sshd, which hides the reload of a changed port."""
    if moved:
        # Since 22.10, Ubuntu's socket gets sshd's addresses from a generator, which runs now.
        call("systemctl", "daemon-reload")
    if moved and socket:
        call("systemctl", "restart", "ssh.socket")
        call("systemctl", "start", "ssh.service")
    else:
        call("systemctl", "reload-or-restart", "ssh.service")


class Trial:
    """The one trial that there can be on a server. `pending` holds what is kept: files by number, and a manifest."""

    def __init__(self):
        self.pending, self.last = HOME / "trial", HOME / "last.json"

    @contextlib.contextmanager
    def lock(self, seconds=PATIENCE):
        """Nobody else begins or ends a trial meanwhile. Who has held the lock for too long is passed over."""
        HOME.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (HOME / "lock").open("w") as file:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.1)
            yield

    @property
    def manifest(self) -> dict:
        try:
            return json.loads((self.pending / "manifest.json").read_text())
        except FileNotFoundError:
            return {}

    def refuse_a_second(self):
        """One that is under way is left alone; one that should be over by now is ended first."""
        if not (manifest := self.manifest):
            return
        if time.time() - manifest["since"] > SECONDS + PATIENCE or manifest["boot"] != boot():
            self.back()
            return
        since = time.strftime("%H:%M:%S UTC", time.gmtime(manifest["since"]))
        raise Failed(
            f"another run is trying new settings on this server right now (as {manifest['user']}, since {since}). "
            f"Nothing was changed. It is decided within {SECONDS} s: run again then."
        )

    def begin(self, token: str, changes: list[Change], services: set[str], source: str):
        """Keep what is there, and arm what brings it back."""
        keeping = HOME / "keeping"
        shutil.rmtree(keeping, ignore_errors=True)
        keeping.mkdir(mode=0o700)
        files = [self.keep_file(change.path, keeping / str(number)) for number, change in enumerate(changes)]
        disabled = call("systemctl", "is-enabled", "nftables", check=False).strip() == "disabled"
        user = os.environ.get("SUDO_USER") or os.environ.get("USER") or "root"
        manifest = {"token": token, "since": time.time(), "boot": boot(), "user": user, "files": files}
        manifest |= {"services": sorted(services), "socket": is_active("ssh.socket"), "nftables_was_disabled": disabled}
        write(keeping / "manifest.json", json.dumps(manifest))
        write(HOME / "trial.py", source)
        keeping.rename(self.pending)
        self.arm()

    @staticmethod
    def keep_file(path: Path, kept: Path) -> dict:
        if path.is_symlink():
            return {"path": str(path), "link": str(path.readlink())}
        if not path.exists():
            return {"path": str(path)}
        shutil.copyfile(path, kept)
        kept.chmod(0o600)
        found = path.stat()
        return {
            "path": str(path),
            "kept": kept.name,
            "mode": found.st_mode & 0o7777,
            "owner": [found.st_uid, found.st_gid],
        }

    def arm(self):
        shutil.rmtree(DOOR, ignore_errors=True)
        DOOR.mkdir(mode=0o700)
        if user := os.environ.get("SUDO_UID"):
            os.chown(DOOR, int(user), 0)
        write(UNITS / f"{NAME}.service", SERVICE.format(home=HOME))
        write(UNITS / f"{NAME}.timer", TIMER.format(seconds=SECONDS))
        write(UNITS / f"{NAME}.path", PATH)
        wants = UNITS / "sysinit.target.wants" / f"{NAME}.service"
        wants.parent.mkdir(exist_ok=True)
        wants.unlink(missing_ok=True)
        wants.symlink_to(f"../{NAME}.service")
        os.sync()  # a power cut is a reboot too
        call("systemctl", "daemon-reload")
        call("systemctl", "start", f"{NAME}.timer", f"{NAME}.path")

    def end(self, result: dict, at_boot: bool = False):
        """Forget what was kept, and disarm. at_boot: what waits for the return still has to wait for it."""
        write(self.last, json.dumps(result))
        gone = HOME / "ended"
        shutil.rmtree(gone, ignore_errors=True)
        self.pending.rename(gone)
        shutil.rmtree(gone)
        (UNITS / "sysinit.target.wants" / f"{NAME}.service").unlink(missing_ok=True)
        for kind in ("service", "timer", "path"):
            (UNITS / f"{NAME}.{kind}").unlink(missing_ok=True)
        shutil.rmtree(DOOR, ignore_errors=True)
        call("systemctl", "stop", f"{NAME}.timer", f"{NAME}.path", check=False)
        # systemd would forget the unit, and who waits for it. Left until the next reload, its condition keeps it quiet.
        if not at_boot:
            call("systemctl", "daemon-reload", check=False)

    def outcome(self, token: str) -> dict:
        """How the trial with this token ended; {} if it hasn't, or never was."""
        try:
            last = json.loads(self.last.read_text())
        except FileNotFoundError:
            return {}
        return last if last["token"] == token else {}

    def keep(self, token: str) -> dict:
        with self.lock():
            if self.manifest.get("token") == token:
                self.end({"token": token, "kept": True, "problems": []})
            return self.outcome(token)

    def back(self, token: str = "") -> dict:
        """Put everything back, as much as can be: one thing that fails must not keep the others away."""
        manifest = self.manifest
        if not manifest or token not in ("", manifest["token"]):
            return self.outcome(token)
        problems = []

        def attempt(what, *arguments):
            try:
                what(*arguments)
            except (Failed, OSError) as error:
                problems.append(str(error))

        for file in manifest["files"]:
            attempt(self.put_back, file)
        services = set(manifest["services"])
        if "ssh" in services:
            attempt(self.ssh_back, manifest)
        if "nftables" in services:
            attempt(self.firewall_back, manifest["nftables_was_disabled"])
        if "fail2ban" in services and is_active("fail2ban"):
            attempt(call, "systemctl", "reload", "fail2ban")
        result = {"token": manifest["token"], "kept": False, "problems": problems}
        self.end(result, at_boot=manifest["boot"] != boot())
        return result

    def put_back(self, file: dict):
        path = Path(file["path"])
        if "link" in file:
            path.unlink(missing_ok=True)
            path.symlink_to(file["link"])
        elif "kept" in file:
            Change(path, (self.pending / file["kept"]).read_bytes(), file["mode"], *file["owner"]).make()
        else:
            path.unlink(missing_ok=True)

    @staticmethod
    def ssh_back(manifest: dict):
        if manifest["boot"] != boot() and not is_active("ssh.service") and not is_active("ssh.socket"):
            call("systemctl", "daemon-reload")  # the generator ran before this; what it made for the socket is undone
            return  # both start after this
        # What could not bind its new port is dead, and tried too often to be started once more.
        call("systemctl", "reset-failed", "ssh.socket", "ssh.service", check=False)
        tell_ssh(moved=True, socket=manifest["socket"])

    @staticmethod
    def firewall_back(was_disabled: bool):
        """Only this project's table: others' stay as they are."""
        rules = Path("/etc/nftables.conf")
        if is_active("nftables") and rules.exists() and "table inet sanso_firewall" in rules.read_text():
            call("nft", "-f", str(rules))
        else:
            call("nft", "delete", "table", "inet", "sanso_firewall", check=False)
        if was_disabled:
            call("systemctl", "disable", "--quiet", "nftables")


def boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def write(path: Path, text: str):
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    with beside.open() as file:
        os.fsync(file.fileno())
    beside.replace(path)


def main(words: list[str]) -> int:
    trial = Trial()
    if words[:1] == ["keep"] and len(words) == 2:
        result = trial.keep(words[1])
    elif words[:1] == ["back"] and len(words) <= 2:
        with trial.lock(seconds=10):
            result = trial.back(*words[1:])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
