"""What was changed by hand on live servers since an engine built them. It only reads, and takes seconds.

Two looks make one: what an engine would change (`intended`), which compares files, packages and units with what the
inventory says now; and what no such comparison sees (sanso.digest.look), as a value that was set in a running daemon.
"""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import yaml

from sanso import ansible, digest, pyinfra
from sanso.console import COULD_NOT_CHECK, Failure
from sanso.digest import CouldNotDigest, origin
from sanso.inventory import Host, Inventory, relative_to_root
from sanso.project import ROOT, new_log, relative
from sanso.run import execute, last_lines, words
from sanso.ssh import Way

DECIDE = "somebody has to decide: nothing says that it should be so"
# Of a kind of what was found, the section of a digest whose origin it has.
SECTIONS = {
    "unit": "units",
    "unit file": "units",
    "sysctl": "sysctl",
    "firewall": "nftables",
    "mysql": "mysql variables",
}
SECTIONS |= {"mysql account": "mysql accounts", "mysql schema": "mysql schemas", "file": "files"}
OF_DAEMONS = {"nginx": "web", "mysql": "database", "ssh": "os"}


@dataclass(frozen=True)
class Change:
    """What an engine would change."""

    layer: str
    host: str
    task: str
    diff: str = ""


@dataclass(frozen=True)
class Finding:
    """what: in words; diff: what is, and what should be; next: what mends it; rerun: whether that is the layer."""

    host: str
    layer: str
    what: str
    diff: str
    next: str
    rerun: bool = False


def find(
    described: Inventory, engine: str, layers: Sequence[origin.Layer] = (), *, verbose: bool = False
) -> list[Finding]:
    """All that differs, by host. Raises Failure where something could not be looked at.

    layers: those that an engine is asked about, where not all are built yet.
    """
    with ThreadPoolExecutor(21) as pool:
        plan = pool.submit(intended, described, engine, layers, verbose=verbose)
        looks = {name: pool.submit(look, host) for name, host in described.hosts.items()}
        try:
            found = {name: each.result() for name, each in looks.items()}
        except CouldNotDigest as problem:
            raise Failure(problem.sentence, next_step=problem.next_step, code=COULD_NOT_CHECK) from problem
        # What only follows from another change is none by itself.
        changes = [change for change in plan.result() if change.task not in origin.handlers()]
    findings = []
    for name, host in described.hosts.items():
        seen = [each for each in (of_look(described, host, thing) for thing in found[name]) if each]
        findings += together(described, [each for each in changes if each.host == name], seen)
    return findings


def together(described: Inventory, changes: list[Change], seen: list[tuple[Finding, str]]) -> list[Finding]:
    """The findings of a host. A unit that an engine would start is said once, with how it was found."""
    by_task = {(change.layer, change.task) for change in changes}
    same = {(finding.layer, task): finding.diff for finding, task in seen if (finding.layer, task) in by_task}
    complete = [replace(each, diff=each.diff or same.get((each.layer, each.task), "")) for each in changes]
    rest = [finding for finding, task in seen if (finding.layer, task) not in same]
    return [of_change(described, each) for each in complete] + rest


# What an engine would change


def of_change(described: Inventory, change: Change) -> Finding:
    layer = next((layer for layer, title in titles().items() if title == change.layer), None)
    again = ["ansible-playbook", *described.words, layer.playbook] if layer else ["./sanso", "up", *described.words]
    return Finding(change.host, change.layer, change.task, change.diff, shlex.join(again), rerun=True)


@cache
def titles() -> dict[origin.Layer, str]:
    """What each layer's play is called, which pyinfra's deploy is too."""
    return {layer: yaml.safe_load((ROOT / layer.playbook).read_text())[-1]["name"] for layer in origin.layers()}


class Heard:
    """The events of an engine that only looks."""

    def __init__(self):
        self.events: list[dict] = []

    def follow(self, lines: Iterable[str], show: Callable[[str], None]):
        for line in lines:
            event = json.loads(line)
            self.events.append(event)
            if event["event"] == "task":
                show(event["name"])


def intended(
    described: Inventory, engine: str, layers: Sequence[origin.Layer] = (), *, verbose: bool = False
) -> list[Change]:
    """What an engine would change now."""
    log, heard, by = new_log("drift"), Heard(), BY[engine]
    command = by.command(described, layers)
    ended = execute(command, heard, log=log, verbose=verbose, environment=by.environment, apart=True)
    why = {"log": relative(log), "code": COULD_NOT_CHECK}
    failed = [each for each in heard.events if each.get("status") in ("failed", "unreachable")]
    if failed:
        message = f"{engine} could not look at {failed[0]['host']}: {failed[0]['task']}"
        evidence = "\n".join(words({"evidence": [], **each}) for each in failed)
        raise Failure(message, evidence=evidence, next_step=f"./sanso status{described.option}", **why)
    if ended.code:
        evidence = last_lines(ended.answer + ended.said)
        raise Failure(f"{engine} could not look", evidence=evidence, next_step=shlex.join(command), **why)
    return by.changes(heard.events, ended.answer)


