"""Audits one machine, once, and judges it: pytest tests/audit --inventory PATH, from the project's root.

The same as ./sanso audit, with a test for each thing that it says, for CI. Nothing is changed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sanso import audit, inventory
from sanso.audit import record, waivers

JUDGED = pytest.StashKey[audit.Judged]()


def pytest_addoption(parser):
    parser.addoption("--inventory", type=Path, required=True, help="Ansible inventory of one local machine")


@pytest.fixture(scope="session")
def judged(pytestconfig):
    described = inventory.read(pytestconfig.getoption("--inventory"))
    reports = [audit.audit(described, host) for host in described.machines]
    if len(reports) != 1:
        pytest.exit(f"tests/audit wants one local machine: {[report.target.name for report in reports]}", 3)
    pytestconfig.stash[JUDGED] = audit.judge(reports, waivers.read(), record.read())
    return pytestconfig.stash[JUDGED]


@pytest.fixture(scope="session")
def host(judged):
    return judged.hosts[0]


@pytest.fixture
def outcome(host, auditor):
    """What an auditor found out. One that isn't installed on this computer judges nothing."""
    found = next(each for each in host.outcomes if each.auditor == auditor)
    if found.not_run and found.optional:
        pytest.skip(f"{found.not_run}: {found.next_step}")
    return found


@pytest.fixture
def measures(host, outcome):
    return [each for each in host.measures if each.figure in outcome.figures]


def pytest_terminal_summary(terminalreporter, config):
    """The table, also where all is well: a figure that got better is one to record."""
    if not (judged := config.stash.get(JUDGED, None)):
        return
    host = judged.hosts[0]
    terminalreporter.write_sep("-", f"audit of {host.target.name}, {host.target.platform}, {host.target.profile}")
    for each in host.measures:
        recorded = "nothing" if each.recorded is None else f"{each.recorded:g}"
        better = "; BETTER: ./sanso audit --record takes it" if each.better else ""
        line = f"{each.figure.name}: {each.shown} (aim {each.aim_shown}, recorded {recorded}) {each.verdict}{better}"
        terminalreporter.write_line(line)
