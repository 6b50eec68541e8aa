from __future__ import annotations

import json
import os
import re
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
@pytest.mark.parametrize("scenarios", [["default"], ["default", "pyinfra"]], ids=len)
def test_signal_ends_every_step_and_removes_its_machines(tools, tmp_path, state, number, scenarios):
    """With the real program, in a process of its own: molecule waits to be ended, and its child with it."""
    for scenario in scenarios:
        os.mkfifo(tmp_path / f"started-{scenario}")
    tools.fake(
        "molecule",
        f"""
if sys.argv[1] == "test":
    import subprocess
    print("what it said until then", flush=True)
    child = subprocess.Popen(["sleep", "600"])
    open({str(tmp_path / "started-")!r} + sys.argv[-1], "w").write(str(child.pid))
    child.wait()
""",
    )
    tools.fake("sudo")  # for who isn't root
    program = f"import pathlib, runpy, sanso.project as p; p.STATE = pathlib.Path({str(state)!r}); "
    # Who runs the tests with nohup has it ignored.
    program += "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "runpy.run_module('sanso', run_name='__main__')"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", program, "test", "--jobs", "2", *scenarios],
        env={**os.environ, "PYTHONPATH": str(project.ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    children = [int((tmp_path / f"started-{scenario}").read_text()) for scenario in scenarios]
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert sorted(tools.called("molecule")[len(scenarios) :]) == [["destroy", "-s", name] for name in scenarios]
    assert [name for name in scenarios if f"The machines of {name} are gone" not in out] == []
    assert [child for child in children if is_alive(child)] == []
    (log,) = (state / "logs").iterdir()
    assert log.read_text().count("what it said until then") == len(scenarios)


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


# Several steps at once

# Ends when the other scenario has begun, too: by then they have run at once.
MEETING = (
    MOLECULE
    + """
import time
folder, me = {folder!r}, sys.argv[-1]
open(f"{{folder}}/{{me}}.begun", "w").write(os.environ["SANSO_JUNIT_DIR"])
other = {{"default": "cluster", "cluster": "default"}}[me]
deadline = time.monotonic() + 20
while not os.path.exists(f"{{folder}}/{{other}}.begun"):
    if time.monotonic() > deadline:
        sys.exit(1)
    time.sleep(0.01)
"""
)
# Fails where another one runs. What is there yet when it begins was there when this one was started.
ALONE = """
folder = {folder!r}
if os.listdir(folder):
    sys.exit("something else runs")
open(folder + "/runs", "w").close()
{body}
import time; time.sleep(0.3)  # in which another one would begin
os.unlink(folder + "/runs")
"""


@pytest.fixture
def meeting(tools, tmp_path):
    """Two scenarios that pass only if they run at once; the folder where they meet."""
    (tmp_path / "meeting").mkdir()
    tools.fake("molecule", MEETING.format(folder=str(tmp_path / "meeting")))
    return tmp_path / "meeting"


def test_scenarios_run_at_once_and_each_has_its_own_results(sanso, meeting):
    done = sanso("test", "--json", "--jobs", "2", "molecule")
    assert json.loads(done.stdout)["steps"] == [
        {"step": f"molecule {name}", "passed": 3, "failed": 0, "skipped": 0} for name in ("default", "cluster")
    ]
    default, cluster = ((meeting / f"{name}.begun").read_text() for name in ("default", "cluster"))
    assert default != cluster


def test_one_job_runs_one_step_at_a_time(sanso, tools, tmp_path):
    (tmp_path / "alone").mkdir()
    tools.fake("molecule", ALONE.format(folder=str(tmp_path / "alone"), body=MOLECULE))
    assert last_line(sanso("test", "--jobs", "1", "molecule")) == "sanso: 6 passed, 0 failed"


def test_what_a_step_says_stays_together_in_the_log(sanso, tools, tmp_path, state):
    """Each waits for the other between its lines."""
    for name in ("default", "cluster"):
        os.mkfifo(tmp_path / name)
    tools.fake(
        "molecule",
        f"""
me, folder = sys.argv[-1], {str(tmp_path)!r}
other = {{"default": "cluster", "cluster": "default"}}[me]
for number in range(3):
    print(f"line {{number}} of {{me}}", flush=True)
    if me == "default":
        open(f"{{folder}}/{{other}}", "w").close()
        open(f"{{folder}}/{{me}}").close()
    else:
        open(f"{{folder}}/{{me}}").close()
        open(f"{{folder}}/{{other}}", "w").close()
""",
    )
    assert sanso("test", "--jobs", "2", "molecule").exit_code == 0
    (log,) = (state / "logs").iterdir()
    for name in ("default", "cluster"):
        said = "".join(f"line {number} of {name}\n" for number in range(3))
        assert f"$ molecule test -s {name}\n{said}" in log.read_text()


def test_lines_say_whose_they_are_where_several_run(sanso, meeting):
    out = sanso("test", "--jobs", "2", "molecule").stdout
    assert "\n  molecule default: converge\n" in out
    assert "\n  molecule cluster: converge\n" in out


def test_verbose_lines_say_whose_they_are_where_several_run(sanso, meeting):
    out = sanso("test", "--jobs", "2", "-v", "molecule").stdout
    assert "\nmolecule cluster: INFO     [default > converge] Executing\n" in out


def test_long_step_says_that_it_lives_and_which_it_is(sanso, meeting, monkeypatch):
    monkeypatch.setattr(verb, "HEARTBEAT", 0)
    assert re.search(r"\n  … molecule default: [\d.]+ s: ", sanso("test", "--jobs", "2", "molecule").stdout)


def test_failing_step_shows_what_it_said_as_a_whole(sanso, tools):
    tools.fake("yamllint", "print('one'); print('two'); sys.exit(1)")
    tools.fake("shellcheck", "print('three'); print('four'); sys.exit(1)")
    out = sanso("test", "--jobs", "3", "lint").stdout
    assert "\none\ntwo\n✗ yamllint" in out
    assert "\nthree\nfour\n✗ shellcheck" in out


def test_several_at_once_begin_with_what_is_quick_then_with_what_is_long(tools, monkeypatch):
    monkeypatch.setattr(verb, "ORDER", ("cluster", "default", "unit"))
    begun = [step.scenario or step.part for step in sorted(verb.steps(), key=verb.turn)]
    assert begun[0] == "lint"
    assert begun[-3:] == ["cluster", "default", "unit"]


def test_what_begins_in_an_order_is_there():
    there = {file.parent.name for file in (project.ROOT / "molecule").glob("*/molecule.yml")}
    assert set(verb.ORDER) == there | {"unit"}


@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_impossible_number_of_jobs_is_refused(sanso, tools, jobs):
    assert sanso("test", "--jobs", jobs, "lint").exit_code == 2
    assert not tools.calls.read_text()


@pytest.mark.parametrize(
    ("cores", "gib", "lanes"), [(1, 64, 2), (2, 24, 3), (2, 5, 1), (8, 64, 3), (8, 7, 2), (2, 1, 1), (None, 24, 2)]
)
def test_lanes_are_as_many_as_cores_and_memory_allow(tmp_path, monkeypatch, cores, gib, lanes):
    memory = tmp_path / "meminfo"
    memory.write_text(f"MemTotal:       99999999 kB\nMemAvailable:   {gib * 1024**2} kB\n")
    monkeypatch.setattr(verb, "MEMORY", memory)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert verb.lanes_here() == lanes


def test_computer_that_does_not_tell_its_memory_has_lanes_by_its_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(verb, "MEMORY", tmp_path / "none")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert verb.lanes_here() == 2


def test_counts_add_up():
    total = junit.Count(1, 2, 3, 1, ["a"]) + junit.Count(1, 0, 0, 0, ["b"])
    assert total == junit.Count(2, 2, 3, 1, ["a", "b"])