class ByAnsible:
    environment = staticmethod(ansible.environment)

    @staticmethod
    def command(described: Inventory, layers: Sequence[origin.Layer] = ()) -> list[str]:
        plays = [layer.playbook for layer in layers] or [ansible.SITE]
        return ["ansible-playbook", *described.words, *plays, "--check", "--diff"]

    @staticmethod
    def changes(events: list[dict], _: str) -> list[Change]:
        found, layer = [], ""
        for event in events:
            if event["event"] == "play":
                layer = event["name"]
            elif event.get("status") == "changed":
                task = event["task"].rpartition(" : ")[2]  # it may say its role too
                found.append(Change(layer, event["host"], task, event["diff"]))
        return found


class ByPyinfra:
    environment = staticmethod(pyinfra.environment)

    @staticmethod
    def command(described: Inventory, layers: Sequence[origin.Layer] = ()) -> list[str]:
        deploys = [layer.deploy for layer in layers] or [pyinfra.SITE]
        return ["pyinfra", "--dry", "--json", f"@sanso/{relative_to_root(described.path)}", *deploys]

    @staticmethod
    def changes(events: list[dict], answer: str) -> list[Change]:
        """Its plan says what would change, its events with which diff."""
        diffs: dict[tuple, list[str]] = {}
        for event in events:
            if event["event"] == "diff":
                diffs.setdefault((event["layer"], event["task"], event["host"]), []).append(event["diff"])
        found = []
        for operation in json.loads(answer)["plan"]:
            layer, task = pyinfra.parts(operation["names"][0])
            for host in operation["hosts_with_change"]:
                found.append(Change(layer, host, task, "\n".join(diffs.get((layer, task, host), []))))
        return found


BY = {"pyinfra": ByPyinfra, "ansible": ByAnsible}


# What no comparison of files shows


def look(host: Host) -> list[dict]:
    """What the server itself finds (sanso.digest.look)."""
    request = {"mysql": grants(host)} if "db" in host.groups else {}
    answer = digest.ask(host.name, Way.to(host), "look", request)
    if answer["failed"]:
        said = "; ".join(f"{part}: {words}" for part, words in answer["failed"].items())
        raise CouldNotDigest(f"{host.name} doesn't say all: {said}")
    return answer["found"]


def grants(host: Host) -> dict[str, list[str]]:
    """The accounts of MySQL that the inventory describes, each with what it may: as roles/mysql gives it."""
    apps = [app["name"] for app in host.get("apps", []) if app.get("database", "mysql") == "mysql"]
    found = {}
    for name in apps:
        pattern = name.replace("_", "\\_")
        found[f'"{name}"@"localhost"'] = [f"GRANT ALL PRIVILEGES ON `{pattern}`.* TO `{name}`@`localhost`"]
    known = origin.variables("mysql")
    if reader := host.get("mysql_trace_user", known["mysql_trace_user"]):
        tables = known["__mysql_trace_tables"]
        found[f'"{reader}"@"localhost"'] = [
            f"GRANT SELECT ON `performance_schema`.`{table}` TO `{reader}`@`localhost`" for table in tables
        ]
    return found


def of_look(described: Inventory, host: Host, thing: dict) -> tuple[Finding, str] | None:
    """A finding, and the task that starts what it is about; None for what an engine compares with the inventory."""
    kind, key = thing["kind"], thing["key"]
    made = origin.of(SECTIONS[kind], key.partition(" (")[0]) if kind in SECTIONS else None
    if kind == "file" and made and (made.source or any(key in task.paths for task in origin.tasks())):
        return None
    layer = made.layer if made else origin.Layer(OF_DAEMONS.get(key, "app")) if kind in ("daemon", "release") else None
    diff = "\n".join(
        difflib.unified_diff(thing["found"].splitlines(), thing["was"].splitlines(), "is", "should be", lineterm="")
    )
    starts = made.task if made and kind == "unit" else ""
    ssh = ["./sanso", "ssh", *(["-i", relative(described.path)] if described.words else []), host.name]
    mend = f"{shlex.join(ssh)} -- {shlex.quote(thing['mend'])}" if thing["mend"] else DECIDE
    return Finding(host.name, titles()[layer] if layer else "", f"{kind} {key}", diff, mend), starts
