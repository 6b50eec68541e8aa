"""Counts tests in the JUnit files that pytest writes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Count:
    """passed, failed and skipped are all tests; errors are those of the failed ones that could not run at all."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    errors: int = 0
    failures: list[str] = field(default_factory=list)  # the names of the failed ones

    def __add__(self, other: Count) -> Count:
        return Count(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.errors + other.errors,
            self.failures + other.failures,
        )

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def read(folder: Path) -> Count:
    """Count the tests of all files of a folder. A file that can't be read, half-written say, counts as a failure."""
    total = Count()
    for file in sorted(folder.glob("*.xml")):
        try:
            cases = ElementTree.parse(file).iter("testcase")
            total = sum((_count(case) for case in cases), total)
        except ElementTree.ParseError:
            total += Count(failed=1, failures=[f"{file.name} is not whole"])
    return total


def _count(case: ElementTree.Element) -> Count:
    wrong, broken = case.find("failure") is not None, case.find("error") is not None
    if wrong or broken:
        name = f"{case.get('classname')}::{case.get('name')}"
        return Count(failed=1, errors=0 if wrong else 1, failures=[name])
    return Count(skipped=1) if case.find("skipped") is not None else Count(passed=1)
