"""sanso.variables sees an inventory and roles as Ansible does, which is asked for comparison."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleError

from sanso import variables
from sanso.variables import Landscape

PLAY = """
- hosts: here
  gather_facts: false
  roles: [demo]
"""
VARS = """
demo_d: role
demo_e: role
__demo_list: "{{ [demo_a, demo_b] | join('+') }}"
__demo_all: "{{ [demo_a, demo_b, demo_c, demo_d, demo_e, __demo_list, lookup('ansible.builtin.template', 'x.j2')] }}"
"""
TASKS = """
- name: Outer
  when: demo_on
  block:
    - name: Inner
      when: [demo_in, 1 == 1]
      ansible.builtin.debug:
    - name: Include
      ansible.builtin.include_tasks: more.yml
- name: Write
  ansible.builtin.copy: {dest: "{{ result }}", content: "{{ {'all': __demo_all} | to_json }}"}
"""

# What pyinfra does: hosts take turns wherever one of them may have to wait, in the middle of an import too.
SIDE_BY_SIDE = """
from gevent import monkey
monkey.patch_all()
from gevent.pool import Pool
from sanso import connector  # which imports Ansible
from sanso.variables import Landscape
from pathlib import Path
import sys
landscape = Landscape(Path(sys.argv[1]))
print(Pool(5).map(lambda host: landscape.variables_of(host)["asked"], landscape.hosts))
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def role(tmp_path, monkeypatch):
    monkeypatch.setattr(variables, "ROLES", tmp_path / "roles")
    demo = tmp_path / "roles/demo"
    write(
        demo / "defaults/main.yml",
        "demo_a: default\ndemo_b: default\ndemo_c: default\ndemo_d: default\ndemo_on: true\n",
    )
    write(demo / "vars/main.yml", VARS)
    write(demo / "templates/x.j2", "{% if demo_on %}\n  {{ inventory_hostname }}: {{ demo_b }}\n{% endif %}\nend\n")
    write(demo / "tasks/main.yml", TASKS)
    write(demo / "tasks/more.yml", "- name: Included\n  ansible.builtin.debug:\n")
    write(demo / "handlers/main.yml", "- name: Handler\n  ansible.builtin.debug:\n")
    return demo


@pytest.fixture
def inventory(tmp_path):
    folder = tmp_path / "inventory"
    group = {"hosts": {"here": {"demo_c": "host", "ansible_connection": "local"}}}
    write(folder / "hosts.yml", yaml.dump({"all": {"children": {"web": group, "other": {"hosts": {"there": {}}}}}}))
    write(folder / "group_vars/all/x.yml", 'demo_b: "all of {{ inventory_hostname }}"\ndemo_c: all\ndemo_d: all\n')
    return folder


def test_values_and_texts_are_those_of_ansible(role, inventory, tmp_path):
    ours = (
        Landscape(inventory, {"demo_a": "extra", "demo_e": "extra"}).variables_of("here").within("demo")["__demo_all"]
    )
    play = write(tmp_path / "play.yml", PLAY)
    result = tmp_path / "result.json"
    extra = ["-e", json.dumps({"demo_a": "extra", "demo_e": "extra", "demo_in": False, "result": str(result)})]
    done = subprocess.run(["ansible-playbook", "-i", inventory, play, *extra], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ours == json.loads(result.read_text())["all"]
    assert ours == ["extra", "all of here", "host", "role", "extra", "extra+all of here", "  here: all of here\nend\n"]


def test_hosts_are_those_of_the_tiers(role, inventory):
    assert Landscape(inventory).hosts == {"here": {"all", "web"}}


def test_tasks_come_in_their_order_with_all_their_conditions(role, inventory):
    tasks = Landscape(inventory).variables_of("here").within("demo").tasks()
    assert [(task["name"], task["when"]) for task in tasks] == [
        ("Inner", ["demo_on", "demo_in", "1 == 1"]),
        ("Included", ["demo_on"]),
        ("Write", []),
        ("Handler", []),
    ]


def test_roles_of_a_host_do_not_see_what_another_registers(role, inventory):
    host = Landscape(inventory).variables_of("here")
    one, other = host.within("demo", __demo_x=1), host.within("demo", __demo_x=2)
    one["__demo_y"] = 3
    assert (one.fill("{{ __demo_x }}"), other.fill("{{ __demo_x }}"), "__demo_y" in other) == (1, 2, False)


def test_value_that_can_not_be_filled_in_is_named(role, inventory):
    with pytest.raises(AnsibleError, match="demo_nowhere"):
        Landscape(inventory).variables_of("here").within("demo").fill("{{ demo_nowhere }}")


def test_hosts_are_asked_side_by_side(tmp_path):
    names = [f"host-{number}" for number in range(5)]
    asked = "{{ {'a': 1} | dict2items }} {{ 'a' is match('a') }} {{ lookup('ansible.builtin.file', '/dev/null') }}"
    inventory = {"web": {"hosts": {name: {"asked": asked} for name in names}}}
    write(tmp_path / "hosts.yml", yaml.safe_dump(inventory))
    command = [sys.executable, "-c", SIDE_BY_SIDE, str(tmp_path / "hosts.yml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.stdout.splitlines()[-1:] == [str(["[{'key': 'a', 'value': 1}] True "] * 5)], done.stderr
