"""What tests of releases share: one that serves while they run, and the one before it when they are done."""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex

import pytest

# For tests of what comes after an engine has brought a release: that is the same, whichever has.
of_the_tool = pytest.mark.ansible_only(reason="the server's own tool does it, whoever brought the release")

BESIDE = {"redis": False, "workers": {}, "schedule": {}}


def pages_only(description: dict) -> dict:
    """The app without what runs beside its pages, which takes most of a release's time to stop and to start."""
    return description | BESIDE


@contextlib.contextmanager
def standing_in(server, app, play, description: dict):
    """It serves while the block runs, and then what did before: that is on the machine still, no layer has to run."""
    before = server.host.check_output(f"basename $(readlink {app.current})")
    done = play("app", apps=[description])
    assert done.succeeded, done.said
    try:
        yield
    finally:
        server.host.check_output(f"sanso-app release {app.name} {before} --again --seconds=60")


# What the tool itself makes of a release, beside its secrets, which come by themselves.
MADE = "build public record.json served venv withdrawn"
SAY = "import json, sys; print(json.dumps(json.load(open('release.json')) | json.loads(sys.argv[1])))"


def saying(**words) -> str:
    """Shell, for `bring`: what the release says of itself, such as how it is migrated."""
    return f'said=$(python3 -c {shlex.quote(SAY)} {shlex.quote(json.dumps(words))}) && echo "$said" > release.json'


def appending(text: str, path: str = "app/src/sample_app/__init__.py") -> str:
    """Shell, for `bring`: text at the end of a file, which may be new."""
    return f"printf %s {shlex.quote(text)} >> {path}"


def bring(server, app, change: str) -> str:
    """A release lies on the server as an engine brings it: the one that serves, changed by shell in its folder. Its id.

    For what the tool does with it, this takes a second, and an engine many.
    """
    id, incoming, copy = secrets.token_hex(6), f"/srv/{app.name}/incoming", "/root/sanso-faults-release"
    server.host.check_output(
        f"rm -rf {copy} && cp -a $(readlink -f {app.current}) {copy} && cd {copy} && rm -rf {MADE} && "
        f"install -d -m 0700 {incoming} && mv secrets {incoming}/{id}.secrets && {{ {change}; }} && "
        f"tar -czf {incoming}/{id}.tar.gz . && cd / && rm -r {copy}"
    )
    return id


def let_serve(server, app, id: str, seconds: int = 60):
    """What an engine has the tool do with it: how that went."""
    return server.host.run(f"sanso-app release {app.name} {id} --host={app.host_name} --seconds={seconds} --kept=5")
