"""bench/delivery judges what its load saw, and says nothing where it saw nothing. The load: test_load.py."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import sys
from collections import Counter
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def script():
    """bench/delivery, as a module."""
    sys.path.insert(0, str(BENCH))
    loader = SourceFileLoader("bench_delivery", str(BENCH / "delivery"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules["bench_delivery"] = module  # its dataclasses look there
    loader.exec_module(module)
    return module


class Bench:
    """A server on paper: all that is done to it changes it."""

    def __init__(self, load):
        self.load, self.marks, self.numbers = load, itertools.count(), itertools.count(1)
        self.app = {"name": "shop"}

    def deploy(self):
        number = str(next(self.numbers))
        self.load.account.generations[number] = 10**9
        return number

    def roll_back(self): ...
    def reload(self): ...
    def certify(self): ...
    def restart_unit(self, unit): ...

    def everything(self):
        return ["nginx.service", "app-shop@current.service"]

    def mark(self, kind):
        return str(next(self.marks))


class Load:
    """A load on paper: five good requests whenever somebody waits."""

    def __init__(self, account):
        self.account = account

    def wait(self, count):
        self.account.sent += 5
        self.account.answers["GET", 200] += 5


@pytest.fixture
def load(script):
    return Load(script.Account())


@pytest.fixture
def bench(script, load):
    return Bench(load)


def test_everything_is_done_as_often_as_the_aim_says(script, bench, load):
    kinds = script.work(bench, load, load.account, 1)
    assert {kind.name: kind.times for kind in kinds} == {
        "deploy": 10,
        "rollback": 10,
        "reload": 10,
        "certificate": 5,
        "restart nginx.service": 5,
        "restart app-shop@current.service": 5,
    }


def test_problem_is_told_of_what_was_done_then(script, bench, load):
    problem = sys.modules["sanso.load"].Problem(0, "POST", "status 502", "")
    bench.restart_unit = lambda unit: load.account.problems.append(problem) if "app" in unit else None
    failed = {kind.name: dict(kind.failed) for kind in script.work(bench, load, load.account, 0.2)}
    assert failed.pop("restart app-shop@current.service") == {"status 502": 1}
    assert set(map(str, failed.values())) == {"{}"}


@pytest.mark.parametrize("kind", ["deploy", "rollback", "reload", "certificate", "restart nginx.service"])
def test_what_changed_nothing_was_not_done(script, bench, load, kind):
    bench.mark = lambda asked: "the same" if asked == kind else str(next(bench.marks))
    with pytest.raises(script.CouldNotMeasure, match=f"{kind} changed nothing"):
        script.work(bench, load, load.account, 0.1)


def test_deploy_that_nobody_saw_live_was_not_measured(script, bench, load):
    bench.deploy = lambda: "7"
    with pytest.raises(script.CouldNotMeasure, match="no answer came from release 7"):
        script.work(bench, load, load.account, 0.1)


REPORT = {
    "date": "2026-11-22",
    "system": "x",
    "cores": 2,
    "load": 0,
    "seconds": 1,
    "requests": 9,
    "acknowledged": 3,
    "failed": 0,
    "problems": [],
    "renewed": 0,
    "lost": [],
    "twice": [],
    "slowest": 0.1,
    "seen_on_purpose": {"status 502": 2},
    "kinds": [{"name": "deploy", "times": 1, "requests": 9, "failed": {}, "seconds": 9.0, "live": [8.0]}],
}


@pytest.mark.parametrize(
    ("change", "aim"),
    [
        ({"failed": 1}, "no request failed"),
        ({"lost": ["load 4"]}, "no acknowledged report is lost"),
        ({"twice": ["load 4"]}, "no report is stored twice"),
        ({"kinds": [REPORT["kinds"][0] | {"live": [8.0, 10.1]}]}, "a deploy is live within 10 s"),
    ],
)
def test_aim_that_is_missed_is_said(script, change, aim):
    assert all(each["reached"] for each in script.aims(REPORT))
    report = REPORT | change
    assert [each["aim"] for each in script.aims(report) if not each["reached"]] == [aim]
    assert "NOT reached" in script.table(report | {"aims": script.aims(report)})


class Blind:
    """A load that saw no problem, whatever was done."""

    def __init__(self, script):
        self.account = script.Account()

    def on(self):
        self.account.sent = 2
        self.account.answers = Counter({("GET", 200): 1, ("POST", 201): 1})
        return contextlib.nullcontext(self.account)

    def wait(self, count): ...


def test_bench_that_does_not_see_a_loss_on_purpose_measures_nothing(script, monkeypatch, bench):
    class Machines(Bench):
        def __init__(self, image, sources):
            super().__init__(None)

        def machine(self, host):
            return contextlib.nullcontext()

        def play(self, *_, **__): ...
        def deploy(self): ...
        def lose(self, load): ...

        def ssh(self, host, command):
            return 'PRETTY_NAME="x"'

        def clients(self):
            return Blind(script)

        def stored(self):
            return Counter()

    monkeypatch.setattr(script, "Bench", Machines)
    monkeypatch.setattr(script, "work", lambda *_: [])
    with pytest.raises(script.CouldNotMeasure, match="what else was not seen"):
        script.measure("auto", 1)
