"""What the lab itself says, in the learner's language: workshop/words.LANGUAGE.yml."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

import yaml

from sanso.lab.exercise import LANGUAGES
from sanso.lab.place import WORKSHOP, Place


@dataclass(frozen=True)
class Words:
    language: str
    place: Place

    @classmethod
    def here(cls) -> Words:
        """For whom no progress is known."""
        return cls(spoken(), Place.here())

    def say(self, key: str, **values) -> str:
        """A sentence, with these values, and the names of the place, filled in. A key that has none says itself."""
        said = catalogue(self.language).get(key, key)
        names = {"inventory": f"{self.place.folder}/inventory", "root": self.place.folder}
        return said.format(**{**names, **values}) if "{" in said else said

    def localized(self, text: str) -> str:
        """A text of an exercise, with the names of this place in it."""
        return self.place.localized(text)


def spoken() -> str:
    """The language of the terminal, if it is one of the texts'."""
    said = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return said[:2] if said[:2] in LANGUAGES else LANGUAGES[0]


@cache
def catalogue(language: str) -> dict[str, str]:
    return yaml.safe_load((WORKSHOP / f"words.{language}.yml").read_text())
