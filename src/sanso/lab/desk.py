"""A learner's desk: place, progress, language and machine; and what becomes of an exercise there."""

from __future__ import annotations

import secrets
from dataclasses import asdict

from sanso import console
from sanso.console import Failure
from sanso.lab import exercise, goals, lasting, progress
from sanso.lab.exercise import Exercise
from sanso.lab.goals import MET, Goal
from sanso.lab.place import Place
from sanso.lab.progress import Attempt, Progress
from sanso.lab.stages import Stages
from sanso.lab.words import Words, spoken
from sanso.project import relative


class Desk:
    """What every verb needs. verbose: the playbooks' own words are shown, too."""

    def __init__(self, verbose: bool = False):
        self.place = Place.here()
        self.progress = Progress.read(self.place.root / "progress.json")
        self.stages = Stages(self.place, verbose)

    @property
    def words(self) -> Words:
        return Words(self.language, self.place)

    @property
    def language(self) -> str:
        """As it was chosen, or that of the terminal."""
        return self.progress.language or spoken()

    def text(self, chosen: Exercise) -> exercise.Text:
        return chosen.text(self.language)

    def say(self, key: str, style: str = "", **values):
        console.say(self.words.say(key, **values), style=style)

    def current(self, wanted: str | None = None) -> tuple[Exercise, Attempt]:
        """The exercise that is being done, and its attempt. wanted: its number, where the person says one."""
        name = self.progress.current
        if not name:
            raise Failure("no exercise was started yet", next_step="./sanso lab start 0")
        found = exercise.find(name)[0]
        if wanted and found not in exercise.find(wanted):
            raise Failure(
                f"the machine is in exercise {found.id}, not in {wanted}", next_step=f"./sanso lab start {wanted}"
            )
        return found, self.progress.last(found.id)

    def begin(self, chosen: Exercise, seed: int | None = None):
        """Another attempt: folder and machine in the exercise's start state. seed: of what is drawn; else any."""
        before = self.progress.last(self.progress.current) if self.progress.current else None
        if before:
            before.changes = self.place.changes() or before.changes
            self.progress.write()
        seed = secrets.randbelow(10**6) if seed is None else seed
        self.say("starting", style="dim", id=chosen.id)
        self._lay_baseline(chosen)
        drawn = chosen.drawn(seed)
        # Before the machine is made: the folder is the exercise's from here on.
        attempt = self.progress.begin(chosen.id, seed=seed, drawn=drawn, token=secrets.token_hex(4))
        self.stages.ensure()  # over the baseline, without any fault
        self._lay(chosen, "fault", f"Exercise {chosen.id}")
        self.stages.start(chosen, drawn, self.values(attempt))
        attempt.started = progress.timestamp()  # the learner's time begins when the machine is theirs
        self.progress.write()

    def judge(self, chosen: Exercise, attempt: Attempt, whether_it_lasts: bool = False) -> dict:
        """Check, and keep what was found."""
        self.stages.require()
        if chosen.restarts:
            lasting.restart(self.stages, chosen)
        found = goals.check(self.place, chosen, attempt)
        if whether_it_lasts and chosen.durable and goals.state(found) == MET:
            found += lasting.judge(self.stages, self.place, chosen, attempt)
        verdict = verdict_of(chosen, found)
        kept = {"at": progress.timestamp(), "state": goals.state(found), "verdict": verdict}
        kept["goals"] = [asdict(each) for each in found]
        attempt.checks.append(kept)
        attempt.changes = self.place.changes()
        # What was shown stays shown; and a machine that is broken again doesn't undo what was done.
        if attempt.state != progress.SHOWN:
            attempt.state = max(attempt.state, verdict or attempt.state, key=progress.STATES.index)
        self.progress.write()
        return kept

    def solve(self, chosen: Exercise, attempt: Attempt):
        """The learner's files as the solution has them: the baseline, or the fault's with the solution's over them."""
        self._lay_baseline(chosen)
        if (chosen.folder / "solution").is_dir() or (chosen.folder / "solution.patch").exists():
            self._lay(chosen, "fault", f"Exercise {chosen.id}")
            self._lay(chosen, "solution", f"The solution of exercise {chosen.id}")
        self.stages.solve(chosen, attempt.drawn, self.values(attempt))

    def values(self, attempt: Attempt) -> dict:
        """What an exercise's task lists are told."""
        return {"lab_token": attempt.token, "lab_folder": str(self.place.root)}

    def _lay_baseline(self, chosen: Exercise):
        if kept := self.place.begin(chosen.id):
            self.say("kept", where=relative(kept))

    def _lay(self, chosen: Exercise, what: str, message: str):
        """What the exercise has wrong in the inventory and the app (`fault`), or mends there (`solution`)."""
        self.place.lay(chosen.folder / what)
        self.place.patch(chosen.folder / f"{what}.patch")
        self.place.note(message)


def verdict_of(chosen: Exercise, found: list[Goal]) -> str:
    """What the attempt is worth by this check; empty where that can't be told."""
    shown = {goal.key: goal.state for goal in found}
    own = [goal for goal in found if goal.key not in (lasting.KEPT, lasting.RESTARTED)]
    match goals.state(own):
        case goals.UNKNOWN:
            return ""
        case goals.NOT_MET:
            return progress.STARTED
    if not chosen.durable:
        return progress.DONE
    return progress.DURABLE if shown.get(lasting.RESTARTED) == MET else progress.STOPGAP
