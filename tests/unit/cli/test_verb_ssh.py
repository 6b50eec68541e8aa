from __future__ import annotations

import os

import pytest


@pytest.fixture
def replaced(monkeypatch):
    """The command that this process became."""
    seen = []
    monkeypatch.setattr(os, "execvp", lambda program, words: seen.append(words))
    return seen


def test_only_host_needs_no_name(sanso, server, replaced):
    assert sanso("ssh").exit_code == 0
    assert replaced == [["ssh", "ubuntu@192.0.2.1"]]


def test_options_of_the_inventory_are_used(sanso, hosts, replaced, home):
    hosts(
        a={
            "groups": ["web"],
            "ansible_host": "192.0.2.1",
            "ansible_port": 2222,
            "ansible_ssh_private_key_file": "~/key",
            "ansible_ssh_common_args": "-o UserKnownHostsFile=/hosts/{{ inventory_hostname }}",
        }
    )
    sanso("ssh")
    options = ["-o", "UserKnownHostsFile=/hosts/a", "-i", f"{home}/key", "-p", "2222"]
    assert replaced == [["ssh", *options, "192.0.2.1"]]


def test_command_follows_two_dashes(sanso, server, replaced):
    sanso("ssh", "web1", "--", "tail", "-f", "log")
    assert replaced == [["ssh", "ubuntu@192.0.2.1", "tail", "-f", "log"]]


@pytest.mark.parametrize("words", [[], ["nobody"]])
def test_host_that_is_not_clear_is_a_usage_error_with_those_there_are(sanso, hosts, replaced, words):
    hosts(a={"groups": ["web"]}, b={"groups": ["web"]})
    done = sanso("ssh", *words)
    assert done.exit_code == 2
    assert "a, b" in done.stderr
    assert not replaced


def test_machine_that_does_not_run_is_an_error_with_the_next_step(sanso, machine, replaced):
    machine(runs=False)
    done = sanso("ssh")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "  next  ./sanso up"
    assert not replaced
