# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/system.py
"""A server's commands and files, as all parts of the tool use them."""

import json
import subprocess
from pathlib import Path

HOME, UNITS, SOCKETS = Path("/srv"), Path("/etc/systemd/system"), Path("/run")


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)


def systemctl(*words):
    return run("systemctl", *words).returncode == 0


class Failed(Exception):
    """What went wrong, for a person: what the app itself said, at best."""


# What a step may end with: also a full disk, or a release.json that is none.
PROBLEMS = (Failed, OSError, ValueError, KeyError)


def succeed(*command, **options):
    done = run(*command, **options)
    if done.returncode:
        raise Failed((done.stderr.strip() or done.stdout.strip()) or f"{command[0]}: exit code {done.returncode}")


def replace(path, make):
    """Let make(other path) take the place of what is at `path`: at every moment it is the old one or the new one."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    make(beside)
    beside.replace(path)


def read_json(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def newer(path, other):
    try:
        return path.stat().st_mtime > other.stat().st_mtime
    except FileNotFoundError:
        return False
