"""Makes reports of hosts, as auditors would."""

from __future__ import annotations

import dataclasses

from sanso.audit import Report
from sanso.audit.model import Figure, Finding, Outcome, Target
from sanso.audit.waivers import FILE, Waiver
from sanso.ssh import Way

MACHINE = Target(
    "sanso",
    Way("10.77.0.10"),
    "10.77.0.10",
    platform="ubuntu-26.04",
    container=True,
    is_machine=True,
    allowed=frozenset({22, 80, 443}),
    needed=frozenset({22, 80, 443}),
)


def server(**changes) -> Target:
    return dataclasses.replace(MACHINE, **{"name": "web1", "is_machine": False, "container": False, **changes})


def suggestion(name: str, said: str = "Consider it", severity: str = "warn") -> Finding:
    return Finding("lynis", name, severity, said, f"cisofy.com/lynis/controls/{name}/ explains it")


def lynis(index: float = 93, *findings: Finding) -> Outcome:
    return Outcome("lynis", "3.1.6", [Figure("lynis", "Lynis 3.1.6 hardening index", index)], list(findings))


def ssh(*names: str) -> Outcome:
    findings = [Finding("ssh-audit", f"kex:{name}", "warn", f"key exchange {name}: is weak") for name in names]
    figures = [Figure("ssh-audit:fail", "ssh-audit fail", 0), Figure("ssh-audit:warn", "ssh-audit warn", len(names))]
    return Outcome("ssh-audit", "3.9.0", figures, findings)


def report(*outcomes: Outcome, target: Target = MACHINE) -> Report:
    return Report(target, list(outcomes))


def waiver(finding: str, auditor: str = "lynis", line: int = 1, **changes) -> Waiver:
    return Waiver(auditor, finding, "There is a good reason for it.", line=line, **{"file": FILE, **changes})
