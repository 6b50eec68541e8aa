"""What the tests of the command line share: a checkout's state in a temporary folder, and fakes of what it runs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from cli_events import ok, play
from click.testing import CliRunner

from sanso import machines, project
from sanso.cli import main

# Notes its words and folder in CALLS, then does what the test says (Python).
FAKE = """#!{python} -IS
import json, os, sys
name = os.path.basename(sys.argv[0])
with open({calls!r}, "a") as calls:
    calls.write(json.dumps({{"name": name, "words": sys.argv[1:], "folder": os.getcwd()}}) + "\\n")
{body}
"""
# What a fake engine reports, what it says, and its exit code.
EVENTS = """
with os.fdopen(int(os.environ["SANSO_EVENTS"]), "w") as out:
    out.write({text!r})
print({said!r})
print({complaint!r}, file=sys.stderr)
sys.exit({code})
"""


class Programs:
    """Fakes of the programs that the command line runs, first on PATH."""

    def __init__(self, folder: Path):
        self.bin, self.calls = folder / "bin", folder / "calls"
        self.bin.mkdir()
        self.calls.touch()

    def fake(self, name: str, body: str = ""):
        path = self.bin / name
        path.write_text(FAKE.format(python=sys.executable, calls=str(self.calls), body=body))
        path.chmod(0o755)

    def fake_playbook(self, *events: dict, code: int = 0, said: str = ""):
        self._fake_engine("ansible-playbook", events, code=code, said=said, complaint="")

    def fake_pyinfra(self, *events: dict, code: int = 0, said: str = "", answer: dict | None = None):
        """It says all on stderr, and answers on stdout."""
        answer = {"plan": [], "results": {"totals": {}}} if answer is None else answer
        self._fake_engine("pyinfra", events, code=code, said=json.dumps(answer) if answer else "", complaint=said)

    def _fake_engine(self, name, events, **words):
        text = "".join(json.dumps(event) + "\n" for event in events)
        self.fake(name, EVENTS.format(text=text, **words))

    def called(self, name: str) -> list[list[str]]:
        calls = [json.loads(line) for line in self.calls.read_text().splitlines()]
        return [call["words"] for call in calls if call["name"] == name]


@pytest.fixture(scope="session", autouse=True)
def venv():
    """The tools of this Python's venv are on PATH, like the launcher puts them there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        yield


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """The logs and the lock of a run, away from the checkout's own."""
    monkeypatch.setattr(project, "STATE", tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "CI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def programs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    found = Programs(tmp_path)
    found.fake("ssh")
    found.fake_playbook(play("OS"), ok())
    return found


@pytest.fixture
def hosts(programs, monkeypatch):
    """Describe the inventory: hosts(name={"groups": […], variable: value, …})."""

    def describe(**described):
        groups = {}
        for name, variables in described.items():
            for group in variables.pop("groups"):
                groups.setdefault(group, {"hosts": []})["hosts"].append(name)
        data = {**groups, "_meta": {"hostvars": described}}
        programs.fake("ansible-inventory", f"print({json.dumps(data)!r})")
        shutil.rmtree(project.STATE / "inventories", ignore_errors=True)  # no file of an inventory has changed

    return describe


@pytest.fixture
def machine(hosts, tmp_path, monkeypatch):
    """One machine on this computer that exists and runs; machine(exists=False, …) for one that doesn't."""

    def describe(exists=True, runs=True, **variables):
        folder = tmp_path / "machines-of-this-computer"
        if exists:
            record = folder / "machines/sanso/machine.json"
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text('{"image": "ubuntu-26.04"}')
        monkeypatch.setattr(machines, "is_running", lambda host: exists and runs)
        monkeypatch.setattr(machines, "can_be_root", lambda: True)
        base = {"ansible_host": "10.77.0.10", "ansible_user": "sanso", "machine_directory": str(folder)}
        hosts(sanso={"groups": ["machines", "web", "app", "db"], **base, **variables})

    return describe


@pytest.fixture
def server(hosts):
    """One server of one's own."""
    hosts(web1={"groups": ["web", "app", "db"], "ansible_host": "192.0.2.1", "ansible_user": "ubuntu"})


@pytest.fixture
def sanso():
    """Run ./sanso with these words; out and err are apart."""

    def run(*words: str):
        return CliRunner().invoke(main, list(words), prog_name="./sanso")

    return run
