"""How a check asks a server: what can't be asked is an error, not a verdict on the server."""

from __future__ import annotations

import shlex


class CouldNotCheck(Exception):
    """The check itself did not work, so it says nothing about the server."""


def ask(host, command: str, *words: str) -> str:
    """What `command` says; each %s in it is one of `words`, quoted. It must succeed."""
    done = host.run(command, *words)
    if done.failed:
        raise CouldNotCheck(f"could not ask: {done.command} ended with {done.rc}\n{done.stderr or done.stdout}")
    return done.stdout.strip()


def mysql(host, query: str) -> list[list[str]]:
    """The rows of a query, asked as root."""
    rows = ask(host, "mysql --batch --skip-column-names --raw --execute=%s", query)
    return [row.split("\t") for row in rows.splitlines()]


def as_user(user: str, *groups: str) -> str:
    """Words before a command that make it run as `user`, in these groups beside the user's own one and in no other."""
    supplementary = f"--groups={','.join(groups)}" if groups else "--clear-groups"
    # In a folder that is open to all: `find` insists on coming back to where it began.
    return (
        f'env --chdir=/ setpriv --reuid={shlex.quote(user)} --regid="$(id -g {shlex.quote(user)})" {supplementary} --'
    )


def attempt(host, python: str, user: str, *groups: str) -> str:
    """Try a line of Python as `user`: "done", or the name of the kernel's error, such as EACCES."""
    script = f"""
import errno, socket
try:
    {python}
    print("done")
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    return ask(host, as_user(user, *groups) + " python3 -c %s", script)


def read_attempt(host, path: str, user: str, *groups: str) -> str:
    return attempt(host, f"open({path!r}).close()", user, *groups)


def connect_attempt(host, path: str, user: str, *groups: str) -> str:
    return attempt(host, f"socket.socket(socket.AF_UNIX).connect({path!r})", user, *groups)


# For messages: shown when a check fails, so they may fail themselves.


def modes(host, path: str) -> str:
    """Owner and mode of a path and of every folder on the way to it."""
    done = host.run("namei --long %s", path)
    return done.stdout + done.stderr


def journal(host, unit: str) -> str:
    """The last that a unit said."""
    done = host.run("journalctl --no-pager --lines=20 --unit=%s", unit)
    return done.stdout + done.stderr
