"""Where things are in the checkout: the logs of every run, and the lock that keeps two runs apart."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import tomllib
from datetime import UTC, datetime
from pathlib import Path

from sanso.console import Failure

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".sanso"
DEFAULT_INVENTORY = ROOT / "inventory" / "local"  # as ansible.cfg has it
LOGS_KEPT = 20


def version() -> str:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def relative(path: Path | str) -> str:
    """A path as a person would type it."""
    path = Path(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def new_log(verb: str) -> Path:
    """An empty log for this run, .sanso/logs/<verb>-<UTC time>.log; of each verb, only the newest LOGS_KEPT stay."""
    logs = STATE / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{verb}-{now():%Y%m%dT%H%M%SZ}.log"
    log.touch()
    # With what lies beside it: the variables of that run, and parts, to which `test` writes what is not at its end.
    files = {
        path: [path, path.with_suffix(".json"), *logs.glob(f"{path.name}.*")]
        for path in logs.glob(f"{verb}-????????T??????Z.log")
    }
    by_age = sorted(files, key=lambda path: max(map(last_written, files[path])))
    for old in by_age[:-LOGS_KEPT]:
        for file in files[old]:
            file.unlink(missing_ok=True)
    return log


def last_written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # there is none, or not any more
        return 0


@contextlib.contextmanager
def alone(verb: str, folder: str = ""):
    """Hold the checkout's lock, or fail with who has it: two runs would change the same servers at once.

    folder: of the checkout, where that has servers of its own, and so a lock.
    """
    STATE.mkdir(exist_ok=True)
    with (STATE / f"{folder or 'run'}.lock").open("a+") as file:
        file.seek(0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                holder = json.loads(file.read())
                who = f"./sanso {holder['verb']} of {holder['user']} (process {holder['pid']}) since {holder['since']}"
            except ValueError:  # it is just starting
                who = "another ./sanso"
            raise Failure(
                f"{who} is at work in {folder or 'this checkout'}", next_step="wait for it to end, then try again"
            ) from None
        holder = {"verb": verb, "user": getpass.getuser(), "pid": os.getpid(), "since": now().isoformat()}
        file.truncate(0)
        file.write(json.dumps(holder))
        file.flush()
        yield
