"""bench/provision counts and judges what the engines report. (Its times come from real machines, and aren't tested.)"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from sanso import inventory
from sanso.digest import Digest

BENCH = Path(__file__).parents[2] / "bench"
# An engine of two hosts, one operation that changes the first, and one that changes neither.
PYINFRA = """#!{python} -IS
import json, os, sys
with open({called!r}, "w") as called:
    json.dump([sys.argv[1:], open(sys.argv[4].partition("=")[2]).read()], called)
with os.fdopen(int(os.environ["SANSO_EVENTS"]), "w") as events:
    for layer, name in (("Preparation", "connect"), ("OS", "Packages | Install"), ("Web", "Site | Render")):
        print(json.dumps({{"event": "task", "layer": layer, "name": name}}), file=events)
operations = [
    {{"success": ["bench-1"], "error": [], "no_change": ["bench-2"]}},
    {{"success": [], "error": [], "no_change": ["bench-1", "bench-2"]}},
]
print(json.dumps({{"results": {{"operations": operations}}}}))
"""


@pytest.fixture(scope="module")
def provision():
    """bench/provision, as a module."""
    sys.path.insert(0, str(BENCH))
    loader = SourceFileLoader("provision", str(BENCH / "provision"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules["provision"] = module  # its dataclasses look there
    loader.exec_module(module)
    yield module
    sys.path.remove(str(BENCH))
    del sys.modules["provision"], sys.modules["harness"]


@pytest.fixture(scope="module")
def machines(provision):
    return provision.Machines("auto")


def run(seconds: float, ok: int = 49) -> dict:
    return {"seconds": seconds, "ok": ok}


def test_operation_lasts_until_the_next_one_begins(provision):
    told = [
        (1.5, {"event": "task", "layer": "Preparation", "name": "connect to x"}),
        (2.0, {"event": "done", "layer": "Preparation"}),
        (2.0, {"event": "task", "layer": "OS", "name": "Packages | Install"}),
        (9.0, {"event": "result", "layer": "OS", "status": "changed"}),
        (9.5, {"event": "task", "layer": "Web", "name": "Site | Render"}),
        (9.75, {"event": "done", "layer": "Web"}),
    ]
    assert sys.modules["harness"].operation_times(1.0, told) == [
        (7.5, "OS | Packages | Install"),
        (0.5, "its own start"),
        (0.5, "Preparation | connect to x"),
        (0.25, "Web | Site | Render"),
    ]


def test_what_pyinfra_changed_is_counted_on_all_hosts(machines, tmp_path, monkeypatch):
    fake, called = tmp_path / "pyinfra", tmp_path / "called"
    fake.write_text(PYINFRA.format(python=sys.executable, called=str(called)))
    fake.chmod(0o755)
    monkeypatch.setattr("harness.CONTROL", tmp_path)  # a bench that is at work keeps its connections
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    play = machines.deploy("bench-1", "bench-2", nginx_local_ca_directory="/ca")
    assert (play.ok, play.changed, play.skipped) == (2, 1, None)
    assert sorted(name for _, name in play.tasks) == [
        "OS | Packages | Install",
        "Preparation | connect",
        "Web | Site | Render",
        "its own start",
    ]
    assert '{\\"nginx_local_ca_directory\\": \\"/ca\\"}' in called.read_text()


def test_engines_are_given_these_machines_alone(machines):
    with machines.place(("bench-1", "bench-2")) as place:
        hosts = inventory.read(place / "hosts.yml").hosts
    assert {host.name: host.address for host in hosts.values()} == {"bench-1": "10.77.0.66", "bench-2": "10.77.0.67"}
    assert all(host.groups >= {"machines", "web", "app", "db", "many"} for host in hosts.values())
    assert hosts["bench-2"].get("apps")[0]["name"] == "faults"


def test_machines_have_addresses_of_their_own(machines):
    addresses = [host.address for host in machines.hosts.values()]
    assert sorted(set(addresses)) == sorted(addresses)


@pytest.mark.parametrize(
    ("key", "seconds", "reached"),
    [
        ("b", 65, True),
        ("b", 65.1, False),
        ("c", 19.9, True),
        ("c", 20, False),
        ("d", 36, True),
        ("d", 36.1, False),
        ("e", 5.9, True),
        ("e", 6, False),
        ("f", 10, True),
        ("f", 10.1, False),
    ],
)
def test_aim_is_reached_up_to_its_limit(provision, key, seconds, reached):
    runs = {"a": run(30), "b": run(1), "c": run(1), "d": run(1), "e": run(5), "f": run(1)} | {key: run(seconds)}
    judged = [aim["reached"] for aim in provision.aims(**runs) if aim["aim"].startswith(f"({key})")]
    assert judged[0] is reached


def test_one_machine_has_no_aim_for_many(provision):
    runs = dict.fromkeys("abcde", run(1))
    assert not [aim for aim in provision.aims(**runs) if aim["aim"].startswith("(f)")]


def test_difference_is_shown_with_the_lines_of_the_file(provision):
    one, other = (
        provision.State(
            Digest("x", {"files": {"/etc/a": {"mode": "0644", "sha256": text}}, "units": {"x": text}}),
            {"/etc/a": f"both\n{text}\n"},
        )
        for text in ("first", "second")
    )
    shown = one.differences(other, ("(b)", "(d)"))
    assert [each.splitlines()[0] for each in shown] == ["--- (b): files /etc/a", "--- (b): units x"]
    assert {"-first", "+second", " both"} <= set(shown[0].splitlines())


@pytest.mark.parametrize("name", ["deploys/site.py", "roles/web/tasks/main.yml", "bench/baseline.sh"])
def test_edit_of_what_is_measured_is_seen(provision, tmp_path, monkeypatch, name):
    monkeypatch.setattr(provision, "ROOT", tmp_path)
    for edited in (name, "deploys/__pycache__/site.pyc", "bench/README.md"):
        (tmp_path / edited).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / edited).touch()
    moment = (tmp_path / name).stat().st_mtime
    assert provision.edited_since(moment - 1) == [name]
    assert provision.edited_since(moment + 1) == []


def test_report_is_of_both_engines_and_of_many(provision, monkeypatch):
    class Bench:
        """Machines that are all alike, but for one thing that changes again when Ansible looks at many."""

        def __init__(self, *_):
            self.there = set()

        @contextlib.contextmanager
        def machine(self, *hosts):
            self.there = set(hosts)
            yield
            self.there = set()

        def ssh(self, *_):
            return 'PRETTY_NAME="Some System"'

        def pack(self):
            return Path("x"), []

        def baseline(self, *_):
            return provision.Play(30.0)

        def ansible(self, *hosts):
            assert self.there == set(hosts)
            return provision.Play(60.0, ok=40, changed=len(hosts) // 2, skipped=9, tasks=((2.5, "slow task"),))

        def pyinfra(self, *hosts):
            assert self.there == set(hosts)
            return provision.Play(5.0, ok=50, changed=0, tasks=((1.25, "slow operation"),))

        def state(self, host):
            assert self.there == {host}
            return provision.State(Digest(host, {"units": {"nginx": "active"}}), {})

    monkeypatch.setattr(provision, "Bench", Bench)
    report = provision.measure("auto", repeat=2, many=4)
    assert {key: len(run["all_seconds"]) for key, run in report["runs"].items()} == dict.fromkeys("abcdefg", 2)
    assert report["differences"] == ["(g) changed 2 things more"]
    table = provision.table(report)
    assert "(f) pyinfra, the same on 4             5.0    0.17      50        0\n" in table
    assert "  1.25  slow operation" in table
    assert table.endswith("(g) changed 2 things more\n(a), (b) and (d): 1 differences, by 1 facts")
