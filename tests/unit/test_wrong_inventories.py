"""A wrong inventory is refused by both engines with the same words, and no server hears of it: both run for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GROUPS = {
    "web": {"hosts": {"a": {"ansible_host": "192.0.2.1"}}},
    "app": {"hosts": {"a": None}},
    "db": {"hosts": {"a": None}},
}
APP = {"name": "shop", "source": ".", "wsgi": "shop:app", "server_names": ["shop.test"]}
# Groups, variables, and what is said of which.
WRONG = {
    "several things": (
        GROUPS | {"db": {}},
        {"nginx_tls_profil": "old", "nginx_tls_profile": "old"},
        [
            "3 things are wrong",
            "db: the inventory has no host in this group",
            "nginx_tls_profil: no role knows this variable; did you mean nginx_tls_profile?",
            "nginx_tls_profile: value of nginx_tls_profile must be",
        ],
    ),
    "no sense": (GROUPS, {"app_harakiri": 600}, ["app_harakiri: it must be less than nginx_upstream_timeout"]),
    "not to be filled in": (GROUPS, {"os_hostname": "{{ nowhere }}"}, ["os_hostname: ", "'nowhere' is undefined"]),
}
COMMANDS = {
    "ansible": ["ansible-playbook", "-i", "{inventory}", "site.yml"],
    "pyinfra": ["-y", "--json", "@sanso/{inventory}", "deploys/site.py"],
}


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The file in which an ssh that reaches nobody notes each of its calls. It comes first in PATH."""
    calls, folder = tmp_path / "calls", tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexit 255\n')
    (folder / "ssh").chmod(0o755)
    venv = Path(sys.executable).parent
    path = os.pathsep.join([str(folder), str(venv), os.environ["PATH"]])
    for name, value in {"PATH": path, "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}.items():
        monkeypatch.setenv(name, value)
    return calls


@pytest.fixture
def build(tmp_path, calls, pyinfra):
    """build(engine, groups, variables) runs it on a server that isn't there: (its exit code, what it said)."""

    def build(engine, groups, variables):
        inventory = tmp_path / "hosts.yml"
        described = {"vars": {"apps": [APP], **variables}, "children": groups}
        inventory.write_text(yaml.safe_dump({"all": described}))
        command = [word.format(inventory=inventory) for word in COMMANDS[engine]]
        if engine == "pyinfra":
            done = pyinfra.run(command, folder=ROOT)
        else:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    return build


@pytest.mark.parametrize("engine", COMMANDS)
@pytest.mark.parametrize("case", WRONG)
def test_wrong_inventory_is_refused_by_name_before_any_connection(build, calls, engine, case):
    groups, variables, words = WRONG[case]
    code, said = build(engine, groups, variables)
    assert code, said
    assert [word for word in words if word not in said] == [], said
    assert not calls.exists(), calls.read_text()


def test_group_that_pyinfra_misses_is_named(build, calls):
    """Ansible names it in its own words, before it runs anything of ours."""
    _, said = build("pyinfra", {name: hosts for name, hosts in GROUPS.items() if name != "db"}, {})
    assert "db: the inventory has no host in this group" in said
    assert not calls.exists()


@pytest.mark.parametrize("engine", COMMANDS)
def test_good_inventory_is_followed_by_a_connection(build, calls, engine):
    """Which the tests above would notice."""
    code, said = build(engine, GROUPS, {})
    assert code, said
    assert "192.0.2.1" in calls.read_text(), said
