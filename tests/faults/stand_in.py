"""What tests of releases share: one that serves while they run, and the one before it when they are done."""

from __future__ import annotations

import contextlib

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
        server.host.check_output(f"sanso-app release {app.name} {before} --again")
