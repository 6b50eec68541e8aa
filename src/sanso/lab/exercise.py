"""An exercise: a folder of plain files. docs/how-to/write-an-exercise.md is the manual of what stands in it."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path

import yaml

from sanso.console import Failure
from sanso.lab.place import WORKSHOP

FOLDER = WORKSHOP / "exercises"
NAME = re.compile(r"(?P<number>\d\d)(?P<letter>[a-z]?)-[a-z0-9-]+")
LANGUAGES = ("en", "ja")
# The sections of a text, in their order, and what they are called in each language.
SECTIONS = {
    "situation": {"en": "Situation", "ja": "状況"},
    "goals": {"en": "Goals", "ja": "目標"},
    "questions": {"en": "Questions", "ja": "質問"},
    "hints": {"en": "Hints", "ja": "ヒント"},
    "afterwards": {"en": "Afterwards", "ja": "ふりかえり"},
}
HINTS = 3  # symptom, where to look, command
KEYED = re.compile(r"^(?:- |### )`(?P<key>[a-z0-9-]+)`[::] ?(?P<said>.+)$", re.MULTILINE)
OF_DIGEST = re.compile(r"<!-- of text\.en\.md (?P<digest>[0-9a-f]{12}) -->")


@dataclass(frozen=True)
class Question:
    """choices: the words that answer it; right: the one that does. drawn: that one, where the fault of its name was."""

    choices: Sequence[str]
    right: str = ""
    drawn: str = ""

    def answer(self, key: str, faults: Sequence[str]) -> str:
        return self.right if not self.drawn or key not in faults else self.drawn


@dataclass(frozen=True)
class Text:
    """What an exercise says in one language. goals, questions: by key; choices: by question, then by key."""

    title: str
    situation: str
    goals: Mapping[str, str]
    questions: Mapping[str, str]
    choices: Mapping[str, Mapping[str, str]]
    hints: Sequence[str]
    afterwards: str

    @property
    def promises(self) -> list[str]:
        """What the text says that a check finds at the start: the quoted lines of the situation."""
        return [line[2:].strip() for line in self.situation.splitlines() if line.startswith("> ")]


@dataclass(frozen=True)
class Exercise:
    """stage: what is built before it; good: the stage at which its goals are met, without any fault.

    minutes: about so long it takes. build, solution: playbooks that are run after the files of fault/ or solution/
    were laid over the learner's. durable: whether a repair can last or not. restarts: every check restarts the machine
    first. restart: the unit whose restart a repair has to survive, where not the machine's. deed: its goals want
    something done, on a good machine too. draw: so many of its faults are drawn; 0: fault.yml is the one.
    """

    folder: Path
    stage: str = "app"
    good: str = "app"
    minutes: int = 15
    durable: bool = True
    restarts: bool = False
    restart: str = ""
    deed: bool = False
    draw: int = 0
    build: Sequence[str] = ()
    solution: Sequence[str] = ()
    questions: Mapping[str, Question] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its number as it is typed: 0, 6a."""
        match = NAME.fullmatch(self.folder.name)
        return f"{int(match['number'])}{match['letter']}"

    @property
    def number(self) -> int:
        return int(NAME.fullmatch(self.folder.name)["number"])

    @property
    def faults(self) -> list[str]:
        """The names of the faults to draw from: fault-NAME.yml."""
        return sorted(file.stem.removeprefix("fault-") for file in self.folder.glob("fault-*.yml"))

    @property
    def wrongs(self) -> list[Path]:
        """Task lists that don't solve it, for its proof."""
        return sorted(self.folder.glob("wrong-*.yml"))

    def drawn(self, seed: int) -> list[str]:
        return sorted(random.Random(seed).sample(self.faults, self.draw)) if self.draw else []

    def fault_files(self, drawn: Sequence[str]) -> list[Path]:
        """The task lists that break the machine."""
        files = [self.folder / f"fault-{name}.yml" for name in drawn] or [self.folder / "fault.yml"]
        return [file for file in files if file.exists()]

    def text(self, language: str = "en") -> Text:
        return read_text(self.folder / f"text.{language}.md", language)


@cache
def exercises() -> list[Exercise]:
    """All of them, in the order of ideas."""
    return [read(folder) for folder in sorted(FOLDER.iterdir()) if NAME.fullmatch(folder.name)]


def find(wanted: str) -> list[Exercise]:
    """Those that a number names: one, or the parts 6a, 6b, … of 6."""
    number = wanted.lower().lstrip("0") or wanted[:1]  # of 0 itself, one is left
    found = [each for each in exercises() if number in (each.id, str(each.number))]
    if not found:
        known = ", ".join(each.id for each in exercises())
        raise Failure(f"there is no exercise {wanted}", evidence=f"These are: {known}", next_step="./sanso lab list")
    return found


