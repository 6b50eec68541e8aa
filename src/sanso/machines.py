"""The machines on this computer: what is known of them, and running the playbook that makes and removes them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from sanso import ansible, console
from sanso.console import Failure
from sanso.inventory import MACHINE_DIRECTORY, Host, Inventory
from sanso.run import Run

PLAYBOOK = "playbooks/machines.yml"


def record(host: Host) -> dict:
    """What the machine module wrote about it (image, address, …), or {} where there is no such machine."""
    file = Path(host.get("machine_directory", MACHINE_DIRECTORY)) / "machines" / host.name / "machine.json"
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def is_running(host: Host) -> bool:
    """Tell whether its systemd-nspawn runs: found by its arguments, like the machine module does."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_text().split("\0")
        except OSError:  # it ended while we looked
            continue
        if words[0].endswith("systemd-nspawn") and f"--machine={host.name}" in words:
            return True
    return False


def missing(inventory: Inventory) -> list[Host]:
    return [host for host in inventory.machines if not record(host)]


def run_playbook(inventory: Inventory, *words: str, **options) -> Run:
    """Run the playbook for machines, which needs root on this computer."""
    return ansible.playbook(*inventory.words, PLAYBOOK, *words, *_root(), **options)


def can_be_root() -> bool:
    """Tell whether this is root already, or sudo lets it be without a question."""
    return os.geteuid() == 0 or subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0


def _root() -> list[str]:
    if can_be_root():
        return []
    if not console.can_ask():
        raise Failure(
            "machines on this computer need root, sudo asks for a password, and there is no terminal to ask on",
            next_step="run it on a terminal, or as root",
        )
    console.say("Machines on this computer need root: Ansible asks for your sudo password.")
    return ["--ask-become-pass"]
