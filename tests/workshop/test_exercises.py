"""Every exercise, four ways: the good stack meets its goals, the fault doesn't, the solution does; reset restores."""

from __future__ import annotations

import pytest

from sanso.lab import goals
from sanso.lab.exercise import exercises
from sanso.lab.goals import MET, NOT_MET
from sanso.verbs import lab

ALL = {each.folder.name: each for each in exercises()}
# One machine is good for all exercises whose goals a stage meets by itself: in this order, it is seldom made anew.
GOOD = sorted((each for each in ALL.values() if not each.deed), key=lambda each: each.good)


@pytest.fixture
def good(desk, request):
    """A machine at the stage that an exercise calls good; made anew only where the one before was another."""
    exercise = ALL[request.param]
    known = request.session.stash.setdefault(STAGE, "")
    if known != exercise.good:
        desk.place.begin("good")
        desk.stages.start(exercise, [], {}, good=True)
        request.session.stash[STAGE] = exercise.good
    return exercise


STAGE = pytest.StashKey[str]()


def answer(exercise, attempt):
    """Every question, rightly."""
    said = {key: each.answer(key, attempt.drawn) for key, each in exercise.questions.items()}
    attempt.answers.append(
        {"at": attempt.started, "said": said, "right": dict.fromkeys(said, True), "before": True, "all_right": True}
    )


@pytest.mark.parametrize("good", [each.folder.name for each in GOOD], indirect=True)
def test_good_stack_meets_the_goals(desk, good):
    attempt = desk.progress.begin(good.id)
    answer(good, attempt)
    found = lab.judge(desk, good, attempt)
    assert found["state"] == MET, found["goals"]


@pytest.mark.parametrize("name", ALL)
def test_fault_fails_as_promised_the_solution_mends_it_and_reset_restores_it(desk, name):
    exercise = ALL[name]
    lab.begin(desk, exercise, seed=0)
    attempt = desk.progress.last(exercise.id)
    fails_as_promised(desk, exercise, attempt)
    lab.apply_solution(desk, exercise, attempt)
    answer(exercise, attempt)
    found = lab.judge(desk, exercise, attempt)
    assert found["state"] == MET, found["goals"]
    lab.begin(desk, exercise, seed=0)
    fails_as_promised(desk, exercise, desk.progress.last(exercise.id))


def fails_as_promised(desk, exercise, attempt):
    found = lab.judge(desk, exercise, attempt)
    assert found["state"] == NOT_MET, found["goals"]
    said = " ".join(goal["found"] for goal in found["goals"] if goal["state"] == goals.NOT_MET)
    missing = [promise for promise in exercise.text().promises if promise not in said]
    assert not missing, said
