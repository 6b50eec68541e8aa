"""A learner's desk in a temporary checkout: a sample app and an inventory of a few lines, and no machine."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from sanso import project
from sanso.cli import main
from sanso.lab import exercise, place
from sanso.lab.stages import Stages

EXERCISE = """---
minutes: 5
questions:
  tier: {right: app, choices: [web, app]}
  cause: {right: mode, choices: [mode, gone]}
"""
TEXT = """# A title

## Situation

Something at https://lab.test/ is broken:

> 13: Permission denied

## Goals

- `page`: The page comes.

## Questions

### `tier`: Which tier?

- `web`: nginx
- `app`: the app

### `cause`: Why?

- `mode`: its mode
- `gone`: it is gone

## Hints

1. One
2. Two: `lab/inventory`
3. Three

## Afterwards

That was it.
"""
JAPANESE = {
    "Situation": "状況",
    "Goals": "目標",
    "Questions": "質問",
    "Hints": "ヒント",
    "Afterwards": "ふりかえり",
}


def japanese(text: str) -> str:
    for english, word in JAPANESE.items():
        text = text.replace(f"## {english}\n", f"## {word}\n")
    return f"<!-- of text.en.md {exercise.digest(TEXT)} -->\n{text}"


@pytest.fixture
def folder(tmp_path):
    """An exercise's folder, whole."""
    folder = tmp_path / "exercises" / "06a-permission"
    folder.mkdir(parents=True)
    (folder / "exercise.yml").write_text(EXERCISE)
    (folder / "text.en.md").write_text(TEXT)
    (folder / "text.ja.md").write_text(japanese(TEXT))
    (folder / "check.py").write_text("def test_page(lab):\n    lab.page()\n")
    return folder


@pytest.fixture
def checkout(tmp_path, monkeypatch, folder):
    """A checkout whose only exercise is that one; nothing is cached from the real one."""
    root = tmp_path / "checkout"
    for name, text in {
        "inventory/hosts.yml": "all:\n    lab:\n      x: 10.77.0.50\n",
        "app/app.py": "print(1)\n",
    }.items():
        file = root / "baseline" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    monkeypatch.setattr(place, "ROOT", root)
    monkeypatch.setattr(place, "BASELINE", {name: root / "baseline" / name for name in ("inventory", "app")})
    monkeypatch.setattr(exercise, "FOLDER", folder.parent)
    monkeypatch.setattr(project, "STATE", tmp_path / "state")
    monkeypatch.delenv("SANSO_LAB", raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    for name in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    exercise.exercises.cache_clear()
    exercise.read_text.cache_clear()
    yield root
    exercise.exercises.cache_clear()
    exercise.read_text.cache_clear()


@pytest.fixture
def machine(checkout, monkeypatch):
    """What was done with the machine; it is there, and does as it is told."""
    done = []
    monkeypatch.setattr(Stages, "ensure", lambda self: done.append("ensure"))
    monkeypatch.setattr(
        Stages, "start", lambda self, exercise, drawn, values: done.append(("start", exercise.id, drawn))
    )
    monkeypatch.setattr(Stages, "solve", lambda self, exercise, drawn, values: done.append(("solve", exercise.id)))
    monkeypatch.setattr(Stages, "machine", lambda self, state, *words: done.append((state, *words)))
    monkeypatch.setattr(Stages, "require", lambda self: None)
    return done


@pytest.fixture
def sanso(machine):
    """sanso("lab", …) runs the command line: its result."""
    return lambda *words: CliRunner().invoke(main, words)
