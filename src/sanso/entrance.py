"""Whether we still get in after what decides it was changed; whichever engine changed it.

`sanso_access` validates the files on the server, keeps the old ones, arms what brings those back within a minute or at
a reboot, and installs the new ones. Then this opens a second, fresh connection as the inventory says, and confirms over
it, with sudo, that the new settings stay. If it can't, the old ones return, and the run fails with the reasons.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import Protocol

PROGRAM = "/usr/bin/python3 /var/lib/sanso/access/trial.py"
WISH = "/run/sanso-access/back"
SETTLING = 5  # s in which an SSH server that reads its settings again may refuse
RETURN = 75  # s after which the old settings are back, whatever happened

# What ssh or sudo says, what that means, and which files have to do with it (the beginning of their paths; all that
# changed, if none of these did).
SIGNS = {
    "no matching": ("this computer's SSH client shares no algorithm with the server any more", ["/etc/ssh"]),
    "Host key verification failed": ("this computer doesn't know the server by a host key that it has", ["/etc/ssh"]),
    "IDENTIFICATION HAS CHANGED": ("this computer doesn't know the server by a host key that it has", ["/etc/ssh"]),
    "Permission denied": ("the SSH server doesn't take our key", ["/etc/ssh/sshd_config.d", "/home", "/root"]),
    "Connection refused": ("no SSH server listens there", ["/etc/ssh", "/etc/nftables.conf"]),
    "timed out": ("nothing answers there: a firewall drops what we send", ["/etc/nftables.conf", "/etc/ssh"]),
    "Connection closed": ("what answers there is no SSH server, or doesn't want us", ["/etc/ssh", "/etc/fail2ban"]),
    "sudo": ("sudo doesn't let us become root any more", ["/etc/sudoers.d"]),
}


class Shut(Exception):
    """We don't get in, with what ssh or sudo said."""


class Door(Protocol):
    """A way to the server, as an engine has it. user, host and port are the inventory's; no user: the present one."""

    user: str
    host: str
    port: int

    def here(self, command: str, sudo: bool = True) -> str:
        """What the command says, over the connection that we have. Raises Shut, also where the command fails."""

    def anew(self, command: str, port: int = 0, alias: bool = False) -> str:
        """The same with sudo over a fresh connection, which shares nothing with the one that we have, as somebody whose
        password sudo has forgotten (sudo -k).

        port: another one than the inventory's. alias: there, the server has to have the host key that it is known by on
        the inventory's.
        """

    def value(self, name: str):
        """Of a variable of the inventory."""

    def place(self, name: str) -> str:
        """Where in the inventory it is set."""


def settle(door: Door, result: dict, files: dict, token: str, port: int = 0) -> dict:
    """Decide about what `sanso_access` has put on trial with this token, and return the final result.

    result: what it returned. files: the role's description of the files. port: where sshd shall listen too; 0: nowhere
    else. To the result come failed and msg, or a notice, and warnings, where there is something left to do.
    """
    if result.get("failed") or not result.get("on_trial"):
        return result
    entrance = Entrance(door, files, token, port, result["paths"])
    try:
        entrance.confirm()
    except Shut as shut:
        return {**result, "changed": False, "failed": True, "msg": entrance.returned(str(shut))}
    return {**result, **entrance.notice()}


@dataclass
class Entrance:
    """paths: the files that changed."""

    door: Door
    files: dict
    token: str
    port: int
    paths: list
    begun: float = field(default_factory=time.monotonic)

    # Whether we still get in

    @staticmethod
    def outcome(said: str) -> dict:
        """How the trial ended, by what the program said; {} if it hasn't."""
        try:
            return json.loads(said.strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise Shut(f"sudo, or what it shall run, said: {said.strip()}") from None

    def confirm(self):
        """Come in anew, become root, and say that the settings stay: all in one command."""
        deadline, alias = time.monotonic() + SETTLING, True
        while True:
            try:
                if not self.outcome(self.door.anew(f"{PROGRAM} keep {self.token}", self.port, alias)).get("kept"):
                    raise Shut("we came in too late: the old settings returned before")
                return
            except Shut as shut:
                if alias and "Host key verification failed" in str(shut):
                    alias = False
                    continue
                # sshd closes its door for a moment while it reads its settings again.
                if "refused" not in str(shut) or time.monotonic() > deadline:
                    raise
                time.sleep(0.3)

    # What to do if not

    def returned(self, shut: str) -> str:
        """Take the change back at once if that can be, see that it is, and say all of it."""
        problems = self.take_back()
        again = ""
        while time.monotonic() < self.begun + RETURN:
            try:
                # Waits for a return that is under way; after that, it only says how it went.
                problems += self.outcome(self.door.anew(f"{PROGRAM} back {self.token}")).get("problems", [])
                break
            except Shut as still:
                again = str(still)
                time.sleep(1)
        else:
            problems.append(f"a new connection still fails, {again}")
        end = "The old settings are in force again, and a new connection with sudo works: nothing was changed."
        if problems:
            end = "The old settings were to return, but: " + "; ".join(dict.fromkeys(problems))
        return "\n".join([*self.reasons(shut), end])

    def take_back(self) -> list:
        """Over the connection that we have, else by the timer. Returns what went wrong on the server."""
        with contextlib.suppress(Shut):
            return list(self.outcome(self.door.here(f"{PROGRAM} back {self.token}")).get("problems", []))
        # If sudo is what broke, whoever is logged in may wish for the old settings.
        with contextlib.suppress(Shut):
            self.door.here(f"touch {WISH}", sudo=False)
        return []

    def reasons(self, shut: str) -> list:
        meaning, places = next((why for sign, why in SIGNS.items() if sign in shut), ("we don't get in any more", []))
        changed = [path for path in self.paths if path.startswith(tuple(places))] or self.paths
        unknown = {"variables": ["os_admins"]}  # no file of the role's: somebody's keys
        names = [name for path in changed for name in (self.files.get(path) or unknown).get("variables", [])]
        values = {name: self.door.value(name) for name in dict.fromkeys(names)}
        told = {name: value for name, value in values.items() if value} or values
        user, port = self.door.user or "the present user", self.port or self.door.port
        return [
            f"The new settings would lock us out: {meaning}.",
            f"Tried: a new SSH connection as {user} to {self.door.host}, port {port}, and sudo on it.",
            f"It said: {shut.strip()}",
            f"Changed were: {', '.join(self.paths)}",
            "Look at:",
            *(f"  {name}: {str(value).strip()} ({self.door.place(name)})" for name, value in told.items()),
        ]

    # What is left to do

    def notice(self) -> dict:
        said, now = [], self.door.port
        if self.port and self.port != now:
            place = self.door.place("ansible_port")
            said.append(
                f"SSH answers on port {self.port} too. Set ansible_port: {self.port} ({place}) and run again: "
                f"then {now} closes."
            )
        result = {"warnings": list(said)} if said else {}
        if any(path.endswith("/.ssh/authorized_keys") for path in self.paths):
            said.append("Keys of os_admins were changed. Whether they open the server, only their owners can try.")
        return {**result, "notice": " ".join(said)} if said else {}
