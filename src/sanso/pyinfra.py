"""pyinfra, the second engine: runs pyinfra on deploys/."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from sanso import console
from sanso.console import Failure
from sanso.inventory import Inventory, relative_to_root
from sanso.project import relative
from sanso.run import Run, execute, last_lines

SITE = "deploys/site.py"
APP = "deploys/layer_app.py"
PARTIAL = ("--limit", "--exclude")  # with these, not every host is built
PASSWORD = "set ansible_become_password, in a file that ansible-vault encrypts"
# Words that people know from Ansible (and --dry), and what there is instead.
ONE_LAYER = "one layer: pyinfra -y @sanso/inventory/local deploys/layer_os.py (or _web, _database, _app)"
INSTEAD = {
    ("--tags", "-t", "--skip-tags", "--start-at-task", "--step"): ONE_LAYER,
    ("--check", "-C", "--dry"): "./sanso up --engine pyinfra --plan",
    ("--limit", "-l"): "--limit HOST is pyinfra's word for it",
    ("--extra-vars", "-e"): "--data variables=FILE takes a file of variables",
    ("--ask-become-pass", "-K"): PASSWORD,
    ("--ask-vault-pass", "-J", "--vault-password-file", "--vault-id"): "ANSIBLE_VAULT_PASSWORD_FILE names the file",
}
OWN = ("--limit",)  # pyinfra has these, though Ansible does too
# How pyinfra begins to say what stopped it, unless it was a host: with a message, or with a traceback.
STOPPED = re.compile(r"^--> (?:(?:[\w ]*error)(?: in .+ line \d+)?: |An (?:internal )?exception occurred.*\n)", re.M)


def parts(name: str) -> tuple[str, str]:
    """(layer, task) of an operation, whose name is "Layer | Component | verb phrase"."""
    layer, _, task = name.partition(" | ")
    return (layer, task) if task else ("Other operations", name)


def accept(words: list[str]):
    """Refuse the extra words that pyinfra hasn't, with what there is instead."""
    for word in words:
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        for names, instead in INSTEAD.items():
            if name in names and name not in OWN:
                raise Failure(f"with --engine pyinfra there is no {name}", next_step=instead, code=console.USAGE)


def build(
    described: Inventory,
    *words: str,
    log: Path,
    verbose: bool = False,
    plan: bool = False,
    next_step: str,
    what: str = SITE,
    values: dict | None = None,
) -> Run:
    """Build every layer, or see what would change; what pyinfra says goes to the log, with `verbose` to stderr too.

    what: another deploy than that of all layers. values: variables that win over the inventory's.
    Raises Failure when a host failed or could not be reached, and when nothing was run at all.
    """
    mode = ["--dry", "--diff"] if plan else ["-y"]
    where = f"@sanso/{relative_to_root(described.path)}"
    command = ["pyinfra", *mode, "--json", where, what, *extra(values, log), *words]
    run = Run(plan, timed=not plan)  # it compares all layers before it says what would change
    ended = execute(command, run, log=log, verbose=verbose, environment=environment, apart=True)
    answer = _answer(ended.answer)
    if plan:
        take_plan(run, answer.get("plan", []))
    run.end()
    # Its exit code alone would not do: it is 0, too, for a pyinfra that was interrupted or only asked for its help.
    complete = "plan" in answer if plan else bool(answer.get("results"))
    if ended.code == 0 and complete and run.layers and not run.failures:
        return run
    complaint = said_last(ended.said)
    if run.failures:
        for event in run.failures.values():
            event["evidence"] = event["evidence"] or [{"msg": complaint}]
        raise run.failure(log=log, next_step=next_step, password=PASSWORD)
    if any(layer.acted for layer in run.layers):
        message = f"pyinfra stopped with exit code {ended.code}, before its end"
    else:
        message = "pyinfra stopped before it changed anything" if ended.code else "pyinfra had nothing to run"
    raise Failure(message, evidence=complaint, log=relative(log), next_step=next_step)


def extra(values: dict | None, log: Path) -> list[str]:
    """The words that name a file of variables, which lies beside the log: pyinfra takes no others."""
    if not values:
        return []
    file = log.with_suffix(".json")
    file.write_text(json.dumps(values))
    return ["--data", f"variables={file}"]


def take_plan(run: Run, operations: list[dict]):
    """Take what would change from pyinfra's own plan."""
    for operation in operations:
        layer, task = parts(operation["names"][0])
        of_all = {"event": "result", "layer": layer, "host": "", "task": task}
        run.take(of_all | {"status": "ok"})
        refused = {host for host, event in run.failures.items() if (event["layer"], event["task"]) == (layer, task)}
        for host in operation["hosts_with_change"]:
            if host in refused:  # for pyinfra that is a change like others
                continue
            run.take(of_all | {"status": "changed", "host": host})
        for host in operation["hosts_with_conditional_change"]:  # its condition is only asked in a run
            run.take(of_all | {"status": "ok", "host": host, "notice": f"{task}, if something before it changes"})


def said_last(said: str) -> str:
    """Why pyinfra stopped, in its own words."""
    found = list(STOPPED.finditer(said))
    if found and (words := said[found[-1].end() :].strip()) != "No hosts remaining!":
        return words
    return last_lines(said)


def environment(events: int) -> dict[str, str]:
    """The environment in which pyinfra reports to the file descriptor `events` (sanso.pyinfra_events)."""
    return {**os.environ, "SANSO_EVENTS": str(events)}


def _answer(text: str) -> dict:
    try:
        return json.loads(text)
    except ValueError:
        return {}
