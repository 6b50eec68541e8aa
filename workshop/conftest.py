"""Runs an exercise's check.py against the learner's machine, for `./sanso lab check`.

Each test is a goal of the exercise: test_page is the goal `page`. A test that fails by an assertion, or by
lab.expect(), is a goal that is not met; any other error means that it could not be checked, and says nothing about the
machine.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evidence import CouldNotCheck
from judge import Lab, NotMet

STATES = pytest.StashKey[dict]()


def pytest_addoption(parser):
    parser.addoption("--inventory", type=Path, required=True, help="the learner's inventory")
    parser.addoption("--attempt", type=Path, required=True, help="what is known of the attempt, as JSON")
    parser.addoption("--goals", type=Path, required=True, help="where to write what came of each goal, as JSON")
    parser.addoption("--lasting", action="store_true", help="also what only a repair that lasts meets")


def pytest_configure(config):
    config.addinivalue_line("markers", "lasting: asked only when it is judged whether a repair lasts")
    config.stash[STATES] = {}


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--lasting"):
        items[:] = [item for item in items if not item.get_closest_marker("lasting")]


@pytest.fixture(scope="session")
def lab(pytestconfig):
    """The learner's machine, and how to judge it: judge.Lab."""
    attempt = json.loads(pytestconfig.getoption("--attempt").read_text())
    with Lab.of(pytestconfig.getoption("--inventory"), attempt) as lab:
        yield lab


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped:
        report.outcome = "failed"  # a goal that was not looked at is not met
    if call.when == "call" or report.failed:
        key = item.name.removeprefix("test_").replace("_", "-")
        lab = item.funcargs.get("lab")
        item.config.stash[STATES][key] = {"key": key, **(lab.take() if lab else {}), **judged(call.excinfo)}
    return report


def judged(excinfo) -> dict:
    if excinfo is None:
        return {"state": "met"}
    error = excinfo.value
    if isinstance(error, NotMet):
        return {"state": "not met", "expected": error.expected, "found": error.found}
    if isinstance(error, AssertionError):
        return {"state": "not met", "found": str(error)}
    said = str(error) if isinstance(error, CouldNotCheck) else f"{type(error).__name__}: {error}"
    return {"state": "could not check", "found": said}


def pytest_sessionfinish(session):
    session.config.getoption("--goals").write_text(json.dumps(list(session.config.stash[STATES].values())))
