"""Breaks a machine on purpose and sees that it is handled: pytest tests/faults --inventory PATH, from the root.

Only for machines that this project made on this computer: a host that isn't in the group `machines` is refused. Each
test leaves the machine as it was, also when it fails.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import client
import pytest
import servers

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser):
    parser.addoption("--inventory", type=Path, required=True, help="Ansible inventory of local machines")


@pytest.fixture(scope="session")
def server(pytestconfig):
    found = servers.read(pytestconfig.getoption("--inventory"))
    outside = [each.name for each in found if "machines" not in each.groups]
    if outside or len(found) != 1:
        pytest.exit(f"tests/faults breaks things: it wants one local machine, and no server ({outside or found})", 3)
    return found[0]


@pytest.fixture(scope="session")
def app(server):
    """The sample app, which every test breaks or uses."""
    return next(app for app in server.apps if app.is_sample)


@pytest.fixture
def ready(server, app):
    """ready() asks the app for its health through nginx, and returns the answer."""
    return lambda: client.request(server, app.host_name, app.health_path, seconds=30)


@pytest.fixture(autouse=True)
def whole(ready):
    """Before and after each test, the app answers."""
    assert ready().status == 200
    yield
    assert ready().status == 200


@pytest.fixture(scope="session")
def play(pytestconfig, tmp_path_factory):
    """play("web", *options, **variables) runs a layer's playbook, with these on top of the inventory: the process."""

    def play(layer, *options, **variables):
        extra = tmp_path_factory.mktemp("play") / "variables.json"
        extra.write_text(json.dumps(variables))
        inventory = pytestconfig.getoption("--inventory").resolve()
        command = ["ansible-playbook", "-i", inventory, f"playbooks/{layer}.yml", "-e", f"@{extra}", *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    return play


@pytest.fixture(scope="session")
def describe(server, app, tmp_path_factory):
    """describe() returns the app's description, with a copy of its source that may be broken."""

    def describe():
        described = next(each for each in server.settings["apps"] if each["name"] == app.name)
        source = tmp_path_factory.mktemp("app") / "source"
        shutil.copytree(ROOT / described["source"], source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        return described | {"source": str(source)}

    return describe


@pytest.fixture
def description(describe):
    return describe()
