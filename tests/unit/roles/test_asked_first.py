"""Ansible's own modules are run only where the system itself, asked in a few words, says that something isn't so."""

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
GETENT = """#!/bin/sh
case "$2" in
  shop) echo shop:x:999:999::/srv/shop:/usr/sbin/nologin;;
  *) exit 2;;
esac
"""
STAT = """#!/bin/sh
case "$2" in
  /srv/shop) echo directory:root:shop:751;;
  /srv/file) echo regular file:root:shop:751;;
  *) echo "stat: cannot statx '$2'" >&2; exit 1;;
esac
"""


@pytest.fixture
def act(load, tmp_path, monkeypatch):
    """act("packages", name=…) runs the action where these programs say so: (the module it ran, with what)."""
    for name, text in {"dpkg-query": DPKG, "systemctl": SYSTEMCTL, "getent": GETENT, "stat": STAT}.items():
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


USER = {"name": "shop", "home": "/srv/shop", "shell": "/usr/sbin/nologin", "system": True, "create_home": False}
FOLDER = {"path": "/srv/shop", "owner": "root", "group": "shop", "mode": "0751"}


def test_nothing_is_done_with_a_user_who_is_there(act):
    assert act("account", **USER) is None


@pytest.mark.parametrize("other", [{"name": "new"}, {"home": "/home/shop"}, {"shell": "/bin/sh"}])
def test_module_is_run_for_a_user_who_is_missing_or_another(act, other):
    assert act("account", **USER | other) == ("ansible.builtin.user", USER | other)


def test_nothing_is_done_with_a_folder_that_is_so(act):
    assert act("folder", **FOLDER) is None


@pytest.mark.parametrize(
    "other", [{"path": "/srv/new"}, {"path": "/srv/file"}, {"owner": "shop"}, {"group": "root"}, {"mode": "0750"}]
)
def test_module_is_run_for_a_folder_that_is_not_so(act, other):
    arguments = FOLDER | other
    assert act("folder", **arguments) == ("ansible.builtin.file", {**arguments, "state": "directory"})
