"""How a server's programs are asked, for those modules of this package that are sent there. Standard library only."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path


class CouldNotAsk(Exception):
    """A program of the server that failed, in its own words."""


def ask(*words: str, stdin: str | None = None, code: int = 0) -> str:
    """What a program prints."""
    try:
        done = subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CouldNotAsk(f"{words[0]} did not end within 30 s") from None
    if done.returncode not in (0, code):
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise CouldNotAsk(f"{' '.join(words)}: {last} (exit code {done.returncode})")
    return done.stdout


def has(program: str) -> bool:
    return bool(shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))


def read(path: Path | str) -> str:
    """A file's text; empty where there is none."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def query(statements: str) -> list[list[str]]:
    """MySQL's rows, by its own client, as root of the server is by its socket."""
    said = ask("mysql", "--batch", "--skip-column-names", "--raw", stdin=statements)
    return [line.split("\t") for line in said.splitlines()]


def host_name() -> str:
    return socket.gethostname()


def properties(said: str) -> list[dict[str, str]]:
    """What `systemctl show` says of several units."""
    return [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in said.split("\n\n")
        if block.strip()
    ]
