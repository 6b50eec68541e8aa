from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

RUN = "sudo -n /usr/local/sbin/sanso-app run"


@pytest.fixture
def replaced(monkeypatch):
    """The command that this process became."""
    seen = []
    monkeypatch.setattr(os, "execvp", lambda program, words: seen.append(words))
    return seen


@pytest.fixture
def site(hosts):
    """site(app, …): a server with these."""

    def describe(*names, also=()):
        servers = {host: f"192.0.2.{number}" for number, host in enumerate(("web1", *also), 1)}
        apps = [{"name": name} for name in names]
        hosts(**{host: {"groups": ["app"], "ansible_host": ip, "apps": apps} for host, ip in servers.items()})

    describe("faults")
    return describe


def test_command_runs_as_the_only_app(sanso, site, replaced):
    assert sanso("run", "--", "flask", "shell").exit_code == 0
    assert replaced == [["ssh", "192.0.2.1", f"{RUN} faults -- flask shell"]]


def test_words_reach_the_command_as_they_were_typed(sanso, site, replaced):
    sanso("run", "faults", "--", "python", "-c", "print('a b'); $(reboot)", "*", "--release")
    assert replaced[0][-1] == f"""{RUN} faults -- python -c 'print('"'"'a b'"'"'); $(reboot)' '*' --release"""


def test_other_release_may_be_named(sanso, site, replaced):
    sanso("run", "--release", "aaaa", "--", "true")
    assert replaced[0][-1] == f"{RUN} faults --release aaaa -- true"


@pytest.mark.parametrize(("stdin", "stdout", "words"), [(True, True, ["-t"]), (False, True, []), (True, False, [])])
def test_terminal_is_there_where_a_person_has_one(sanso, site, replaced, monkeypatch, stdin, stdout, words):
    from sanso.verbs import run

    def terminal(is_one):
        return SimpleNamespace(isatty=lambda: is_one)

    those = SimpleNamespace(stdin=terminal(stdin), stdout=terminal(stdout))
    monkeypatch.setattr(run, "sys", those)
    sanso("run", "--", "true")
    assert replaced[0] == ["ssh", *words, "192.0.2.1", f"{RUN} faults -- true"]


def test_stdout_is_the_commands_alone(sanso, site, replaced):
    done = sanso("run", "--", "true")
    assert done.stdout == ""
    assert "ssh 192.0.2.1" in done.stderr


@pytest.mark.parametrize("words", [["faults"], []])
def test_command_has_to_be_said(sanso, site, replaced, words):
    assert sanso("run", *words).exit_code == 2
    assert not replaced


@pytest.mark.parametrize("words", [["--"], ["nobody", "--", "true"]])
def test_app_has_to_be_clear(sanso, site, replaced, words):
    site("faults", "shop")
    assert sanso("run", *words, "true").exit_code == 2
    assert not replaced


def test_host_has_to_be_clear(sanso, site, replaced):
    site("faults", also=["web2"])
    done = sanso("run", "--", "true")
    assert done.exit_code == 2
    assert "web1, web2" in done.stderr
    sanso("run", "--host", "web2", "--", "true")
    assert replaced[0][1] == "192.0.2.2"


def test_machine_that_does_not_run_is_an_error_with_the_next_step(sanso, machine, replaced):
    machine(runs=False, apps=[{"name": "faults"}])
    done = sanso("run", "--", "true")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "  next  ./sanso up"
