"""A class: the progress files of many learners as one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sanso.console import Failure
from sanso.html import template
from sanso.lab.exercise import exercises
from sanso.lab.goals import NOT_MET
from sanso.lab.progress import ENDED, Progress
from sanso.lab.words import Words

TEMPLATE = Path(__file__).with_name("course.html.j2")


@dataclass(frozen=True)
class Table:
    """learners: in the order of their names; stuck: by exercise, how many have begun it and not met its goals yet."""

    learners: Sequence[Progress]

    @property
    def exercises(self) -> list[str]:
        return [each.id for each in exercises()]

    @property
    def stuck(self) -> dict[str, int]:
        return {each: sum(is_stuck(learner, each) for learner in self.learners) for each in self.exercises}

    def as_data(self) -> dict:
        return {
            "learners": [
                {
                    "learner": learner.learner,
                    "current": learner.current,
                    "done": self.done(learner),
                    "exercises": {each: entry(learner, each) for each in self.exercises if learner.attempts.get(each)},
                }
                for learner in self.learners
            ],
            "stuck": self.stuck,
        }

    def done(self, learner: Progress) -> int:
        return sum(learner.state(each) in ENDED for each in self.exercises)

    def lines(self, say: Callable[[str], str]) -> list[str]:
        """For a terminal, in words: a line for each learner and exercise that was begun, then where many are stuck."""
        found = []
        for learner in self.learners:
            found.append(f"{learner.learner}: {self.done(learner)} / {len(self.exercises)}, → {learner.current or '-'}")
            for each in self.exercises:
                if learner.attempts.get(each):
                    told = entry(learner, each)
                    right = "-" if told["diagnosed"] is None else say("right" if told["diagnosed"] else "wrong")
                    found.append(
                        f"  {each:>3}  {say(told['state'])}  attempts {told['attempts']}  "
                        f"hints {told['hints']}  checks {told['checks']}  diagnosis {right}"
                    )
        stuck = [f"{each} ({number})" for each, number in self.stuck.items() if number]
        return [*found, f"not met yet: {', '.join(stuck) or '-'}"]


def entry(learner: Progress, exercise: str) -> dict:
    attempts = learner.attempts[exercise]
    answers = [answer for attempt in attempts for answer in attempt.answers if answer["before"]]
    return {
        "state": learner.state(exercise),
        "attempts": len(attempts),
        "hints": max(attempt.hints for attempt in attempts),
        "checks": sum(len(attempt.checks) for attempt in attempts),
        # Before the repair; None: not answered then.
        "diagnosed": any(answer["all_right"] for answer in answers) if answers else None,
    }


def is_stuck(learner: Progress, exercise: str) -> bool:
    last = learner.last(exercise)
    return bool(last and last.checks and last.checks[-1]["state"] == NOT_MET and learner.state(exercise) not in ENDED)


def read(paths: Sequence[Path]) -> Table:
    """Files, and all .json below folders. Raises Failure where one isn't a learner's progress."""
    files = [file for path in paths for file in (sorted(path.rglob("*.json")) if path.is_dir() else [path])]
    learners = sorted((Progress.read(file) for file in files), key=lambda each: each.learner)
    if not learners:
        raise Failure("no progress file is there", next_step="collect the learners' lab/progress.json")
    names = [each.learner for each in learners]
    # Many computers call everybody the same: then the file's own name tells them apart.
    for each in learners:
        if names.count(each.learner) > 1:
            each.learner = f"{each.learner} ({each.file.stem})"
    return Table(learners)


def render(table: Table, words: Words) -> str:
    data = table.as_data()
    return template(TEMPLATE).render(table=data, exercises=table.exercises, say=words.say, language=words.language)
