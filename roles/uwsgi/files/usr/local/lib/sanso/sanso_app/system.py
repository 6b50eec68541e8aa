# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/system.py
"""A server's commands and files, as all parts of the tool use them."""

import datetime
import errno
import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

HOME, SOCKETS, LOGS = Path("/srv"), Path("/run"), Path("/var/log/sanso")
UNITS, SITES = Path("/etc/systemd/system"), Path("/etc/nginx/conf.d")


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)


def systemctl(*words):
    return run("systemctl", *words).returncode == 0


def shown(unit, name):
    """A property of a unit."""
    return run("systemctl", "show", f"--property={name}", "--value", unit).stdout.strip()


def listed(*words):
    """The names of units that systemd lists."""
    lines = run("systemctl", "list-units", "--plain", "--no-legend", *words).stdout.splitlines()
    return [line.split()[0] for line in lines if line.strip()]


def said(unit, *since):
    """What a unit said last, for a person. since: an option of journalctl's."""
    run("journalctl", "--sync")  # it may not have read yet what was said last
    command = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--unit={unit}", *since, "--lines=40"]
    return f"What it said (journalctl -u {unit}):\n{run(*command).stdout.rstrip()}"


class Failed(Exception):
    """What went wrong, for a person: what the app itself said, at best."""


# What a step may end with: also a full disk, a release.json that is none, or a person's Ctrl-C.
PROBLEMS = (Failed, OSError, ValueError, KeyError, KeyboardInterrupt)


def is_full(error):
    """Whether a disk was full, which a command can only tell in words."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)


def succeed(*command, **options):
    done = run(*command, **options)
    if done.returncode:
        raise Failed((done.stderr.strip() or done.stdout.strip()) or f"{command[0]}: exit code {done.returncode}")


def replace(path, make):
    """Let make(other path) take the place of what is at `path`: at every moment it is the old one or the new one."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    try:
        make(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def renew(path, file):
    """Let `path` be a copy of a file that everyone may read, if it isn't yet."""
    if not (path.exists() and path.read_bytes() == file.read_bytes()):
        replace(path, lambda beside: shutil.copyfile(file, beside).chmod(0o644))


def write(path, text, mode=0o640):
    def make(beside):
        beside.touch(mode)
        beside.chmod(mode)
        beside.write_text(text)

    replace(path, make)


def read_json(path):
    """What a file of the tool's own says; nothing where it isn't there, or half of one."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def newer(path, other):
    try:
        return path.stat().st_mtime > other.stat().st_mtime
    except FileNotFoundError:
        return False


def now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def time_of(path):
    """When a file or a folder was changed last."""
    return datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).isoformat(timespec="seconds")


def account():
    """Who asks: the one that sudo came from, where it did."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


def verb(do):
    """Make a verb of do(options), which returns what it did; its exit code is 1 where that can't be, or must not."""

    def run_it(options):
        try:
            print(do(options))
        except PROBLEMS as error:
            print(str(error) or "interrupted", file=sys.stderr)
            return 1
        return 0

    run_it.__name__, run_it.__doc__ = do.__name__, do.__doc__
    return run_it