def read(folder: Path) -> Exercise:
    data = yaml.safe_load((folder / "exercise.yml").read_text()) or {}
    if strange := data.keys() - ({each.name for each in fields(Exercise)} - {"folder"}):
        raise Failure(f"{folder.name}/exercise.yml has an unknown key: {', '.join(sorted(strange))}")
    questions = {key: Question(**said) for key, said in data.pop("questions", {}).items()}
    return Exercise(folder, questions=questions, **data)


@cache
def read_text(file: Path, language: str) -> Text:
    """Raises Failure where a section is missing: a text that is shown is whole."""
    lines = re.sub(r"\A<!--.*?-->", "", file.read_text()).strip()
    title, _, rest = lines.partition("\n")
    names = {words[language]: section for section, words in SECTIONS.items()}
    parts = re.split(r"(?m)^## (.+)$", rest)
    found = {
        names.get(name.strip(), name.strip()): body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }
    missing = [words[language] for section, words in SECTIONS.items() if section not in (*found, "questions")]
    if missing or found.keys() - SECTIONS.keys() or not title.startswith("# "):
        what = f"lacks {', '.join(missing)}" if missing else f"has a section too many: {', '.join(found)}"
        raise Failure(f"{file.parent.name}/{file.name} {what}", next_step="docs/how-to/write-an-exercise.md")
    asked = re.split(r"(?m)^(?=### )", found.get("questions", ""))[1:]
    questions = {match["key"]: match["said"] for part in asked for match in [KEYED.match(part)] if match}
    choices = {KEYED.match(part)["key"]: dict(KEYED.findall(part.partition("\n")[2])) for part in asked}
    hints = re.split(r"(?m)^\d\. ", found["hints"])[1:]
    return Text(
        title.removeprefix("# "),
        found["situation"],
        dict(KEYED.findall(found["goals"])),
        questions,
        choices,
        [hint.strip() for hint in hints],
        found["afterwards"],
    )


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def problems(exercise: Exercise) -> list[str]:
    """What is wrong with an exercise's files, as far as no machine is needed to tell."""
    found = []
    texts = {}
    for language in LANGUAGES:
        try:
            texts[language] = exercise.text(language)
        except (Failure, OSError) as error:
            return [str(error)]
    for language, text in texts.items():
        file = f"text.{language}.md"
        if text.choices.keys() != exercise.questions.keys():
            found.append(f"{file} asks {sorted(text.choices)}, exercise.yml {sorted(exercise.questions)}")
        found += [
            f"{file} has the choices {sorted(text.choices.get(key, ()))} of {key}, exercise.yml {question.choices}"
            for key, question in exercise.questions.items()
            if set(text.choices.get(key, ())) != set(question.choices)
        ]
        if len(text.hints) != HINTS:
            found.append(f"{file} has {len(text.hints)} hints, not {HINTS}: symptom, where to look, command")
    for key, question in exercise.questions.items():
        wrong = {question.right, question.drawn or question.right} - set(question.choices)
        found += [f"the right answer of {key} is no choice: {word}" for word in sorted(wrong)]
    checks = set(re.findall(r"(?m)^def test_(\w+)\(", (exercise.folder / "check.py").read_text()))
    goals = {key.replace("-", "_") for key in texts["en"].goals}
    if checks != goals:
        found.append(f"check.py tests {sorted(checks)}, the texts have the goals {sorted(goals)}")
    return found + translation_problems(exercise, texts)


def translation_problems(exercise: Exercise, texts: Mapping[str, Text]) -> list[str]:
    found = []
    source = (exercise.folder / "text.en.md").read_text()
    english = texts["en"]
    for language in LANGUAGES[1:]:
        file = exercise.folder / f"text.{language}.md"
        match = OF_DIGEST.match(file.read_text())
        if not match or match["digest"] != digest(source):
            said = f"<!-- of text.en.md {digest(source)} -->"
            found.append(f"{file.name} is of another text.en.md: bring it up to date, then begin it with {said}")
        text = texts[language]
        if text.goals.keys() != english.goals.keys():
            found.append(f"{file.name} has the goals {sorted(text.goals)}, text.en.md {sorted(english.goals)}")
        if text.promises != english.promises:
            found.append(f"{file.name} promises {text.promises}, text.en.md {english.promises}")
        mine, others = code(file.read_text()), code(source)
        if mine != others:
            found.append(f"{file.name} and text.en.md differ in code: {sorted(mine ^ others)}")
    return found


def code(text: str) -> set[str]:
    """What a text shows as code: the same in every language."""
    blocks = re.findall(r"(?ms)^ *```\w*\n(.*?)^ *```", text)
    rest = re.sub(r"(?ms)^ *```\w*\n.*?^ *```", "", text)
    return {line.strip() for block in blocks for line in block.splitlines()} | set(re.findall(r"`([^`\n]+)`", rest))
