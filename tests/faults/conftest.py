"""Breaks a machine on purpose and sees that it is handled: pytest tests/faults --inventory PATH, from the root.

Only for machines that this project made on this computer: a host that isn't in the group `machines` is refused. Each
test leaves the machine as it was, also when it fails.

--engine says who runs the layers that tests run. What runs none is the same with either; what is marked `ansible_only`
says why one engine will do. With --engine pyinfra, neither is selected, and the last lines say how many.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import client
import pytest
import servers
from engines import ENGINES

from sanso.console import Failure

ROOT = Path(__file__).parents[2]
LEFT_OUT = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser):
    parser.addoption("--inventory", type=Path, required=True, help="Ansible inventory of local machines")
    parser.addoption("--engine", choices=ENGINES, default="ansible", help="who runs the layers")


def pytest_configure(config):
    config.addinivalue_line("markers", "ansible_only(reason): not run with another engine")
    config.addinivalue_line("markers", "apps(name, …): only where the inventory describes these")
    config.addinivalue_line("markers", "one_app: only where it describes one; test_delivery.py does the same with more")


def pytest_collection_modifyitems(config, items):
    try:
        described = {app.name for each in servers.read(config.getoption("--inventory")) for app in each.apps}
    except Failure as failure:
        raise pytest.UsageError(str(failure)) from failure
    reasons = {item: without(item, described) or left_out(item, config.getoption("--engine")) for item in items}
    config.stash[LEFT_OUT] = Counter(filter(None, reasons.values()))
    config.hook.pytest_deselected(items=[item for item in items if reasons[item]])
    items[:] = [item for item in items if not reasons[item]]


def without(item, described: set[str]) -> str:
    """Why the apps that the inventory describes aren't those that this test is about; empty if they are."""
    if item.get_closest_marker("one_app") and len(described) > 1:
        return "the inventory has several apps, which test_delivery.py does the same with"
    wanted = {name for mark in item.iter_markers("apps") for name in mark.args}
    return f"the inventory has no app {' and no '.join(sorted(wanted - described))}" if wanted - described else ""


def left_out(item, engine: str) -> str:
    """Why an engine other than Ansible does not run this test; empty if it does."""
    if engine == "ansible":
        return ""
    if mark := item.get_closest_marker("ansible_only"):
        return mark.kwargs["reason"]
    if "engine" not in item.fixturenames:
        return "no engine has a part in it"
    return "it judges a profile, whoever set that" if "profile" in item.fixturenames else ""


def pytest_terminal_summary(terminalreporter, config):
    for reason, count in config.stash.get(LEFT_OUT, Counter()).items():
        terminalreporter.write_line(f"not selected, {count} of the tests: {reason}")


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
def engine(pytestconfig):
    """The engine that --engine names."""
    return ENGINES[pytestconfig.getoption("--engine")](pytestconfig.getoption("--inventory"))


@pytest.fixture(scope="session")
def other_engine(pytestconfig, engine):
    """The one that it doesn't name."""
    return next(each for each in ENGINES.values() if each.name != engine.name)(pytestconfig.getoption("--inventory"))


@pytest.fixture(scope="session")
def on_top(tmp_path_factory):
    """on_top(name=value, …) is a file of these variables, which win over the inventory's."""

    def on_top(**values):
        path = tmp_path_factory.mktemp("play") / "variables.json"
        path.write_text(json.dumps(values))
        return path

    return on_top


@pytest.fixture(scope="session")
def play(engine, on_top):
    """play("web", name=value, …) runs a layer, with these on top of the inventory: an engines.Run."""
    return lambda layer, **values: engine.run(layer, on_top(**values))


@pytest.fixture(scope="session")
def boot(pytestconfig):
    """boot() starts the machine, if it doesn't run."""
    command = ["ansible-playbook", "-i", pytestconfig.getoption("--inventory").resolve(), "playbooks/machines.yml"]

    def boot():
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout

    return boot


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
