from __future__ import annotations

import json

from cli_events import failed, play


def test_machines_are_removed_without_a_question(sanso, machine, programs):
    machine()
    done = sanso("down")
    assert done.exit_code == 0
    assert programs.called("ansible-playbook") == [["playbooks/machines.yml", "-e", "machine_state=absent"]]
    assert done.stdout.splitlines()[-1] == "sanso is gone. Make it again: ./sanso up"


def test_what_is_not_there_is_told(sanso, machine):
    machine(exists=False)
    assert sanso("down").stdout.splitlines()[-1] == "Nothing to remove."


def test_servers_are_never_touched(sanso, server, programs):
    done = sanso("down")
    assert done.exit_code == 1
    assert "web1 stays as it is" in done.stderr
    assert not programs.called("ansible-playbook")


def test_servers_beside_machines_are_named(sanso, hosts, programs):
    hosts(sanso={"groups": ["machines"]}, prod={"groups": ["web"]})
    assert "Not touched, being no machine of this computer: prod" in sanso("down").stdout


def test_machine_that_stays_is_a_failure(sanso, machine, programs):
    machine()
    programs.fake_playbook(play("Local machines"), failed(msg="busy"), code=2)
    assert sanso("down").exit_code == 1


def test_json_names_what_was_removed(sanso, machine):
    machine()
    assert json.loads(sanso("down", "--json").stdout) == {"removed": ["sanso"]}
