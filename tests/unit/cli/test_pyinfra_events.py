"""Events in a real run of pyinfra: what they say is what the command line builds on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

PYINFRA = Path(sys.executable).with_name("pyinfra")
DEPLOY = """
from pyinfra import host, state
from pyinfra.api import OperationError, deploy, operation
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.operations import server

from sanso import pyinfra_events

pyinfra_events.attach(state)
pyinfra_events.attach(state)
mode = host.data.get("mode")


@operation()
def core(diffs=(), notice="", refusal="", error=""):
    pyinfra_events.diff(state, host, list(diffs))
    if notice:
        pyinfra_events.notice(state, host, notice)
    if refusal:
        pyinfra_events.refusal(state, host, refusal)
    if error:
        raise OperationError(error)
    if diffs:
        yield "true"


@deploy("OS")
def layer_os():
    diff = {"before": "old line\\n", "after": "new line\\n", "before_header": "/etc/x", "after_header": "/etc/x"}
    core(name="Files | Write", diffs=[diff], notice="restart it", refusal="it is too old" if mode == "refuse" else "")
    core(name="Files | Look")
    server.shell(name="Shell | Pass over", commands="exit 3", _ignore_errors=True)


@deploy("App")
def layer_app():
    if mode == "fail":
        server.shell(name="Shell | Fail", commands="echo said; echo complained >&2; exit 3")
    elif mode == "silence":
        server.shell(name="Shell | Fail", commands="exit 3")
    elif mode == "time":
        server.shell(name="Shell | Fail", commands="sleep 5", _timeout=1)
    elif mode == "break":
        core(name="Shell | Fail", error="there is none")
    core(name="App | Look")


layer_os()
layer_app()
server.shell(name="Bare", commands="true")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(word…, mode=…) gives all events of a run. It comes before the fakes that tests put on PATH."""
    folder = tmp_path_factory.mktemp("pyinfra")
    (folder / "deploy.py").write_text(DEPLOY)

    @cache
    def run(*words, mode="go", code=0):
        read_end, write_end = os.pipe()
        with os.fdopen(read_end) as reader:
            done = subprocess.run(
                [PYINFRA, "--json", *words, "@local", "deploy.py", "--data", f"mode={mode}"],
                cwd=folder,
                env=os.environ | {"SANSO_EVENTS": str(write_end)},
                pass_fds=[write_end],
                capture_output=True,
                text=True,
                check=False,
            )
            os.close(write_end)
            assert done.returncode == code, done.stdout + done.stderr
            return [json.loads(line) for line in reader]

    return run


@pytest.fixture(scope="module")
def events(run):
    return run("-y")


def results(events):
    return {event["task"]: event for event in events if event["event"] == "result"}


def test_operations_are_reported_as_they_begin_with_their_layer(events):
    begun = [(event["layer"], event["name"]) for event in events if event["event"] == "task"]
    assert begun[0] == ("OS", "Files | Write")
    assert begun[-2:] == [("App", "App | Look"), ("Other operations", "Bare")]


def test_layer_is_done_after_its_last_operation(events):
    order = [event["layer"] for event in events if event["event"] in ("result", "done")]
    assert order == ["Preparation", "OS", "OS", "OS", "OS", "App", "App", "Other operations", "Other operations"]


@pytest.mark.parametrize(
    ("task", "status"),
    [("Files | Write", "changed"), ("Files | Look", "ok"), ("Shell | Pass over", "ignored"), ("Bare", "changed")],
)
def test_result_has_the_status_that_pyinfra_counts(events, task, status):
    assert results(events)[task]["status"] == status


def test_notice_comes_with_its_operation(events):
    assert [event["notice"] for event in results(events).values() if event["notice"]] == ["restart it"]
    assert results(events)["Files | Write"]["notice"] == "restart it"


@pytest.mark.parametrize(
    ("mode", "evidence"),
    [
        ("fail", [{"stdout": "said", "stderr": "complained"}]),
        ("silence", [{"msg": "it failed without a word: exit 3"}]),
        ("time", [{"msg": "Command timed out after 1s"}]),
        ("break", []),  # the exception ends pyinfra itself, which says why at its end
    ],
)
def test_failure_comes_with_what_the_operation_said(run, mode, evidence):
    found = results(run("-y", mode=mode, code=1))
    assert (found["Shell | Fail"]["status"], found["Shell | Fail"]["evidence"]) == ("failed", evidence)
    assert "App | Look" not in found


def test_all_layers_are_done_when_no_host_is_left(run):
    ended = [event["layer"] for event in run("-y", mode="fail", code=1) if event["event"] == "done"]
    assert ended == ["Preparation", "OS", "App", "Other operations"]


def test_host_after_host_reports_the_same_results(run, events):
    assert results(run("-y", "--serial")) == results(events)  # pyinfra calls other callbacks then


def test_diffs_are_for_plans_only(events):
    assert [event for event in events if event["event"] == "diff"] == []


# A plan


def test_plan_tells_diffs_as_ansible_writes_them_and_no_result(run):
    (event,) = run("--dry")
    assert (event["event"], event["layer"], event["host"], event["task"]) == ("diff", "OS", "@local", "Files | Write")
    assert event["diff"] == "--- before: /etc/x\n+++ after: /etc/x\n@@ -1 +1 @@\n-old line\n+new line"


def test_plan_tells_what_an_operation_refuses(run):
    refused = results(run("--dry", mode="refuse"))["Files | Write"]
    assert (refused["status"], refused["evidence"]) == ("failed", [{"msg": "it is too old"}])


# Connecting


@pytest.fixture
def handler(tmp_path):
    """The handler by itself, and what it wrote."""
    from sanso.pyinfra_events import Events  # only then: pyinfra takes longer to load than most tests run

    out = tmp_path / "events"
    handler = Events(os.open(out, os.O_CREAT | os.O_WRONLY))
    yield handler, lambda: [json.loads(line) for line in out.read_text().splitlines()]
    handler.close()


def test_host_that_can_not_be_reached_is_reported_with_the_reason(handler):
    report, written = handler
    host = SimpleNamespace(name="web1")
    report.host_before_connect(None, host)
    report.host_connect_error(None, host, RuntimeError("no SSH server answers"))
    begun, result = written()
    assert (begun["layer"], begun["name"]) == ("Preparation", "connect to web1")
    assert (result["status"], result["layer"], result["host"]) == ("unreachable", "Preparation", "web1")
    assert result["evidence"] == [{"msg": "no SSH server answers"}]


def test_nothing_is_attached_where_nobody_listens(monkeypatch):
    from sanso import pyinfra_events

    monkeypatch.delenv("SANSO_EVENTS", raising=False)
    state = SimpleNamespace(callback_handlers=[], add_callback_handler=pytest.fail)
    pyinfra_events.attach(state)
