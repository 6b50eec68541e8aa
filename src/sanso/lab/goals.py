"""Are the goals of an exercise met? Its check.py says so, run by pytest; workshop/conftest.py tells of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sanso.console import COULD_NOT_CHECK, Failure
from sanso.lab.exercise import Exercise
from sanso.lab.place import WORKSHOP, Place
from sanso.lab.progress import Attempt
from sanso.project import ROOT, new_log, relative

MET, NOT_MET, UNKNOWN = "met", "not met", "could not check"
SECONDS = 300  # for all goals of an exercise


@dataclass(frozen=True)
class Goal:
    """key: of the texts; expected, found: in words; trace: what a request that it followed left behind, as text."""

    key: str
    state: str
    expected: str = ""
    found: str = ""
    trace: str = ""


def check(place: Place, exercise: Exercise, attempt: Attempt, *, lasting: bool = False) -> list[Goal]:
    """Each goal, as check.py finds it now. lasting: also what only a repair that lasts meets (@pytest.mark.lasting)."""
    log = new_log("lab-check")
    with tempfile.TemporaryDirectory() as folder:
        told, answer = Path(folder, "attempt.json"), Path(folder, "goals.json")
        told.write_text(json.dumps(asdict(attempt)))
        words = [str(exercise.folder / "check.py"), "--inventory", str(place.inventory), "--goals", str(answer)]
        words += ["--attempt", str(told), *(["--lasting"] if lasting else [])]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(WORKSHOP), *words]
        with log.open("w") as said:
            try:
                done = subprocess.run(
                    command, cwd=ROOT, stdout=said, stderr=said, env=environment(), timeout=SECONDS, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise could_not(f"the check took longer than {SECONDS} s", log) from error
        if done.returncode not in (0, 1) or not answer.exists():
            raise could_not("the check of this exercise could not be run", log)
        return [Goal(**each) for each in json.loads(answer.read_text())]


def could_not(message: str, log: Path) -> Failure:
    evidence = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    return Failure(message, evidence=evidence, log=relative(log), next_step="./sanso lab check", code=COULD_NOT_CHECK)


def environment() -> dict[str, str]:
    """With what conftest.py imports: pytest reads that before it would add its own `pythonpath`."""
    paths = [str(ROOT / "src"), str(ROOT / "tests" / "tiers"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def state(goals: Sequence[Goal]) -> str:
    """The worst that can be said of all: what could not be checked says nothing of the others."""
    states = {goal.state for goal in goals}
    return next((each for each in (NOT_MET, UNKNOWN) if each in states), MET)
