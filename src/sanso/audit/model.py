"""What an audit is made of: a target, what an auditor found out about it, and why one could not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sanso.ssh import Way

FAIL, WARN, NOTE = "fail", "warn", "note"
OF_A_FIGURE = ("aim:", "record:")  # how the id of a finding begins that the table tells already


class CouldNotAudit(Exception):
    """An auditor could not tell anything, for the reason in the message; next_step says what to do about it."""

    def __init__(self, sentence: str, next_step: str = ""):
        super().__init__(sentence)
        self.sentence, self.next_step = sentence, next_step


class NotInstalled(CouldNotAudit):
    """An auditor that an audit can do without isn't installed on this computer."""


@dataclass(frozen=True)
class Target:
    """One host, and what must be known of it to audit it.

    address: the numeric one; units: each unit that is looked at, by a short name; sites: the names that it serves over
    HTTPS; tls: Mozilla's profile that it should match; allowed: the TCP ports that may be open, needed: those that must
    be; platform: as the catalogue of images calls it; is_machine: whether it is a machine on this computer.
    """

    name: str
    way: Way
    address: str
    units: dict[str, str] = field(default_factory=dict)
    sites: tuple[str, ...] = ()
    ca: Path | None = None
    tls: str = "intermediate"
    allowed: frozenset[int] = frozenset()
    needed: frozenset[int] = frozenset()
    platform: str = ""
    profile: str = "default"
    container: bool = False
    is_machine: bool = False

    @property
    def has_redis(self) -> bool:
        return any(name.endswith("-redis") for name in self.units)


@dataclass(frozen=True)
class Finding:
    """One thing that an auditor objects to.

    id: what a waiver names; severity: a note weighs nothing, the others need a waiver or a remedy.
    """

    auditor: str
    id: str
    severity: str
    said: str
    next: str = ""

    @property
    def weighs(self) -> bool:
        return self.severity != NOTE

    @property
    def is_of_a_figure(self) -> bool:
        """Tell whether it only says that a figure misses its aim or got worse, as the table does."""
        return self.id.startswith(OF_A_FIGURE)


@dataclass(frozen=True)
class Figure:
    """What a yardstick shows. shown and aim_shown: where words tell more than the number."""

    key: str
    name: str
    value: float
    shown: str = ""
    aim_shown: str = ""


@dataclass
class Outcome:
    """What one auditor found out about one host. not_run: why it could not; optional: and that this is no harm."""

    auditor: str
    version: str = ""
    figures: list[Figure] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    not_run: str = ""
    next_step: str = ""
    optional: bool = False
    seconds: float = 0.0
