"""A change of what decides who gets in stays if we come in anew, and returns if not; the reasons are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sanso import entrance
from sanso.entrance import Shut

FILES = {
    "/etc/nftables.conf": {"variables": ["os_firewall_extra_rules"]},
    "/etc/ssh/sshd_config.d/00-sanso.conf": {"variables": ["os_ssh_extra_settings", "os_ssh_port"]},
}
KEPT, BACK = json.dumps({"kept": True, "problems": []}), json.dumps({"kept": False, "problems": []})
TRIAL = "/usr/bin/python3 /var/lib/sanso/access/trial.py"


class Door:
    """Answers as it is told: a text, or why it is shut. The last answer is for all that come later."""

    user, host, port = "ada", "server.test", 22

    def __init__(self, anew, here=BACK):
        self.answers = {"anew": list(anew), "here": [here]}
        self.asked = []

    def answer(self, kind, *words):
        self.asked.append((kind, *words))
        answers = self.answers[kind]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Shut):
            raise answer
        return answer

    def here(self, command, sudo=True):
        return self.answer("here", command, sudo)

    def anew(self, command, port=0, alias=False):
        return self.answer("anew", command, port, alias)

    def value(self, name):
        return {"os_firewall_extra_rules": "drop\n"}.get(name, "")

    def place(self, name):
        return "os.yml:1"


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that goes by what is slept."""

    class Clock:
        now = 0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(entrance, "time", clock)
    return clock


def settle(door, paths=("/etc/nftables.conf",), port=0):
    result = {"changed": True, "on_trial": True, "paths": list(paths), "diff": []}
    return entrance.settle(door, result, FILES, "token", port)


def test_who_comes_in_confirms():
    door = Door([f"a greeting\n{KEPT}\n"])
    assert settle(door) == {"changed": True, "on_trial": True, "paths": ["/etc/nftables.conf"], "diff": []}
    assert door.asked == [("anew", f"{TRIAL} keep token", 0, True)]


@pytest.mark.parametrize("result", [{"changed": False, "on_trial": False, "paths": []}, {"failed": True, "msg": "no"}])
def test_without_a_trial_nobody_comes(result):
    door = Door([])
    assert entrance.settle(door, result, FILES, "token") == result
    assert door.asked == []


def test_server_that_refuses_for_a_moment_is_asked_again():
    assert "failed" not in settle(Door([Shut("Connection refused"), Shut("Connection refused"), KEPT]))


def test_host_key_that_is_not_known_by_the_other_port_is_looked_up_by_the_new_one():
    door = Door([Shut("Host key verification failed."), KEPT])
    settle(door, port=2222)
    assert [(port, alias) for _, _, port, alias in door.asked] == [(2222, True), (2222, False)]


def test_change_is_taken_back_over_the_connection_that_we_have():
    door = Door([Shut("Connection timed out"), BACK])
    result = settle(door)
    assert (result["failed"], result["changed"]) == (True, False)
    assert door.asked[1:] == [("here", f"{TRIAL} back token", True), ("anew", f"{TRIAL} back token", 0, False)]
    assert result["msg"].splitlines() == [
        "The new settings would lock us out: nothing answers there: a firewall drops what we send.",
        "Tried: a new SSH connection as ada to server.test, port 22, and sudo on it.",
        "It said: Connection timed out",
        "Changed were: /etc/nftables.conf",
        "Look at:",
        "  os_firewall_extra_rules: drop (os.yml:1)",
        "The old settings are in force again, and a new connection with sudo works: nothing was changed.",
    ]


def test_who_has_lost_sudo_wishes_for_the_old_settings():
    door = Door([Shut("sudo: no"), BACK], here=Shut("sudo: no"))
    assert "sudo doesn't let us become root any more" in settle(door)["msg"]
    assert door.asked[2] == ("here", "touch /run/sanso-access/back", False)


def test_who_stays_locked_out_is_told_so_after_the_server_had_its_time(clock):
    said = settle(Door([Shut("timed out")]))["msg"].splitlines()
    assert said[-1] == "The old settings were to return, but: a new connection still fails, timed out"
    assert clock.now >= 60


def test_confirmation_that_comes_too_late_fails():
    assert "the old settings returned before" in settle(Door([BACK]))["msg"]


def test_problem_of_the_return_is_told_once():
    problem = json.dumps({"kept": False, "problems": ["disk full"]})
    said = settle(Door([Shut("timed out"), problem], here=problem))["msg"].splitlines()
    assert said[-1] == "The old settings were to return, but: disk full"


def test_somebodys_keys_are_of_os_admins():
    said = settle(Door([Shut("Permission denied"), BACK]), paths=["/home/ada/.ssh/authorized_keys"])["msg"]
    assert "  os_admins: " in said


def test_what_is_left_to_do_is_told():
    result = settle(Door([KEPT]), paths=["/home/ada/.ssh/authorized_keys"], port=2222)
    assert result["warnings"] == [
        "SSH answers on port 2222 too. Set ansible_port: 2222 (os.yml:1) and run again: then 22 closes."
    ]
    assert result["notice"].endswith("Whether they open the server, only their owners can try.")


@pytest.mark.parametrize("path", [entrance.PROGRAM.split()[1], entrance.WISH])
def test_places_are_those_of_the_trial(path):
    trial = Path(__file__).parents[2] / "playbooks/module_utils/sanso_trial.py"
    assert f'Path("{Path(path).parent}")' in trial.read_text()
