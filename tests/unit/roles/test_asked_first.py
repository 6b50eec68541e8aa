"""Ansible's own modules for packages and units are run only where dpkg and systemd say that something isn't so."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

DPKG = """#!/bin/sh
code=0
for name; do case "$name" in
  -*) ;;
  nginx|ssl-cert) echo installed;;
  left) echo config-files;;
  broken) echo half-configured;;
  *) echo "dpkg-query: no packages found matching $name" >&2; code=1;;
esac; done
exit $code
"""
SYSTEMCTL = """#!/bin/sh
case "$*" in
  *runs.service) echo UnitFileState=enabled; echo ActiveState=active;;
  *rests.service) echo UnitFileState=disabled; echo ActiveState=inactive;;
  *failed.service) echo UnitFileState=disabled; echo ActiveState=failed;;
  *begins.service) echo UnitFileState=enabled; echo ActiveState=activating;;
  *) echo UnitFileState=; echo ActiveState=inactive;;
esac
"""


@pytest.fixture
def act(load, tmp_path, monkeypatch):
    """act("packages", name=…) runs the action where dpkg-query and systemctl say so: (the module it ran, with what)."""
    for name, text in {"dpkg-query": DPKG, "systemctl": SYSTEMCTL}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def act(action, **arguments):
        asked = []

        class Action(load(f"playbooks/action_plugins/{action}.py").ActionModule):
            def _low_level_execute_command(self, command):
                done = subprocess.run(command, shell=True, capture_output=True, text=True)
                return {"rc": done.returncode, "stdout": done.stdout}

            def _execute_module(self, module, arguments, task_vars):
                asked.append((module, arguments))
                return {"changed": True}

        task = SimpleNamespace(args=arguments, async_val=0, check_mode=False, action=action)
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
        result = Action(task, connection, SimpleNamespace(), None, None, None).run(task_vars={})
        assert result["changed"] is bool(asked)
        return asked.pop() if asked else None

    return act


def test_nothing_is_asked_of_apt_where_all_are_there(act):
    assert act("packages", name=["nginx", "ssl-cert"]) is None


@pytest.mark.parametrize(
    "name", ["missing", "left", "broken", "nginx=1.26", "ngin*", "nginx:arm64", "nginx; touch /x", "--help"]
)
def test_apt_is_asked_for_all_where_one_may_be_missing(act, name):
    names = ["nginx", name]
    assert act("packages", name=names) == ("ansible.builtin.apt", {"name": names, "install_recommends": False})


@pytest.mark.parametrize(
    ("name", "state", "enabled"),
    [("runs", "started", True), ("runs", "started", "yes"), ("rests", "stopped", False), ("failed", "stopped", False)],
)
def test_nothing_is_done_with_a_unit_that_is_so(act, name, state, enabled):
    assert act("unit", name=f"{name}.service", state=state, enabled=enabled) is None


@pytest.mark.parametrize(
    ("name", "state", "enabled", "more"),
    [
        ("runs", "stopped", False, {}),
        ("runs", "started", False, {}),
        ("runs", "started", True, {"daemon_reload": True}),
        ("rests", "started", True, {}),
        ("begins", "started", True, {}),
        ("missing", "started", True, {}),
        ("missing", "stopped", False, {}),
    ],
)
def test_module_is_run_for_a_unit_that_is_not_so(act, name, state, enabled, more):
    arguments = {"name": f"{name}.service", "state": state, "enabled": enabled, **more}
    assert act("unit", **arguments) == ("ansible.builtin.systemd_service", arguments)
