"""What all verbs have in common: help, errors, logs, what is asked of a terminal."""

from __future__ import annotations

import os
import tomllib

import pytest

from sanso import console, project
from sanso.cli import main
from sanso.verbs.lab import lab

VERBS = [
    "init",
    "up",
    "deploy",
    "rollback",
    "releases",
    "run",
    "status",
    "check",
    "doctor",
    "audit",
    "trace",
    "logs",
    "ssh",
]
VERBS += ["down", "test", "lab"]


def test_verbs_are_listed_as_people_meet_them(sanso):
    listed = sanso("--help").stdout.partition("Commands:")[2].split("\n")
    assert [line.split()[0] for line in listed if line.strip()] == VERBS


@pytest.mark.parametrize("command", [*main.commands.values(), *lab.commands.values()], ids=lambda each: each.name)
def test_help_is_whole_on_one_line(command):
    assert command.get_short_help_str(limit=60)[-3:] != "..."


def test_version_is_that_of_the_project(sanso):
    wanted = tomllib.loads((project.ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert sanso("--version").stdout == f"sanso {wanted}\n"


@pytest.mark.parametrize("words", [["fly"], ["up", "--fast"], ["status", "-i", "nowhere"]])
def test_wrong_words_are_a_usage_error(sanso, server, words):
    assert sanso(*words).exit_code == 2


def test_inventory_is_found_from_the_checkout_too(sanso, server, programs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sanso("status", "-i", "inventory/local")
    assert programs.called("ansible-inventory") == [["--list"]]


@pytest.fixture
def broken(sanso, server, monkeypatch):
    """A run that ends in an error of our own."""

    def fail(path):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("sanso.inventory.read", fail)
    return sanso("status")


def test_unexpected_error_is_one_sentence(broken):
    assert broken.exit_code == 1
    assert "✗ unexpected: division by zero" in broken.stderr
    assert "Traceback" not in broken.output


def test_traceback_of_an_unexpected_error_is_in_the_log(broken, state):
    (log,) = (state / "logs").glob("error-*.log")
    assert "ZeroDivisionError" in log.read_text()


def test_interruption_is_a_failure_with_a_next_step(sanso, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("sanso.inventory.read", interrupt)
    done = sanso("status")
    assert done.exit_code == 1
    assert "interrupted" in done.stderr


def test_newest_logs_are_kept_and_no_more(state):
    (state / "logs").mkdir(parents=True)
    for number in range(30):
        log = state / f"logs/up-20200101T0000{number:02}Z.log"
        log.touch()
        os.utime(log, (number, number))
    left = state / "logs/up-20200101T000000Z.log.a-step"  # by a run that was killed
    left.touch()
    os.utime(left, (0, 0))
    (state / "logs/setup.log").touch()
    new = project.new_log("up")
    kept = sorted(state.glob("logs/*-*Z.log"))
    assert len(kept) == project.LOGS_KEPT
    assert new in kept
    assert state / "logs/up-20200101T000029Z.log" in kept
    assert (state / "logs/setup.log").exists()
    assert not list(state.glob("logs/*.a-step"))


def test_logs_of_one_verb_do_not_push_those_of_another_away(state):
    long = project.new_log("test")
    part = long.with_name(f"{long.name}.molecule-one")
    part.write_text("half")
    for number in range(2 * project.LOGS_KEPT):
        (long.parent / f"lab-20260101T0000{number:02}Z.log").touch()
    project.new_log("lab")
    assert long.exists()
    assert part.exists()
    assert len(list(long.parent.glob("lab-*"))) == project.LOGS_KEPT


def test_log_of_a_long_run_stays_while_other_verbs_come_and_go(state):
    logs = state / "logs"
    logs.mkdir(parents=True)
    for number in range(30):
        log = logs / f"drift-20200101T0000{number:02}Z.log"
        log.touch()
        os.utime(log, (number + 100, number + 100))
    tests = logs / "test-20200101T000000Z.log"
    for path in (tests, logs / f"{tests.name}.molecule-default"):
        path.touch()
    os.utime(tests, (1, 1))  # the part is written to just now
    project.new_log("drift")
    assert len(list(logs.glob(f"{tests.name}*"))) == 2


@pytest.mark.parametrize(
    ("number", "words"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (119, "119 s"), (125, "2 min")]
)
def test_durations_are_short(number, words):
    assert console.seconds(number) == words


@pytest.mark.parametrize(
    ("env", "live", "expected"),
    [
        ({"DISPLAY": ":0"}, True, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True, True),
        ({}, True, False),
        ({"DISPLAY": ":0"}, False, False),
        ({"DISPLAY": ":0", "CI": "true"}, True, False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "192.0.2.1 22"}, True, False),
    ],
)
def test_desktop_is_one_that_the_person_sits_at(monkeypatch, env, live, expected):
    for name in ("SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(console, "is_live", lambda: live)
    assert console.has_desktop() is expected
