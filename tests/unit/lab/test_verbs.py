"""./sanso lab as a learner types it, on a machine that does as it is told."""

import json
import shutil

import pytest

from sanso import project
from sanso.console import COULD_NOT_CHECK, Failure
from sanso.lab import goals, lasting
from sanso.lab.goals import MET, NOT_MET, UNKNOWN, Goal
from sanso.lab.progress import Progress
from sanso.lab.stages import Stages

PAGE = {state: Goal("page", state, "an answer", "none at all") for state in (MET, NOT_MET, UNKNOWN)}


@pytest.fixture
def progress(checkout):
    return lambda: Progress.read(checkout / "lab/progress.json")


@pytest.fixture
def judged(monkeypatch):
    """judged(state, …) is what the goals and, where it is asked, the two that last come to from now on."""

    def judged(state, *lasts):
        monkeypatch.setattr(goals, "check", lambda *_, **__: [PAGE[state]])
        keys = (lasting.KEPT, lasting.RESTARTED)
        told = [Goal(key, each) for key, each in zip(keys, lasts, strict=False)]
        monkeypatch.setattr(lasting, "judge", lambda *_: told)

    return judged


@pytest.fixture
def started(sanso):
    assert sanso("lab", "start", "6").exit_code == 0
    return sanso


def test_start_says_what_is_known_and_how_to_go_on(sanso, machine):
    result = sanso("lab", "start", "6a")
    assert result.exit_code == 0, result.output
    for words in ("A title", "13: Permission denied", "The page comes.", "tier=web", "./sanso lab check"):
        assert words in result.output
    assert machine == ["ensure", ("start", "6a", [])]


def test_start_waits_for_nobody_but_the_lab_itself(sanso):
    with project.alone("up"):
        assert sanso("lab", "start", "6a").exit_code == 0
    with project.alone("lab check", "lab"):
        result = sanso("lab", "start", "6a")
    assert result.exit_code == 1
    assert "./sanso lab check of " in result.output
    assert "is at work in lab" in result.output


def test_start_in_japanese_stays_japanese(sanso, progress):
    assert "目標" in sanso("lab", "start", "6a", "--lang", "ja").output
    assert progress().language == "ja"
    assert "ヒント 1/3" in sanso("lab", "hint").output


def test_second_start_is_another_attempt_and_keeps_what_was_changed(started, progress, checkout):
    (checkout / "lab/app/app.py").write_text("mine\n")
    result = started("lab", "start", "6")
    first, second = progress().attempts["6a"]
    assert "+mine" in first.changes
    assert second.state == "started"
    assert "lab/kept/6a-" in result.output
    (kept,) = (checkout / "lab/kept").glob("*/app/app.py")
    assert kept.read_text() == "mine\n"


@pytest.mark.parametrize(
    "words", [["check"], ["hint"], ["answer"], ["solve"], ["reset"], ["skip"], ["report"], ["watch"]]
)
def test_before_any_start_every_verb_says_how_to_begin(sanso, words):
    result = sanso("lab", *words)
    assert result.exit_code == 1
    assert "./sanso lab start 0" in result.output


@pytest.mark.parametrize(
    ("state", "code", "word"), [(MET, 0, "met"), (NOT_MET, 1, "not met"), (UNKNOWN, 3, "could not check")]
)
def test_check_says_each_goal_in_words_and_by_its_exit_code(started, judged, state, code, word):
    judged(state)
    result = started("lab", "check")
    assert result.exit_code == code
    assert f"{word}: The page comes." in result.output


@pytest.mark.parametrize(
    ("state", "lasts", "words", "verdict"),
    [
        (NOT_MET, (), [], "started"),
        (UNKNOWN, (), [], "started"),
        (MET, (), [], "stopgap"),
        (MET, (NOT_MET,), ["--lasting"], "stopgap"),
        (MET, (MET, NOT_MET), ["--lasting"], "stopgap"),
        (MET, (MET, UNKNOWN), ["--lasting"], "stopgap"),
        (MET, (MET, MET), ["--lasting"], "durable"),
    ],
)
def test_only_what_lasts_is_durable(started, judged, progress, state, lasts, words, verdict):
    judged(state, *lasts)
    started("lab", "check", *words)
    assert progress().state("6a") == verdict


def test_later_trouble_does_not_take_away_what_was_done(started, judged, progress):
    judged(MET, MET, MET)
    started("lab", "check", "--lasting")
    judged(NOT_MET)
    started("lab", "check")
    assert progress().state("6a") == "durable"
    assert [check["state"] for check in progress().last("6a").checks] == ["met", "not met"]


def test_where_nothing_can_last_goals_that_are_met_are_all(started, judged, progress, folder):
    (folder / "exercise.yml").write_text((folder / "exercise.yml").read_text() + "durable: false\n")
    from sanso.lab.exercise import exercises

    exercises.cache_clear()
    judged(MET)
    assert "Done." in started("lab", "check").output
    assert progress().state("6a") == "done"


