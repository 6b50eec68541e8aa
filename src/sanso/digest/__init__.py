"""What a server is, as facts that can be compared: two servers that were built alike give the same digest."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from sanso import sent
from sanso.ssh import Way

KEY = secrets.token_hex(16)  # hashes with it can be compared in this process, and mean nothing after it


class CouldNotDigest(Exception):
    """sentence: what could not be found out, and why; next_step: what may help."""

    def __init__(self, sentence: str, next_step: str = ""):
        super().__init__(sentence)
        self.sentence, self.next_step = sentence, next_step


@dataclass(frozen=True)
class Digest:
    """host: whose; sections: {section: {key: value}}, a value being text, or texts by name; seconds: it took."""

    host: str
    sections: dict[str, dict[str, str | dict[str, str]]]
    seconds: float = 0.0

    @property
    def facts(self) -> int:
        return sum(map(len, self.sections.values()))


def take(name: str, way: Way) -> Digest:
    """The digest of a server. Raises CouldNotDigest where a part of it can't be had."""
    began = time.monotonic()
    answer = ask(name, way, "program", {"key": KEY})
    if answer["failed"]:
        said = "; ".join(f"{section}: {words}" for section, words in answer["failed"].items())
        raise CouldNotDigest(f"{name} doesn't say all that it is: {said}")
    return Digest(name, answer["sections"], round(time.monotonic() - began, 2))


def texts(name: str, way: Way, paths: list[str]) -> dict[str, str]:
    """What is in the files of a server; those that not everyone there may read, and that are no text, are left out."""
    return ask(name, way, "program", {"texts": paths})["texts"] if paths else {}


def ask(name: str, way: Way, program: str, request: dict) -> dict:
    """Run a program of this package on a server, as root, and return its answer."""
    modules = [f"sanso.digest.{module}" for module in ("server", "program", program)]
    try:
        return sent.ask(name, way, modules, request)
    except sent.Unanswered as error:
        raise CouldNotDigest(error.sentence, error.next_step) from error
