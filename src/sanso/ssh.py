"""The way to a host that Ansible takes, for a shell and for a look at it: the inventory's user, key and options."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what traces a request uses this too, where the command line's libraries may not be
    from sanso.inventory import Host

CONTROL = Path("~/.ansible/cp").expanduser()
SECONDS = 10

# What ssh says when it fails, what that means, and what to do: {to} is user@host, {options} ssh's other words.
REASONS = {
    "IDENTIFICATION HAS CHANGED": (
        "{to} is not the computer it was: its host key has changed",
        "if you know why: ssh-keygen -R {address}, then try again",
    ),
    "Host key verification failed": (
        "the host key of {to} isn't known here yet",
        "ssh {options}{to} shows it; say yes if it is the right one (./sanso up --yes takes it unseen)",
    ),
    "Permission denied": (
        "{to} doesn't accept your SSH key",
        "ssh-add, if the key has a passphrase; else ssh-copy-id {options}{to}",
    ),
    "Connection refused": ("no SSH server answers on {to}", "is it the right port? user@host:port names another one"),
    "Could not resolve hostname": ("the name in {to} isn't known", "check its spelling, or give the address"),
    "timed out": ("{to} doesn't answer", "check the address, and that a firewall lets SSH through"),
    "No route to host": ("there is no way to {to}", "check the address, and that the computer runs"),
}


@dataclass(frozen=True)
class Way:
    """How to reach one host."""

    address: str
    user: str = ""
    port: int = 22
    options: tuple[str, ...] = ()  # ssh's own words

    @classmethod
    def to(cls, host: Host) -> Way:
        return cls.by(host.name, host.variables)

    @classmethod
    def by(cls, name: str, variables: Mapping) -> Way:
        """By the name and the variables that a host has in the inventory."""
        words = [
            word
            for option in ("ansible_ssh_common_args", "ansible_ssh_extra_args")
            for word in shlex.split(variables.get(option, ""))
        ]
        if key := variables.get("ansible_ssh_private_key_file"):
            words += ["-i", str(Path(key).expanduser())]
        address, user = variables.get("ansible_host", name), variables.get("ansible_user", "")
        return cls(address, user, int(variables.get("ansible_port", 22)), tuple(words))

    @property
    def name(self) -> str:
        return f"{self.user}@{self.address}" if self.user else self.address

    def command(self, *extra: str) -> list[str]:
        port = ["-p", str(self.port)] if self.port != 22 else []
        return ["ssh", *extra, *self.options, *port, self.name]

    def automatic(self, script: str, *extra: str) -> list[str]:
        """The command that runs a script there, without a question ever being asked. extra: ssh's words, which win."""
        CONTROL.mkdir(parents=True, exist_ok=True, mode=0o700)
        # One connection serves this look and the next ones.
        shared = ["ControlMaster=auto", "ControlPersist=60s", f"ControlPath={CONTROL}/sanso-%C"]
        quick = ["BatchMode=yes", f"ConnectTimeout={SECONDS}"]
        options = [word for option in quick + shared for word in ("-o", option)]
        return [*self.command(*extra, *options), script]

    def run(
        self, script: str = "true", *extra: str, given: bytes = b"", seconds: float | None = 6 * SECONDS
    ) -> subprocess.CompletedProcess:
        """Run a script there, which may read what is given. ssh itself fails with 255, as does what takes too long."""
        command = self.automatic(script, *extra)
        # Files, not pipes: the connection that stays behind could hold a pipe open.
        with contextlib.ExitStack() as stack:
            read, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            read.write(given)
            read.seek(0)
            try:
                code = subprocess.run(
                    command, stdin=read, stdout=out, stderr=err, timeout=seconds, check=False
                ).returncode
            except subprocess.TimeoutExpired:
                return subprocess.CompletedProcess(command, 255, "", "the connection timed out")
            out.seek(0)
            err.seek(0)
            said, complained = (file.read().decode(errors="replace") for file in (out, err))
            return subprocess.CompletedProcess(command, code, said, complained)

    def problem(self, *extra: str) -> tuple[str, str] | None:
        """(What is wrong with the way, what to do), or None when it is open."""
        done = self.run("true", *extra)
        return None if done.returncode == 0 else self.explain(done.stderr)

    def explain(self, said: str) -> tuple[str, str]:
        port = f"-p {self.port} " if self.port != 22 else ""
        words = {"to": self.name, "address": self.address, "options": port}
        for sign, (what, then) in REASONS.items():
            if sign in said:
                return what.format(**words), then.format(**words)
        last = (said.strip().splitlines() or ["ssh said nothing"])[-1]
        return f"{self.name} can't be reached: {last}", f"ssh {port}{self.name}"
