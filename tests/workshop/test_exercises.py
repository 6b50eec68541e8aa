"""Every exercise, four ways: the good stack meets its goals, the fault doesn't, the solution does; reset restores.

Reset, which is a start, is proved from the machine that the exercise before left, with something of a learner's on it.
What is marked `wrong` are solutions that must not pass: 30 more starts, which CI leaves out (-m "not wrong").
"""

from __future__ import annotations

import itertools

import pytest

from sanso.lab import goals
from sanso.lab.exercise import exercises
from sanso.lab.goals import MET, NOT_MET
from sanso.ssh import Way

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
        desk.stages.ensure()
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
    found = desk.judge(good, attempt)
    assert found["state"] == MET, found["goals"]


def seeds(exercise):
    """Those that draw each of its faults once, or any one where nothing is drawn."""
    faults, size = exercise.faults, exercise.draw or 1
    draws = [faults[at : at + size] for at in range(0, len(faults), size)]
    return [next(seed for seed in itertools.count() if exercise.drawn(seed) == each) for each in draws] or [0]


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in ALL for seed in seeds(ALL[name])])
def test_reset_brings_the_fault_which_fails_as_promised_until_the_solution_mends_it(desk, name, seed):
    exercise = ALL[name]
    reset(desk, exercise, seed)
    attempt = desk.progress.last(exercise.id)
    fails_as_promised(desk, exercise, attempt)
    desk.solve(exercise, attempt)
    answer(exercise, attempt)
    found = desk.judge(exercise, attempt)
    assert found["state"] == MET, found["goals"]


@pytest.mark.wrong
@pytest.mark.parametrize(
    "wrong", [wrong for each in ALL.values() for wrong in each.wrongs], ids=lambda f: f"{f.parent.name}-{f.stem}"
)
def test_wrong_solution_does_not_meet_the_goals(desk, wrong):
    exercise = ALL[wrong.parent.name]
    desk.begin(exercise, 0)
    attempt = desk.progress.last(exercise.id)
    answer(exercise, attempt)
    desk.stages.do([wrong], desk.values(attempt))
    found = desk.judge(exercise, attempt)
    assert found["state"] == NOT_MET, found["goals"]


def reset(desk, exercise, seed):
    """Start it on a machine, and in a folder, that were worked on: what was done there is gone, or kept."""
    if not desk.place.inventory.exists():
        desk.place.begin("before")
        desk.stages.ensure()
        desk.stages.start(exercise, [], {}, good=True)
    (desk.place.root / "app/changed.py").write_text(f"{exercise.id}\n")
    way = Way.to(desk.stages.host)
    assert way.run("sudo touch /root/changed").returncode == 0
    desk.begin(exercise, seed)
    assert way.run("sudo ls /root/changed").returncode == 2
    assert not (desk.place.root / "app/changed.py").exists()
    kept = [file.read_text() for file in desk.place.root.glob("kept/*/app/changed.py")]
    assert f"{exercise.id}\n" in kept


def fails_as_promised(desk, exercise, attempt):
    found = desk.judge(exercise, attempt)
    assert found["state"] == NOT_MET, found["goals"]
    said = " ".join(goal["found"] for goal in found["goals"] if goal["state"] == goals.NOT_MET)
    missing = [promise for promise in exercise.text().promises if promise not in said]
    assert not missing, said
