from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_pytest import PYTEST

from sanso import junit, project
from sanso.verbs import test as verb

CASES = {
    "passed": "<testcase/>",
    "failed": "<testcase><failure/></testcase>",
    "skipped": "<testcase><skipped/></testcase>",
}
MOLECULE = """
with open(os.environ["SANSO_JUNIT_DIR"] + "/verify.xml", "w") as out:
    out.write("<testsuite><testcase/><testcase/></testsuite>")
print("INFO     [default > converge] Executing")
"""
LINTERS = ["ruff", "shellcheck", "yamllint", "ansible-lint"]


@pytest.fixture
def tools(programs, tmp_path, monkeypatch):
    """All tools as fakes that pass, and two molecule scenarios; tools.pytest(cases, code) sets what pytest finds."""
    for name in LINTERS:
        programs.fake(name)
    programs.fake("molecule", MOLECULE)
    monkeypatch.setattr(verb, "MOLECULE", tmp_path / "molecule")
    monkeypatch.setattr("sanso.machines.can_be_root", lambda: True)
    for scenario in ("cluster", "default"):
        (verb.MOLECULE / scenario).mkdir(parents=True)
        (verb.MOLECULE / scenario / "molecule.yml").touch()

    def pytest_finds(*kinds, code=0):
        programs.fake("pytest", PYTEST.format(cases="".join(CASES[kind] for kind in kinds), code=code))

    programs.pytest_finds = pytest_finds
    pytest_finds("passed")
    return programs


def last_line(done):
    return done.stdout.splitlines()[-1]


def test_everything_is_proved_and_counted(sanso, tools):
    done = sanso("test")
    assert done.exit_code == 0
    # 5 linters, 1 unit test, the sample app, the tracing package, and each of 2 scenarios with 2 tests of its own
    assert last_line(done) == "sanso: 14 passed, 0 failed"


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["lint"], ["ruff check", "ruff format", "shellcheck", "yamllint", "ansible-lint"]),
        (["unit"], ["unit tests"]),
        (["sample"], ["sample app"]),
        (["tracing"], ["tracing package"]),
        (["molecule"], ["molecule default", "molecule cluster"]),
        (["cluster"], ["molecule cluster"]),
        (["unit", "default"], ["unit tests", "molecule default"]),
    ],
)
def test_parts_can_be_chosen(sanso, tools, words, steps):
    done = sanso("test", "--json", *words)
    assert [step["step"] for step in json.loads(done.stdout)["steps"]] == steps


def test_unknown_part_names_those_there_are(sanso, tools):
    done = sanso("test", "integration")
    assert done.exit_code == 2
    assert "lint, unit, sample, tracing, molecule, default, cluster" in done.stderr


@pytest.mark.parametrize(("part", "folder"), [("sample", "sample_app"), ("tracing", "tracing")])
def test_project_beside_this_one_is_tested_in_its_own_folder(sanso, tools, part, folder):
    sanso("test", part)
    calls = [json.loads(line) for line in tools.calls.read_text().splitlines()]
    assert [call["folder"] for call in calls] == [str(project.ROOT / folder)]


def test_failing_step_does_not_end_the_run(sanso, tools):
    tools.fake("yamllint", "sys.exit(1)")
    done = sanso("test", "lint")
    assert done.exit_code == 1
    assert tools.called("ansible-lint")
    assert last_line(done) == "sanso: 4 passed, 1 failed"


def test_failing_step_shows_what_it_said(sanso, tools):
    tools.fake("yamllint", "print('site.yml:1:1 wrong indentation'); sys.exit(1)")
    assert "site.yml:1:1 wrong indentation" in sanso("test", "lint").stdout


def test_passing_step_is_silent_but_in_the_log(sanso, tools, state):
    done = sanso("test", "unit")
    assert "what pytest says" not in done.output
    (log,) = (state / "logs").glob("test-*.log")
    assert "what pytest says" in log.read_text()


def test_verbose_streams_every_step(sanso, tools):
    assert "what pytest says" in sanso("test", "-v", "unit").stdout


def test_stages_of_molecule_are_shown_in_a_log(sanso, tools):
    assert "\n  converge\n" in sanso("test", "default").stdout


def test_failed_and_skipped_tests_are_counted(sanso, tools):
    tools.pytest_finds("passed", "failed", "skipped", code=1)
    done = sanso("test", "unit")
    assert done.exit_code == 1
    assert last_line(done) == "sanso: 1 passed, 1 failed, 1 skipped"


def test_pytest_that_breaks_off_counts_as_failed(sanso, tools):
    tools.fake("pytest", "sys.exit(3)")
    assert last_line(sanso("test", "unit")) == "sanso: 0 passed, 1 failed"


def test_run_without_a_test_counts_as_failed(sanso, tools):
    tools.pytest_finds(code=0)
    assert last_line(sanso("test", "unit")) == "sanso: 0 passed, 1 failed"


def test_failed_scenario_counts_beside_its_own_tests(sanso, tools):
    tools.fake("molecule", MOLECULE + "sys.exit(1)")
    assert last_line(sanso("test", "default")) == "sanso: 2 passed, 1 failed"


def test_missing_tool_counts_as_failed(sanso, tools, monkeypatch):
    monkeypatch.setenv("PATH", str(tools.bin))
    (tools.bin / "yamllint").unlink()
    done = sanso("test", "lint")
    assert last_line(done) == "sanso: 4 passed, 1 failed"
    assert "yamllint isn't installed" in done.stdout


@pytest.mark.parametrize("lacking", ["root", "Linux"])
def test_scenario_that_can_not_run_counts_as_failed(sanso, tools, monkeypatch, lacking):
    if lacking == "root":
        monkeypatch.setattr("sanso.machines.can_be_root", lambda: False)
    else:
        monkeypatch.setattr(sys, "platform", "darwin")
    done = sanso("test", "default")
    assert last_line(done) == "sanso: 0 passed, 1 failed"
    assert lacking in done.stdout
    assert not tools.called("molecule")


def test_closing_line_stays_on_stdout_with_json(sanso, tools):
    done = sanso("test", "--json", "unit")
    assert json.loads(done.stdout)["passed"] == 1
    assert "sanso: 1 passed, 0 failed" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_step_and_removes_its_machines(tools, tmp_path, state, number):
    """With the real program, in a process of its own: molecule waits to be ended, and its child with it."""
    started = tmp_path / "started"
    os.mkfifo(started)
    tools.fake(
        "molecule",
        f"""
if sys.argv[1] == "test":
    import subprocess
    child = subprocess.Popen(["sleep", "600"])
    open({str(started)!r}, "w").write(str(child.pid))
    child.wait()
""",
    )
    tools.fake("sudo")  # for who isn't root
    program = f"import pathlib, runpy, sanso.project as p; p.STATE = pathlib.Path({str(state)!r}); "
    program += "runpy.run_module('sanso', run_name='__main__')"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", program, "test", "default"],
        env={**os.environ, "PYTHONPATH": str(project.ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    child = int(started.read_text())
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert tools.called("molecule")[-1] == ["destroy", "-s", "default"]
    assert "The machines of default are gone" in out
    assert not is_alive(child)


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_counts_add_up():
    total = junit.Count(1, 2, 3, 1, ["a"]) + junit.Count(1, 0, 0, 0, ["b"])
    assert total == junit.Count(2, 2, 3, 1, ["a", "b"])
