from __future__ import annotations

import json
import textwrap

import pytest
from fake_pytest import PYTEST

from sanso import junit, project
from sanso.verbs import check

PASSED = '<testcase classname="tests.tiers.test_web" name="test_a"/>'
FAILED = '<testcase classname="tests.tiers.test_web" name="test_b"><failure/></testcase>'
ERROR = '<testcase classname="tests.tiers.test_web" name="test_c"><error/></testcase>'


@pytest.fixture
def tests(machine, programs, tmp_path, monkeypatch):
    """A machine that can be checked: tests(cases, code) sets what pytest finds out."""
    machine()
    monkeypatch.setattr(check, "TESTS", tmp_path / "tiers")
    check.TESTS.mkdir()
    for tier in ("web", "db"):
        (check.TESTS / f"test_{tier}.py").touch()

    def find(cases=PASSED, code=0):
        programs.fake("pytest", textwrap.dedent(PYTEST).format(cases=cases, code=code))

    find()
    return find


def test_tests_of_every_tier_run_against_the_inventory(sanso, tests, programs):
    assert sanso("check").exit_code == 0
    (words,) = programs.called("pytest")
    assert words[:3] == [str(check.TESTS), "--inventory", "inventory/local"]


def test_command_is_shown_as_a_person_can_type_it(sanso, tests, monkeypatch):
    monkeypatch.chdir(project.ROOT)
    assert sanso("check").stdout.splitlines()[0] == f"$ pytest {check.TESTS} --inventory inventory/local"


def test_one_tier_is_one_file(sanso, tests, programs):
    sanso("check", "--tier", "db")
    assert programs.called("pytest")[0][0] == str(check.TESTS / "test_db.py")


def test_unknown_tier_names_those_there_are(sanso, tests):
    done = sanso("check", "--tier", "cache")
    assert done.exit_code == 2
    assert "db, web" in done.stderr


def test_words_after_two_dashes_reach_pytest(sanso, tests, programs):
    sanso("check", "--", "-k", "tls")
    assert programs.called("pytest")[0][3:5] == ["-k", "tls"]


@pytest.mark.parametrize(
    ("cases", "code", "exit_code"),
    [
        pytest.param(PASSED, 0, 0, id="all pass"),
        pytest.param(PASSED + FAILED, 1, 1, id="one fails"),
        pytest.param(FAILED + ERROR, 1, 1, id="one fails, one could not run"),
        pytest.param(PASSED + ERROR, 1, 3, id="one could not run"),
        pytest.param("", 0, 3, id="no test ran"),
        pytest.param("", 2, 3, id="interrupted"),
        pytest.param("", 3, 3, id="internal error"),
        pytest.param("", 4, 3, id="usage"),
        pytest.param("", 5, 3, id="no tests"),
    ],
)
def test_exit_code_tells_wrong_from_not_checked(sanso, tests, cases, code, exit_code):
    tests(cases, code)
    assert sanso("check").exit_code == exit_code


def test_unreachable_host_is_told_before_any_test(sanso, tests, programs):
    programs.fake("ssh", "sys.exit(255)")
    done = sanso("check")
    assert done.exit_code == 3
    assert "10.77.0.10" in done.stderr
    assert not programs.called("pytest")


def test_missing_machine_is_told_before_any_test(sanso, tests, machine, monkeypatch):
    monkeypatch.setattr("sanso.machines.record", lambda host: {})
    done = sanso("check")
    assert done.exit_code == 3
    assert done.stderr.splitlines() == ["✗ the machine sanso doesn't exist", "  next  ./sanso up"]


def test_last_line_counts(sanso, tests):
    tests(PASSED + FAILED, 1)
    assert sanso("check").stdout.splitlines()[-1] == "✗ 1 passed, 1 failed  next  ./sanso status"


def test_json_counts_and_names_failures(sanso, tests):
    tests(PASSED + FAILED, 1)
    data = json.loads(sanso("check", "--json").stdout)
    assert (data["passed"], data["failed"], data["exit"]) == (1, 1, 1)
    assert data["failures"] == ["tests.tiers.test_web::test_b"]


def test_words_of_pytest_stay_out_of_the_json(sanso, tests, capfd):
    sanso("check", "--json")
    seen = capfd.readouterr()
    assert "what pytest says" not in seen.out
    assert "what pytest says" in seen.err


def test_half_written_report_counts_as_a_failure(tmp_path):
    (tmp_path / "a.xml").write_text("<testsuites><testsuite><testcase")
    assert junit.read(tmp_path).failed == 1
