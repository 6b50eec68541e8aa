"""Two digests, side by side: what differs, as a diff."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from sanso.digest import Digest

Value = str | dict[str, str] | None


@dataclass(frozen=True)
class Difference:
    """A key of a section whose values differ; None where a digest hasn't got it."""

    section: str
    key: str
    one: Value
    other: Value

    @property
    def contents_differ(self) -> bool:
        """Tell whether it is a file, on both sides, with other bytes that everyone there may read."""
        if not (isinstance(self.one, dict) and isinstance(self.other, dict)):
            return False
        hashes = self.one.get("sha256"), self.other.get("sha256")
        return all(hashes) and hashes[0] != hashes[1]


def differences(one: Digest, other: Digest) -> list[Difference]:
    """All of them, by section and key."""
    return [
        difference
        for section in dict.fromkeys([*one.sections, *other.sections])
        for difference in in_section(section, one.sections.get(section, {}), other.sections.get(section, {}))
    ]


def in_section(section: str, one: dict, other: dict) -> list[Difference]:
    keys = sorted(one.keys() | other.keys())
    return [Difference(section, key, one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)]


def lines(value: Value) -> list[str]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [f"{name}: {text}" for name, text in value.items()]
    return value.splitlines() or [""]


def diff(difference: Difference, names: tuple[str, str], texts: tuple[str | None, str | None] = (None, None)) -> str:
    """The difference as `diff -u` writes it; texts: what is in the file, where it may be shown."""
    one, other = lines(difference.one), lines(difference.other)
    if None not in texts:
        one, other = (
            [line for line in side if not line.startswith("sha256: ")] + text.splitlines()
            for side, text in zip((one, other), texts, strict=True)
        )
    headers = [
        f"{name}: {difference.section} {difference.key}" + ("" if value is not None else " (not there)")
        for name, value in zip(names, (difference.one, difference.other), strict=True)
    ]
    return "\n".join(difflib.unified_diff(one, other, *headers, lineterm=""))
