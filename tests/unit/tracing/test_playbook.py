"""playbooks/trace.yml does with Ansible alone what ./sanso trace does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from traced_server import NAME, SECRET

ROOT = Path(__file__).parents[3]


@pytest.fixture
def play(traced, tmp_path):
    """play(variable=value, …) runs it against the traced server on this computer."""
    apps = [{"name": "faults", "server_names": [NAME]}]
    variables = {"ansible_host": "127.0.0.1", "apps": apps, "nginx_local_ca_directory": str(traced.ca.parent)}
    inventory = {"web": {"hosts": {"one": variables}}}
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec {sys.executable} -IS "{traced.tool}" "{traced.folder}"\n')
    ssh.chmod(0o755)
    path = os.pathsep.join([str(ssh.parent), str(Path(sys.executable).parent), os.environ["PATH"]])

    def play(**given):
        command = ["ansible-playbook", "-i", tmp_path / "hosts.json", "playbooks/trace.yml", "-e", json.dumps(given)]
        environment = {**os.environ, "PATH": path, "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    return play


def test_picture_and_verdict_are_shown_and_the_files_written(play, traced, tmp_path):
    done = play(url=traced.url("/x"), html=str(tmp_path / "trace.html"), otlp=str(tmp_path / "trace.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"GET {traced.url('/x')} → 200  trace " in done.stdout
    assert "all 13 proofs hold" in done.stdout
    assert "</html>" in (tmp_path / "trace.html").read_text()
    assert json.loads((tmp_path / "trace.json").read_text())["resourceSpans"]


def test_what_is_sent_is_what_was_asked_for(play, traced):
    play(url=traced.url(), data="a=1", headers={"X-A": "b"})
    ((method, path, headers, body),) = traced.received
    assert (method, path, headers["X-A"], body) == ("POST", "/", "b", b"a=1")


def test_secret_is_nowhere_to_be_read(play, traced):
    done = play(url=traced.url())
    assert traced.received[0][2]["X-Sanso-Trace"] == SECRET
    assert SECRET not in done.stdout + done.stderr


def test_failed_proof_fails_the_play(play, traced):
    traced.edit = lambda seen: seen.update(mysql_tcp=True)
    done = play(url=traced.url())
    assert (done.returncode, "✗ No TCP between the tiers" in done.stdout) == (2, True), done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "https://elsewhere.test/"}, "elsewhere.test is no name that is served; faults.test is"),
        ({"url": "/", "app": "other"}, "the inventory has no app other, but faults"),
        ({"url": "/", "headers": {"X A": "b"}}, "isn't the name of a header"),
    ],
    ids=["unknown name", "unknown app", "a header that is none"],
)
def test_what_can_not_be_asked_is_said(play, traced, given, said):
    done = play(**given)
    assert (done.returncode, said in done.stdout) == (2, True), done.stdout
    assert traced.received == []
