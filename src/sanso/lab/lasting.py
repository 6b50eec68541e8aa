"""Does a repair last? Only what stands in the inventory or a playbook does: a run has nothing left to change there, and
a restart of the machine is survived.
"""

from __future__ import annotations

from sanso import drift
from sanso.console import Failure
from sanso.digest import origin
from sanso.lab import goals
from sanso.lab.exercise import Exercise
from sanso.lab.goals import MET, NOT_MET, Goal
from sanso.lab.place import Place
from sanso.lab.progress import Attempt
from sanso.lab.stages import Stages, quietly
from sanso.ssh import Way

KEPT, RESTARTED = "nothing-left-to-change", "survives-a-restart"


def judge(stages: Stages, place: Place, exercise: Exercise, attempt: Attempt) -> list[Goal]:
    """The two goals of what lasts, or the first of them alone where that isn't met."""
    known = origin.layers()
    built = [layer for layer in known if layer.name in stages.layers(exercise.good)]
    run = "site.yml" if len(built) == len(known) else " ".join(layer.playbook for layer in built)
    expected = f"a run of {run} would change nothing"
    with quietly():
        left = drift.find(stages.described, "pyinfra", built)
    if left:
        found = "; ".join(dict.fromkeys(finding.what for finding in left))
        return [Goal(KEPT, NOT_MET, expected, f"it would change: {found}")]
    held = [Goal(KEPT, MET, expected)]
    restart(stages, exercise)
    after = goals.check(place, exercise, attempt, lasting=True)
    unit = exercise.restart or "the machine"
    expected, state = f"every goal is met after {unit} was restarted", goals.state(after)
    found = "; ".join(f"{goal.key}: {goal.found}" for goal in after if goal.state != MET)
    return [*held, Goal(RESTARTED, state, expected, found)]


def restart(stages: Stages, exercise: Exercise):
    """The machine, or the unit that an exercise names instead; then wait until what it starts has started."""
    if exercise.restart:
        script = f"sudo systemctl restart {exercise.restart}"
    else:
        stages.machine("restarted")
        script = "timeout 60 systemctl is-system-running --wait"
    way = Way.to(stages.host)
    done = way.run(script, seconds=90)
    if done.returncode == 255:
        what, then = way.explain(done.stderr)
        raise Failure(what, next_step=then)
