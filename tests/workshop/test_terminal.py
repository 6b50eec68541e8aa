"""One exercise, played through a terminal as a learner would; and what a learner does to the machine beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import uuid

import pytest

from sanso.project import ROOT

LATEST = 120  # s, that anything which is typed may take


class Terminal:
    """A tmux of our own: no other session is seen, or touched."""

    def __init__(self, environment: dict[str, str]):
        self.tmux = ("tmux", "-L", f"sanso-{uuid.uuid4().hex[:8]}", "-f", "/dev/null")
        settings = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
        self.call("new-session", "-d", "-x", "160", "-y", "50", *settings, "sh")

    def call(self, *words: str) -> str:
        return subprocess.run([*self.tmux, *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    def type(self, command: str) -> tuple[int, str]:
        """The exit code of a command that was typed, and all that stood on the screen since."""
        mark = uuid.uuid4().hex[:8]
        self.call("clear-history")
        self.call("send-keys", "-l", f"clear; {command}; echo ended-{mark} $?")
        self.call("send-keys", "Enter")
        until = time.monotonic() + LATEST
        while not (ended := re.search(rf"(?m)^ended-{mark} (\d+)$", screen := self.screen())):
            assert time.monotonic() < until, screen
            time.sleep(0.2)
        return int(ended[1]), screen[: ended.start()]

    def screen(self) -> str:
        return self.call("capture-pane", "-p", "-J", "-S", "-")

    def close(self):
        self.call("kill-server")


@pytest.fixture
def terminal(desk):
    """A learner's terminal, in which ./sanso is this checkout's; without the launcher, which has its own tests."""
    assert shutil.which("tmux"), "tmux is needed; ./sanso test installs it"
    desk.place.begin("terminal")
    desk.stages.ensure()  # which takes longer than anything that is typed
    place = f"{desk.place.machine}@{desk.place.address}"
    own = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "SANSO_LAB": place}
    terminal = Terminal({**own, "TERM": "screen", "LANG": "C.UTF-8", "PS1": "$ "})
    yield terminal
    terminal.close()


def test_learner_sees_locates_and_mends_a_502(desk, terminal):
    lab = f"{sys.executable} -P -m sanso lab"
    code, said = terminal.type(f"{lab} start 6a")
    assert code == 0, said
    assert "Four 502s: the first" in said
    code, said = terminal.type(f"{lab} check")
    assert code == 1, said
    assert "not met: A request for / goes through" in said
    assert "(13: Permission denied)" in said
    assert "Hint 1 of 3" in terminal.type(f"{lab} hint")[1]
    code, said = terminal.type(f"{lab} answer tier=app cause=permission")
    assert code == 0, said
    assert "All answers are right" in said
    key, known = "~/.local/share/sanso/id_ed25519", f"/var/lib/sanso/machines/{desk.place.machine}/known_hosts"
    ssh = f"ssh -q -i {key} -o UserKnownHostsFile={known} sanso@{desk.place.address}"
    assert terminal.type(f"{ssh} sudo chmod 777 /run/app-faults/current.sock")[0] == 0
    code, said = terminal.type(f"{lab} check")
    assert (code, "mode 777 is not an answer" in said) == (1, True), said
    assert terminal.type(f"{ssh} sudo chmod 660 /run/app-faults/current.sock")[0] == 0
    code, said = terminal.type(f"{lab} check --lasting")
    assert code == 0, said
    assert "It lasts" in said
    code, said = terminal.type(f"{lab} list")
    assert re.search(r"6a +Four 502s: the first .*durable", said), said
    assert terminal.type(f"{lab} report 6a")[0] == 0
    assert "Permission denied" in (desk.place.root / "report-6a.html").read_text()


def test_machine_that_died_is_no_verdict_and_comes_back(desk, terminal):
    lab = f"{sys.executable} -P -m sanso lab"
    assert terminal.type(f"{lab} start 6a")[0] == 0
    desk.stages.machine("absent")
    code, said = terminal.type(f"{lab} check")
    assert code == 3, said
    assert "not met" not in said
    assert "./sanso lab reset" in said
    assert terminal.type(f"{lab} reset")[0] == 0
    assert terminal.type(f"{lab} check")[0] == 1
