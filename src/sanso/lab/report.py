"""A post-mortem as a page: what was broken, when it was seen, located and mended, and by which changes."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sanso.html import template
from sanso.lab.exercise import Exercise, Text
from sanso.lab.goals import MET
from sanso.lab.progress import Attempt, Progress
from sanso.lab.words import Words
from sanso.project import ROOT

TEMPLATE = Path(__file__).with_name("report.html.j2")
# What a learner may have changed in the checkout itself.
CHANGEABLE = ("playbooks", "roles", "site.yml", "deploys")


def render(progress: Progress, done: Sequence[Exercise], words: Words) -> str:
    """The page of these exercises, each by its attempts. The same progress makes the same bytes."""
    parts = [part(exercise, progress, words) for exercise in done]
    return template(TEMPLATE).render(
        learner=progress.learner, language=words.language, parts=parts, checkout=checkout_changes(), say=words.say
    )


def part(exercise: Exercise, progress: Progress, words: Words) -> dict:
    text = exercise.text(words.language)
    attempts = progress.attempts[exercise.id]
    return {
        "id": exercise.id,
        "text": text,
        "state": progress.state(exercise.id),
        "attempts": [told(attempt, text, words) for attempt in attempts],
    }


def told(attempt: Attempt, text: Text, words: Words) -> dict:
    """An attempt as the page has it: its times, what happened in order, the last check and two traces."""
    checks = attempt.checks
    last = checks[-1]["goals"] if checks else []
    failing = [goal for check in checks for goal in check["goals"] if goal["state"] != MET and goal["trace"]]
    good = [goal for check in checks for goal in check["goals"] if goal["state"] == MET and goal["trace"]]
    return {
        "started": attempt.started,
        "state": attempt.state,
        "hints": attempt.hints,
        "changes": attempt.changes,
        "times": times(attempt),
        "events": events(attempt),
        "goals": [goal | {"said": text.goals.get(goal["key"]) or words.say(goal["key"])} for goal in last],
        "broken": failing[-1]["trace"] if failing else "",
        "mended": good[-1]["trace"] if good else "",
    }


def times(attempt: Attempt) -> dict[str, str]:
    """How long after the start it was seen, located and mended."""
    moments = {"detected": attempt.detected, "located": attempt.located, "repaired": attempt.repaired}
    return {name: since(attempt, at) for name, at in moments.items()}


def events(attempt: Attempt) -> list[dict]:
    """Answers and checks in the order in which they came; of checks that say the same, the first."""
    found = [
        {
            "at": each["at"],
            "what": " ".join(f"{key}={value}" for key, value in each["said"].items()),
            "came": "right" if all(each["right"].values()) else "wrong",
            "aside": "" if each["before"] else "after_repair",
        }
        for each in attempt.answers
    ]
    before = None
    for check in attempt.checks:
        goals = [(goal["key"], goal["state"], goal["found"]) for goal in check["goals"]]
        if goals != before:
            unmet = [f"{goal['key']}: {goal['found']}" for goal in check["goals"] if goal["state"] != MET]
            found.append(
                {"at": check["at"], "what": "; ".join(unmet), "came": check["state"], "aside": check["verdict"]}
            )
        before = goals
    return [each | {"after": since(attempt, each["at"])} for each in sorted(found, key=lambda each: each["at"])]


def since(attempt: Attempt, at: str) -> str:
    """How long after the start, as minutes and seconds; empty where it didn't happen."""
    if not at:
        return ""
    seconds = int((datetime.fromisoformat(at) - datetime.fromisoformat(attempt.started)).total_seconds())
    return f"{seconds // 60}:{seconds % 60:02}"


def checkout_changes() -> str:
    words = ["git", "diff", "--no-color", "HEAD", "--", *CHANGEABLE]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""
