"""deploys/ do what the roles' tasks do: all of them, and in their order."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from sanso.project import DEFAULT_INVENTORY, ROOT
from sanso.variables import Landscape

LAYERS = sorted(ROOT.glob("deploys/layer_*.py"))
# Tasks that have no twin, and why.
WITHOUT = {
    "Packages | Refresh the lists for a check": "pyinfra looks at the lists in each run",
    "Order | Say what would be ordered": "for a check of Ansible's",
    "Release | Say what would be released": "for a check of Ansible's",
    "Release | Say why it doesn't serve": "the server's tool says it",
    "Release | Hand it its secrets": "part of the operation `release`",
    "Release | Copy it": "part of the operation `release`",
}


def named(layer: Path) -> list[tuple[str, str]]:
    """(role, task) of each operation, in the order in which layer() comes to them."""
    functions = {each.name: each for each in ast.parse(layer.read_text()).body if isinstance(each, ast.FunctionDef)}
    found, role = [], ""

    def follow(function):
        nonlocal role
        calls = [node for line in function.body for node in ast.walk(line) if isinstance(node, ast.Call)]
        for call in sorted(calls, key=lambda call: (call.end_lineno, call.end_col_offset)):  # inner ones first
            words = [word.value for word in call.args if isinstance(word, ast.Constant)]
            called = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
            if called in functions:
                follow(functions[called])
            elif called == "Role":
                role = words[0]
            elif called != "match" and words:
                found.append((inline_role(call) or role, words[0]))

    follow(functions["layer"])
    return found


def inline_role(call: ast.Call) -> str:
    """The role of `packages(Role("python"), "…")`."""
    first = call.args[0]
    is_role = isinstance(first, ast.Call) and isinstance(first.func, ast.Name) and first.func.id == "Role"
    return first.args[0].value if is_role else ""


@pytest.fixture(scope="module")
def tasks():
    """tasks(role) are its tasks and handlers as they are written."""
    variables = Landscape(DEFAULT_INVENTORY).variables_of("sanso")
    return lambda role: [
        task
        for task in variables.within(role).tasks()
        if "ansible.builtin.meta" not in task and task["name"] not in WITHOUT
    ]


OPERATIONS = [pair for layer in LAYERS for pair in named(layer)]
ROLES = list(dict.fromkeys(role for role, _ in OPERATIONS))


@pytest.mark.parametrize("role", ROLES)
def test_every_task_has_its_operation(tasks, role):
    written = {name for each, name in OPERATIONS if each == role}
    assert {task["name"] for task in tasks(role)} == written


@pytest.mark.parametrize("role", ROLES)
def test_operations_come_in_the_order_of_the_tasks(tasks, role):
    """Handlers come when what notifies them is done, which a test of machines sees."""
    handlers = handlers_of(role)
    written = [name for each, name in OPERATIONS if each == role and name not in handlers]
    assert written == [task["name"] for task in tasks(role) if task["name"] not in handlers]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.stem)
def test_roles_come_in_the_order_of_the_playbook(layer):
    (play,) = [
        play
        for play in yaml.safe_load((ROOT / f"playbooks/{layer.stem.removeprefix('layer_')}.yml").read_text())
        if "roles" in play
    ]
    roles = [role["role"] if isinstance(role, dict) else role for role in play["roles"]]
    assert list(dict.fromkeys(role for role, _ in named(layer))) == roles


def handlers_of(role: str) -> set[str]:
    file = ROOT / "roles" / role / "handlers/main.yml"
    return {handler["name"] for handler in yaml.safe_load(file.read_text())} if file.exists() else set()
