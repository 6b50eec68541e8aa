"""apt is asked only for what dpkg doesn't have."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

# What dpkg-query knows: the name, and its state.
THERE = {"nginx": "installed", "ssl-cert": "installed", "left": "config-files", "broken": "half-configured"}
DPKG = """#!/bin/sh
code=0
for name; do case "$name" in
  -*) ;;
%s
  *) echo "dpkg-query: no packages found matching $name" >&2; code=1;;
esac; done
exit $code
"""


@pytest.fixture
def install(load, tmp_path, monkeypatch):
    """install(names) returns what apt was asked for; None if it wasn't."""
    dpkg = tmp_path / "dpkg-query"
    dpkg.write_text(DPKG % "\n".join(f"  {name}) echo {state};;" for name, state in THERE.items()))
    dpkg.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    asked = []

    class Action(load("playbooks/action_plugins/packages.py").ActionModule):
        def _low_level_execute_command(self, command):
            done = subprocess.run(command, shell=True, capture_output=True, text=True)
            return {"rc": done.returncode, "stdout": done.stdout}

        def _execute_module(self, module, arguments, task_vars):
            asked.append((module, arguments))
            return {"changed": True}

    def install(names):
        task = SimpleNamespace(args={"name": names}, async_val=0, check_mode=False, action="packages")
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
        action = Action(task, connection, SimpleNamespace(), None, None, None)
        result = action.run(task_vars={})
        assert result["changed"] is bool(asked)
        return asked.pop() if asked else None

    return install


def test_nothing_is_asked_of_apt_where_all_are_there(install):
    assert install(["nginx", "ssl-cert"]) is None


@pytest.mark.parametrize(
    "name", ["missing", "left", "broken", "nginx=1.26", "ngin*", "nginx:arm64", "nginx; touch /x", "--help"]
)
def test_apt_is_asked_for_all_where_one_may_be_missing(install, name):
    names = ["nginx", name]
    assert install(names) == ("ansible.builtin.apt", {"name": names, "install_recommends": False})
