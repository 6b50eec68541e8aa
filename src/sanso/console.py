"""What a person reads: lines on a terminal or in a pipe, and failures with their next step."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

DONE, FAILED, USAGE, COULD_NOT_CHECK = 0, 1, 2, 3

# Lines are never wrapped: a path or a command that is broken in two can't be copied.
screen = Console(highlight=False, soft_wrap=True)


class Failure(Exception):
    """Something could not be done.

    message: what happened, and where; evidence: what was seen (the program's own words); log: where all of it is;
    next_step: the command, or the sentence, that goes on from here; code: the exit code.
    """

    def __init__(self, message, *, evidence="", log=None, next_step="", code=FAILED):
        super().__init__(message)
        self.message, self.evidence, self.log, self.next_step, self.code = message, evidence, log, next_step, code

    def show(self):
        """Say it on stderr, the important line last."""
        stderr = Console(stderr=True, highlight=False, soft_wrap=True)
        if self.evidence:
            stderr.print(Text(self.evidence.rstrip()))
        if self.log:
            stderr.print(Text(f"  log   {self.log}", style="dim"))
        stderr.print(Text.assemble(("✗ ", "bold red"), (self.message, "bold")))
        if self.next_step:
            stderr.print(Text.assemble(("  next  ", "dim"), self.next_step))


def speak_json(wanted: bool):
    """With --json, stdout is for the result alone, and what a person reads goes to stderr."""
    screen.stderr = wanted


def speaks_json() -> bool:
    return screen.stderr


def result(data: dict):
    """Print the result of a verb that was asked for --json."""
    if speaks_json():
        print(json.dumps(data, indent=2), flush=True)


def say(text: str = "", style: str = ""):
    screen.print(Text(text, style=style))


def good(text: str, aside: str = ""):
    screen.print(Text.assemble(("✓ ", "green"), text, (f"  {aside}" if aside else "", "dim")))


def bad(text: str, aside: str = ""):
    screen.print(Text.assemble(("✗ ", "bold red"), text, (f"  {aside}" if aside else "", "dim")))


def line(parts: list[tuple[str, str]]):
    """Print a line of several styles: (text, style)."""
    screen.print(Text.assemble(*parts))


def command(words: list[str], folder: Path):
    """Show the command that does the work, as anyone can type it."""
    where = "" if Path.cwd() == folder else f"cd {shlex.quote(str(folder))} && "
    say(f"$ {where}{shlex.join(words)}", style="dim")


def diff(text: str):
    """Show a diff, with the colours that people expect where there are colours."""
    for line in text.splitlines():
        style = {"+": "green", "-": "red"}.get(line[:1], "dim")
        say(f"    {line}", style="dim" if line.startswith(("+++", "---")) else style)


def width() -> int:
    """The columns that there are to fill; a log has some more than an old terminal."""
    return screen.width if screen.is_terminal or "COLUMNS" in os.environ else 120


def shows_only_ascii() -> bool:
    return not screen.encoding.startswith("utf")


def is_live() -> bool:
    """Tell whether a person watches: only then is a line redrawn."""
    return screen.is_terminal and not screen.is_dumb_terminal


def can_ask() -> bool:
    """Tell whether a person can answer: only then is anything asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextlib.contextmanager
def progress():
    """Give a function that shows what is going on just now: one line, on a terminal only, which leaves no trace."""
    if not is_live():
        yield lambda text: None
        return
    with screen.status("") as status:
        yield lambda text: status.update(Text(text, style="dim", no_wrap=True, overflow="ellipsis"))


def seconds(number: float) -> str:
    return f"{number:.1f} s" if number < 10 else f"{number:.0f} s" if number < 120 else f"{number / 60:.0f} min"


def count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def tail(path: Path, lines: int) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def has_desktop() -> bool:
    """Tell whether a browser can be opened for the person who typed the command."""
    away = {"CI", "SSH_CONNECTION", "SSH_TTY"} & os.environ.keys()
    desktop = sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    return bool(is_live() and desktop and not away)
