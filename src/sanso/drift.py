"""What was changed by hand on live servers since an engine built them. It only reads, and takes seconds.

Two looks make one: what an engine would change (`intended`), which compares files, packages and units with what the
inventory says now; and what no such comparison sees (sanso.digest.look), as a value that was set in a running daemon.
"""

from __future__ import annotations

import difflib
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import yaml

from sanso import ansible, digest
from sanso.console import COULD_NOT_CHECK, Failure
from sanso.digest import CouldNotDigest, origin
from sanso.inventory import Host, Inventory, relative_to_root
from sanso.project import ROOT, new_log, relative
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
    """what: in words; diff: what should be, and what is; next: what mends it; rerun: whether that is the layer."""

    host: str
    layer: str
    what: str
    diff: str
    next: str
    rerun: bool = False


@dataclass(frozen=True)
class Plan:
    """An engine's command that only looks, and what its events and its answer say would change."""

    command: list[str]
    environment: Callable[[int], dict[str, str]]
    changes: Callable[[list[dict], str], list[Change]]


def find(described: Inventory, engine: str) -> list[Finding]:
    """All that differs, by host. Raises Failure where something could not be looked at."""
    with ThreadPoolExecutor(21) as pool:
        plan = pool.submit(intended, described, engine)
        looks = {name: pool.submit(look, host) for name, host in described.hosts.items()}
        try:
            found = {name: each.result() for name, each in looks.items()}
        except CouldNotDigest as problem:
            raise Failure(problem.sentence, next_step=problem.next_step, code=COULD_NOT_CHECK) from problem
        changes = plan.result()
    findings = []
    for name, host in described.hosts.items():
        seen = [each for each in (of_look(described, host, thing) for thing in found[name]) if each]
        findings += together(described, [each for each in changes if each.host == name], seen)
    return findings


def together(described: Inventory, changes: list[Change], seen: list[tuple[Finding, str]]) -> list[Finding]:
    """The findings of a host. What an engine would mend anyhow is said once, with what was seen of it."""
    by_task = {change.task: change for change in changes}
    rest = []
    for finding, task in seen:
        if task in by_task:
            if not by_task[task].diff:
                by_task[task] = replace(by_task[task], diff=finding.diff)
        else:
            rest.append(finding)
    layers = {title: layer for layer, title in titles().items()}
    return [of_change(described, each, layers) for each in by_task.values()] + rest


# What an engine would change


def of_change(described: Inventory, change: Change, layers: dict[str, origin.Layer]) -> Finding:
    layer = layers.get(change.layer)
    return Finding(change.host, change.layer, change.task, change.diff, again(described, layer), rerun=True)


def again(described: Inventory, layer: origin.Layer | None) -> str:
    if not layer:
        return f"./sanso up{described.option}"
    return shlex.join(["ansible-playbook", *described.words, layer.playbook])


@cache
def titles() -> dict[origin.Layer, str]:
    """What each layer's play is called, which pyinfra's deploy is too."""
    return {layer: yaml.safe_load((ROOT / layer.playbook).read_text())[-1]["name"] for layer in origin.layers()}


def intended(described: Inventory, engine: str) -> list[Change]:
    """What an engine would change now."""
    plan = PLANS[engine](described)
    log = new_log("drift")
    with tempfile.TemporaryFile("w+") as events, tempfile.TemporaryFile("w+") as answer, log.open("a") as said:
        said.write(f"$ {shlex.join(plan.command)}\n")
        said.flush()
        descriptor = events.fileno()
        code = subprocess.run(
            plan.command,
            cwd=ROOT,
            env=plan.environment(descriptor),
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=said,
            pass_fds=[descriptor],
            check=False,
        ).returncode
        told, text = ([*map(json.loads, rewound(events))], "".join(rewound(answer)))
        said.write(text)
    failed = [each for each in told if each.get("status") in ("failed", "unreachable")]
    if failed:
        what = failed[0]
        message = f"{engine} could not look at {what['host']}: {what['task']}"
        evidence = "\n".join(str(each) for words in what.get("evidence", []) for each in words.values())
        raise Failure(
            message, evidence=evidence, log=relative(log), next_step=f"./sanso status{described.option}", code=3
        )
    if code:
        last = "\n".join(log.read_text().splitlines()[-20:])
        next_step = shlex.join(plan.command)
        raise Failure(f"{engine} could not look", evidence=last, log=relative(log), next_step=next_step, code=3)
    return plan.changes(told, text)


def rewound(file):
    file.seek(0)
    return file.readlines()


def with_ansible(described: Inventory) -> Plan:
    command = ["ansible-playbook", *described.words, "site.yml", "--check", "--diff"]
    return Plan(command, ansible.environment, changes_of_ansible)


def changes_of_ansible(events: list[dict], _: str) -> list[Change]:
    found, layer = [], ""
    for event in events:
        if event["event"] == "play":
            layer = event["name"]
        elif event.get("status") == "changed":
            found.append(
                Change(layer, event["host"], event["task"].partition(" : ")[2] or event["task"], event["diff"])
            )
    return found


def with_pyinfra(described: Inventory) -> Plan:
    command = ["pyinfra", "--dry", "--json", f"@sanso/{relative_to_root(described.path)}", "deploys/site.py"]
    return Plan(command, lambda events: {**os.environ, "SANSO_EVENTS": str(events)}, changes_of_pyinfra)


def changes_of_pyinfra(events: list[dict], answer: str) -> list[Change]:
    """pyinfra's plan says what would change, its events with which diff."""
    diffs: dict[tuple, list[str]] = {}
    for event in events:
        if event["event"] == "diff":
            diffs.setdefault((event["layer"], event["host"], event["task"]), []).append(event["diff"])
    found = []
    for operation in json.loads(answer)["plan"]:
        layer, _, task = operation["names"][0].partition(" | ")
        for host in operation["hosts_with_change"]:
            found.append(Change(layer, host, task, "\n".join(diffs.get((layer, host, task), []))))
    return found


PLANS: dict[str, Callable[[Inventory], Plan]] = {"pyinfra": with_pyinfra, "ansible": with_ansible}


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
    """A finding, and the task that makes what it is about; None for what an engine compares with the inventory."""
    kind, key = thing["kind"], thing["key"]
    made = origin.of(SECTIONS[kind], key.partition(" (")[0]) if kind in SECTIONS else None
    if kind == "file" and made and (made.source or any(key in task.paths for task in origin.tasks())):
        return None
    layer = made.layer if made else origin.Layer(OF_DAEMONS.get(key, "app")) if kind in ("daemon", "release") else None
    diff = "\n".join(
        difflib.unified_diff(thing["was"].splitlines(), thing["found"].splitlines(), "should be", "is", lineterm="")
    )
    ssh = ["./sanso", "ssh", *(["-i", relative(described.path)] if described.words else []), host.name]
    mend = f"{shlex.join(ssh)} -- {shlex.quote(thing['mend'])}" if thing["mend"] else DECIDE
    return Finding(host.name, titles()[layer] if layer else "", f"{kind} {key}", diff, mend), made.task if made else ""
