"""What a learner did, on disk: progress.json in their folder. None is forgotten; a second start is another attempt."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sanso.console import Failure
from sanso.project import now, relative

VERSION = 1
# What came of an attempt, the least first.
NEW, STARTED, SKIPPED, SHOWN, STOPGAP, DONE, DURABLE = (
    "new",
    "started",
    "skipped",
    "shown",  # solved by `lab solve`
    "stopgap",
    "done",  # of an exercise where nothing has to last
    "durable",
)
STATES = (NEW, STARTED, SKIPPED, SHOWN, STOPGAP, DONE, DURABLE)
ENDED = (DONE, DURABLE)


@dataclass
class Attempt:
    """started, and every `at`: UTC, ISO 8601. drawn: which faults. checks, answers: as they came, whole."""

    started: str
    seed: int = 0
    drawn: list[str] = field(default_factory=list)
    state: str = STARTED
    hints: int = 0
    token: str = ""  # a word that is this attempt's alone
    answers: list[dict] = field(default_factory=list)
    checks: list[dict] = field(default_factory=list)
    changes: str = ""

    @property
    def repaired(self) -> str:
        """When a check first found all goals met, or nothing."""
        return next((check["at"] for check in self.checks if check["verdict"] in (STOPGAP, *ENDED)), "")

    @property
    def located(self) -> str:
        """When the last question was answered rightly, or nothing."""
        right = [answer["at"] for answer in self.answers if answer["all_right"]]
        return right[0] if right else ""

    @property
    def detected(self) -> str:
        """When a check first said that something is wrong, or nothing."""
        return next((check["at"] for check in self.checks if check["verdict"] == STARTED), "")


@dataclass
class Progress:
    """learner: as the computer calls them; current: the exercise that is being done; attempts: by exercise."""

    file: Path
    learner: str
    current: str = ""
    language: str = ""
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Progress:
        """Raises Failure where the file is not one of ours; a file that isn't there is a new learner's."""
        if not file.exists():
            return cls(file, getpass.getuser())
        try:
            data = json.loads(file.read_text())
            if data["version"] != VERSION:
                raise Failure(f"{relative(file)} is of another version of Sansō", next_step="move it away")
            attempts = {key: [Attempt(**each) for each in many] for key, many in data["attempts"].items()}
            return cls(file, str(data["learner"]), data["current"], data["language"], attempts)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failure(
                f"{relative(file)} is no learner's progress: {error}", next_step="move it away, and begin anew"
            ) from error

    def write(self):
        """Whole or not at all."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        data = {
            "version": VERSION,
            "learner": self.learner,
            "current": self.current,
            "language": self.language,
            "attempts": {key: [asdict(each) for each in many] for key, many in self.attempts.items()},
        }
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(data, indent=1, ensure_ascii=False))
        new.rename(self.file)

    def begin(self, exercise: str, **words) -> Attempt:
        self.current = exercise
        attempt = Attempt(timestamp(), **words)
        self.attempts.setdefault(exercise, []).append(attempt)
        return attempt

    def last(self, exercise: str) -> Attempt | None:
        return (self.attempts.get(exercise) or [None])[-1]

    def state(self, exercise: str) -> str:
        """The best that came of any attempt."""
        return max((each.state for each in self.attempts.get(exercise, [])), key=STATES.index, default=NEW)


def timestamp() -> str:
    return now().isoformat()
