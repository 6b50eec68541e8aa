"""Checks of servers that are built: pytest tests/tiers --inventory PATH, from the project's root. Nothing is changed.

A module names its GROUPS; its tests run for every host that is in one of them. A test that takes an `app`, a `site`
and so on (EACH) runs for each one that the inventory describes.

A failed assertion is a verdict on the server. Anything else that goes wrong is an error: the check could not be made.
Therefore fixtures ask and tests judge.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
import servers
from evidence import CouldNotCheck

from sanso.console import Failure
from sanso.tracing import Call, CouldNotTrace, Evidence, follow, refuse_untraced

INVENTORY = pytest.StashKey[list[servers.Server]]()

EACH = {
    "app": lambda server: {app.name: app for app in server.apps},
    "sample": lambda server: {app.name: app for app in server.apps if app.is_sample},
    "beside": lambda server: {unit: (app, unit) for app in server.apps for unit in app.beside},
    "redis": lambda server: {app.name: app for app in server.apps if app.redis},
    "database": lambda server: {app.name: app for app in server.apps if app.database == "mysql"},
    "site": lambda server: {site.name: site for site in server.sites},
    "static": lambda server: {f"{static.app.name}/{static.prefix}": static for static in server.static},
    "admin": lambda server: {admin["name"]: admin for admin in server.settings["os_admins"]},
    "sysctl": lambda server: {name: (name, str(value)) for name, value in server.settings["os_sysctl"].items()},
    "sandbox": lambda server: server.sandboxes,
    # Who has no business at an app's socket: anybody, the app itself, and every other app.
    "outsider": lambda server: {
        f"{app.name}-{user}": (app, user)
        for app in server.apps
        for user in ["nobody", *(each.name for each in server.apps)]
    },
    # And at what is the app's alone.
    "stranger": lambda server: {
        f"{app.name}-{user}": (app, user)
        for app in server.apps
        for user in ["nobody", "www-data", *(each.name for each in server.apps if each != app)]
    },
}


def pytest_addoption(parser):
    parser.addoption("--inventory", type=Path, default=Path("inventory/local"), help="Ansible inventory of the servers")


def pytest_configure(config):
    try:
        config.stash[INVENTORY] = servers.read(config.getoption("--inventory"))
    except Failure as failure:
        raise pytest.UsageError(str(failure)) from failure


def pytest_generate_tests(metafunc):
    groups = metafunc.module.GROUPS
    here = [server for server in metafunc.config.stash[INVENTORY] if server.groups & groups]
    if not here:
        raise pytest.Collector.CollectError(f"the inventory has no host in {' or '.join(sorted(groups))}")
    kinds = EACH.keys() & set(metafunc.fixturenames)
    if not kinds:
        metafunc.parametrize("server", here, ids=lambda server: server.name, scope="module")
        return
    kind = kinds.pop()
    cases = [
        pytest.param(server, case, id=f"{server.name}-{name}")
        for server in here
        for name, case in EACH[kind](server).items()
    ]
    # Without an admin there is no rule about admins: said aloud as skipped. A tier without a host is an error, above.
    none = pytest.param(here[0], None, marks=pytest.mark.skip(f"the inventory describes no {kind}"))
    metafunc.parametrize(("server", kind), cases or [none], scope="module")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    verdicts = (AssertionError, pytest.fail.Exception)
    if report.failed and call.when == "call" and not call.excinfo.errisinstance(verdicts):
        report.when = "setup"  # a failure there is what pytest calls an error
    return report


@pytest.fixture(scope="module", autouse=True)
def reachable(server):
    if server.obstacle:
        pytest.fail(f"could not check {server.name}: {server.obstacle}", pytrace=False)


@pytest.fixture(scope="module")
def trace(server):
    """trace(app, path) asks an app of this server for a page, and returns what each tier wrote about that request.

    Put together and judged: sanso.tracing.Trace. More words (method, data, headers) are those of sanso.tracing.Call.
    """
    try:
        refuse_untraced(server.settings)
    except CouldNotTrace as error:
        pytest.skip(error.sentence)

    def trace(app, path="/", **words):
        call = Call(f"https://{app.host_name}{path}", server.address, **words)
        try:
            return follow(server.way, call, ca=server.voucher(app), app=asdict(app), evidence=opened())
        except CouldNotTrace as error:
            raise CouldNotCheck(f"could not check: {error.sentence}; {error.next_step}") from error

    with contextlib.ExitStack() as stack:
        opened = cache(lambda: stack.enter_context(Evidence(server.way, user=server.settings["trace_user"])))
        yield trace


@pytest.fixture(scope="module")
def host(server):
    """testinfra's host, as root."""
    return server.host