def test_check_of_another_exercise_than_the_machine_is_in_is_refused(started, folder, judged):
    judged(MET)
    result = started("lab", "check", "7")
    assert result.exit_code == 1


def test_answers_are_graded_one_by_one_and_told_apart_by_when(started, judged, progress):
    result = started("lab", "answer", "tier=app", "cause=gone")
    assert result.exit_code == 1
    assert "tier=app: right" in result.output
    assert "cause=gone: not that" in result.output
    assert started("lab", "answer", "cause=mode").exit_code == 0
    assert progress().last("6a").located
    judged(MET)
    started("lab", "check")
    assert "after the repair" in started("lab", "answer", "tier=app").output
    assert [each["before"] for each in progress().last("6a").answers] == [True, True, False]


@pytest.mark.parametrize("word", ["moon=app", "tier=moon", "tier", "=", "tier=app=web"])
def test_answer_to_no_question_is_a_usage_error(started, progress, word):
    assert started("lab", "answer", word).exit_code == 2
    assert progress().last("6a").answers == []


def test_hints_come_one_by_one_and_end(started, progress):
    said = [started("lab", "hint").output for _ in range(4)]
    assert ["One" in said[0], "Two" in said[1], "Three" in said[2]] == [True] * 3
    assert "./sanso lab solve" in said[3]
    assert progress().last("6a").hints == 3


def test_solution_that_was_shown_is_no_merit(started, judged, progress, machine):
    assert "Three" in started("lab", "solve").output
    assert machine[-1] == ("solve", "6a")
    judged(MET, MET, MET)
    started("lab", "check", "--lasting")
    assert progress().state("6a") == "shown"


def test_solution_in_the_folder_lies_over_the_fault_and_without_one_the_baseline_is_back(sanso, checkout, folder):
    app = checkout / "lab/app/app.py"
    (folder / "fault/app").mkdir(parents=True)
    (folder / "fault/app/app.py").write_text("broken\nwritten\n")
    sanso("lab", "start", "6a")
    assert app.read_text() == "broken\nwritten\n"
    sanso("lab", "solve")
    assert app.read_text() == "print(1)\n"
    patch = "--- a/app/app.py\n+++ b/app/app.py\n@@ -1,2 +1,2 @@\n-broken\n+good\n written\n"
    (folder / "solution.patch").write_text(patch)
    sanso("lab", "solve")
    assert app.read_text() == "good\nwritten\n"


def test_reset_is_another_attempt_with_the_same_draw(started, progress):
    started("lab", "reset")
    first, second = progress().attempts["6a"]
    assert first.seed == second.seed


def test_skipped_exercise_stays_in_the_list(started):
    started("lab", "skip")
    result = started("lab", "list")
    assert "skipped" in result.output


def test_list_as_data(started):
    data = json.loads(started("lab", "list", "--json").stdout)
    assert [(each["id"], each["state"]) for each in data["exercises"]] == [("6a", "started")]


def test_watch_ends_when_all_is_met_and_says_only_what_changes(started, judged, monkeypatch):
    states = iter([NOT_MET, NOT_MET, MET])
    monkeypatch.setattr(goals, "check", lambda *_, **__: [PAGE[next(states)]])
    monkeypatch.setattr("sanso.verbs.lab.time.sleep", lambda seconds: None)
    result = started("lab", "watch")
    assert result.exit_code == 0
    assert result.output.count("not met: The page comes.") == 1


def test_machine_that_died_can_not_be_checked_and_is_no_verdict(started, monkeypatch, progress):
    def gone(self):
        raise Failure("the machine lab doesn't run", next_step="./sanso lab reset", code=COULD_NOT_CHECK)

    monkeypatch.setattr(Stages, "require", gone)
    result = started("lab", "check")
    assert result.exit_code == 3
    assert "./sanso lab reset" in result.output
    assert progress().last("6a").checks == []


HALF = ['{"version": 9}', '{"version": 1, "learner": "x"}', '{"version": 1, "attempts": 3}']


@pytest.mark.parametrize("text", ["", "{", "[]", *HALF])
def test_progress_that_is_none_is_refused_and_left_alone(sanso, checkout, text):
    file = checkout / "lab/progress.json"
    file.parent.mkdir()
    file.write_text(text)
    result = sanso("lab", "list")
    assert result.exit_code == 1
    assert "lab/progress.json" in result.output
    assert file.read_text() == text


def test_machine_goes_and_progress_stays(started, machine, checkout):
    assert started("lab", "end").exit_code == 0
    assert machine[-1] == ("absent",)
    assert (checkout / "lab/progress.json").exists()


def test_machine_goes_where_the_folder_went_before(started, machine, checkout):
    shutil.rmtree(checkout / "lab")
    assert started("lab", "end").exit_code == 0
    assert machine[-1] == ("absent",)
