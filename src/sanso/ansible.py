"""Ansible, the first engine: runs ansible-playbook."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from sanso.console import Failure
from sanso.inventory import Inventory
from sanso.project import ROOT, relative
from sanso.run import Run, execute, last_lines

SITE = "site.yml"
APP = "playbooks/app.yml"
PLUGINS = Path(__file__).parent / "callback_plugins"
PARTIAL = ("--tags", "-t", "--skip-tags", "--limit", "-l", "--start-at-task")  # with these, not every layer is built
PASSWORD = "./sanso up … -- --ask-become-pass"


def accept(words: list[str]):
    """Refuse the extra words that the engine hasn't: ansible-playbook does that itself, before its first play."""


def build(described: Inventory, *words: str, what: str = SITE, values: dict | None = None, **options) -> Run:
    """Build every layer, or what another playbook builds. values: variables that win over the inventory's."""
    return playbook(*described.words, what, *extra(values), *words, **options)


def extra(values: dict | None) -> list[str]:
    return ["-e", json.dumps(values)] if values else []


def playbook(*words: str, log: Path, verbose: bool = False, plan: bool = False, next_step: str) -> Run:
    """Run `ansible-playbook WORDS` in the checkout; what Ansible says goes to the log, with `verbose` to stderr too.

    Raises Failure when a host failed or could not be reached, and when nothing was run at all.
    """
    command = ["ansible-playbook", *words, *(["--check", "--diff"] if plan else [])]
    run = Run(plan)
    ended = execute(command, run, log=log, verbose=verbose, environment=environment)
    run.end()
    if ended.code == 0 and run.layers:
        return run
    if run.failures:
        raise run.failure(log=log, next_step=next_step, password=PASSWORD)
    # No task failed: Ansible's last words say what it stopped at.
    message = f"Ansible stopped with exit code {ended.code}" if ended.code else "Ansible had nothing to run"
    raise Failure(message, evidence=last_lines(ended.said), log=relative(log), next_step=next_step)


def layers(*words: str) -> list[str]:
    """The names of a playbook's plays, without running them."""
    command = ["ansible-playbook", *words, "--list-hosts"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure("the playbook can't be read", evidence=done.stderr, next_step=" ".join(command))
    names = re.findall(r"(?m)^  play #\d+ \(.*?\): (.*?)(?:\tTAGS.*)?$", done.stdout)
    return list(dict.fromkeys(names))  # each layer begins with the same preflight


def environment(events: int) -> dict[str, str]:
    """The environment in which Ansible reports to the file descriptor `events`, beside what its user set up."""

    def also(name: str, value: str, separator: str) -> str:
        return separator.join(filter(None, [value, os.environ.get(name)]))

    return {
        **os.environ,
        "ANSIBLE_NOCOLOR": "1",  # for the log
        "ANSIBLE_CALLBACK_PLUGINS": also("ANSIBLE_CALLBACK_PLUGINS", str(PLUGINS), os.pathsep),
        "ANSIBLE_CALLBACKS_ENABLED": also("ANSIBLE_CALLBACKS_ENABLED", "sanso_events", ","),
        "SANSO_EVENTS": str(events),
    }
