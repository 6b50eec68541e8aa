"""The link to sanso-evidence, which hands out what each tier of a server wrote about one request."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import tempfile
import time
from dataclasses import dataclass

from sanso.ssh import Way
from sanso.tracing.request import now

TOOL = "/usr/local/bin/sanso-evidence"
USER = "sanso-trace"  # trace_user, where the inventory names no other
VERSION = 1
INSTALL = "./sanso up{option}, or ansible-playbook site.yml, installs it"

PINGS = 15
PINGS_AT_LEAST, PINGS_SECONDS = 5, 0.5  # a far server is asked the time less often
SECONDS = 30  # until it has begun; for an answer, beside what it is told to wait
LOOK = 0.2  # seconds between two looks whether ssh still runs

NOT_INSTALLED = re.compile(r"unknown user|user \S+ not found|command not found|No such file or directory")
SECRET = re.compile(r"[0-9A-Za-z_-]*")


class CouldNotTrace(Exception):
    """Nothing can be told about a request, for the reason in the message; next_step says what to do about it."""

    def __init__(self, sentence: str, next_step: str = ""):
        super().__init__(sentence)
        self.sentence, self.next_step = sentence, next_step


@dataclass(frozen=True)
class Clock:
    """The server's clock minus this computer's, and how far off that can be: nanoseconds."""

    offset: int
    error: int


class Evidence:
    """A running sanso-evidence on the other side of SSH. It serves any number of traces; a context manager ends it.

    user: whom it runs as there; option: how ./sanso is told the inventory, for the next steps.
    """

    def __init__(self, way: Way, user: str = USER, option: str = ""):
        self.way, self.user, self.option = way, user, option
        self._rest = b""
        # No pipe: the connection that stays behind could hold it open.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        command = way.automatic(f"sudo -n -u {user} {TOOL}")
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, bufsize=0
            )
        except OSError as error:
            self._said.close()
            raise CouldNotTrace(f"{command[0]} can't be run here: {error.strerror}", "install it") from error
        try:
            hello = self._ask(SECONDS, ask="hello")
            if hello.get("version") != VERSION:
                raise CouldNotTrace(
                    f"{TOOL} on {way.name} is of another version than this checkout ({hello.get('version')!r:.20})",
                    INSTALL.format(option=option),
                )
            self._secret, self.apps = hello.get("secret"), hello.get("apps")
            if not isinstance(self._secret, str) or not SECRET.fullmatch(self._secret):
                raise self._nonsense("a secret that is none")  # it would go into a header
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Evidence:
        return self

    def __exit__(self, *error):
        self.close()

    def headers(self) -> dict[str, str]:
        """What lets a request ask to be traced; for the server alone, over TLS."""
        return {"X-Sanso-Trace": self._secret} if self._secret else {}

    def clock(self, pings: int = PINGS) -> Clock:
        """Compare the clocks: the reading with the shortest way there and back errs by half of it at most."""
        began, best = now(), None
        for number in range(pings):
            if number >= PINGS_AT_LEAST and now() - began > PINGS_SECONDS * 1e9:
                break
            asked = now()
            there = self._ask(SECONDS, ask="time").get("time")
            answered = now()
            if not isinstance(there, int):
                raise self._nonsense("a time that is no number")
            if best is None or answered - asked < 2 * best.error:
                best = Clock(there - (asked + answered) // 2, (answered - asked + 1) // 2)
        return best

    def trace(self, trace_id: str, wait: float = 2.0) -> dict:
        """What each tier wrote about a trace. The server waits so many seconds for those that took part."""
        return printable(self._ask(wait + SECONDS, ask="trace", id=trace_id, wait=wait))

    def logs(self, tiers: list[str], since: float, lines: int) -> dict:
        """The last lines that tiers said since a moment (seconds since 1970, the server's clock), and notes."""
        return printable(self._ask(SECONDS, ask="logs", tiers=tiers, since=since, lines=lines), keep="\n")

    def request(self, trace_id: str, tiers: list[str]) -> dict:
        """The lines that tiers said about a request, and meanwhile; and notes."""
        return printable(self._ask(SECONDS, ask="request", id=trace_id, tiers=tiers), keep="\n")

    def close(self):
        """End it. A second time does nothing."""
        self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._said.close()

    def _ask(self, seconds, **question) -> dict:
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
        except BrokenPipeError:
            raise self._gone() from None
        line = self._line(seconds)
        try:
            answer = json.loads(line)
        except ValueError:
            # Not a word of what might hold the secret
            shown = "" if b"secret" in line else f" ({printable(line[:60].decode(errors='replace'))!r})"
            raise self._nonsense(f"something that isn't JSON{shown}") from None
        if not isinstance(answer, dict):
            raise self._nonsense("JSON that is no object")
        if "error" in answer:
            raise CouldNotTrace(
                f"{TOOL} on {self.way.name} failed: {printable(str(answer['error']))}",
                f"./sanso check{self.option} tells what is wrong there",
            )
        return answer

    def _line(self, seconds) -> bytes:
        until = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left < 0:
                raise CouldNotTrace(
                    f"{TOOL} on {self.way.name} doesn't answer within {seconds:g} s",
                    f"./sanso status{self.option} tells how the server is",
                )
            ended = self._process.poll() is not None
            readable, _, _ = select.select([self._process.stdout], [], [], 0 if ended else min(left, LOOK))
            block = os.read(self._process.stdout.fileno(), 1 << 16) if readable else b""
            self._rest += block
            if not block and (readable or ended):
                raise self._gone()
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _gone(self) -> CouldNotTrace:
        """Why it ended before it was told to."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        code = self._process.returncode
        self._said.seek(0)
        said = printable(self._said.read().decode(errors="replace"), keep="\n").strip()
        lines = said.splitlines() or [f"exit code {code}"]
        last = next(filter(NOT_INSTALLED.search, lines), lines[-1])  # after which sudo complains of more
        if code == 255:
            return CouldNotTrace(*self.way.explain(said))
        if NOT_INSTALLED.search(said):
            return CouldNotTrace(
                f"{self.way.name} has no {TOOL}, or no user {self.user} to run it: {last}",
                INSTALL.format(option=self.option),
            )
        if "sudo:" in said:
            return CouldNotTrace(
                f"sudo on {self.way.name} doesn't let this user run {TOOL} as {self.user}: {last}",
                f"come in as one who may use sudo there without a password; {INSTALL.format(option=self.option)}",
            )
        return CouldNotTrace(
            f"{TOOL} on {self.way.name} ended too early: {last}", f"./sanso status{self.option} tells how the server is"
        )

    def _nonsense(self, what: str) -> CouldNotTrace:
        return CouldNotTrace(
            f"{TOOL} on {self.way.name} said {what}",
            f"does a start-up file of the shell there print something? {INSTALL.format(option=self.option)}",
        )


def printable(value, keep: str = ""):
    """The same data, with no character in it that does something to a terminal: what was logged came from anybody."""
    if isinstance(value, str):
        if value.isprintable():
            return value
        return "".join(
            each if each.isprintable() or each in keep else each.encode("unicode_escape", "surrogatepass").decode()
            for each in value
        )
    if isinstance(value, list):
        return [printable(each, keep) for each in value]
    return {key: printable(each, keep) for key, each in value.items()} if isinstance(value, dict) else value
