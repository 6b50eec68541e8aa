"""`systemd-analyze security` for the unit of each tier, and what the server says of itself."""

from __future__ import annotations

import json
import re
import shlex

from sanso.audit.model import NOTE, CouldNotAudit, Figure, Finding, Outcome, Target
from sanso.audit.running import Running, last_line

NAME = "systemd-analyze"
SECONDS = 60
UNIT = "== "


def audit(target: Target, running: Running) -> Outcome:
    done = running.run(target.way.automatic(script(target.units.values())), SECONDS)
    if done.returncode == 255:
        raise CouldNotAudit(*target.way.explain(done.stderr))
    return parse(done.stdout, target.units)


def script(units) -> str:
    ask = "systemd-analyze security --no-pager"
    lines = ["export LC_ALL=C", "systemctl --version | head -n 1"]
    for unit in map(shlex.quote, units):
        lines += [f"echo '{UNIT}'{unit}", f"{ask} --json=short {unit} 2>&1", "echo", f"{ask} {unit} 2>&1 | tail -n 1"]
    return "\n".join(lines)


def parse(said: str, units: dict[str, str]) -> Outcome:
    """Read what the script printed: systemd's version, then for each unit its findings and its exposure."""
    head, *sections = said.split(f"\n{UNIT}")
    version = re.match(r"systemd (\d+)", head)
    outcome = Outcome(NAME, version[1] if version else "")
    by_unit = {section.partition("\n")[0]: section.partition("\n")[2] for section in sections}
    for name, unit in units.items():
        section = by_unit.get(unit, "")
        exposure = re.search(rf"Overall exposure level for {re.escape(unit)}: ([\d.]+)", section)
        if not exposure:
            raise CouldNotAudit(f"systemd-analyze tells nothing about {unit}: {last_line(section)}")
        outcome.figures.append(
            Figure(f"exposure:{name}", f"systemd-analyze security {unit.removesuffix('.service')}", float(exposure[1]))
        )
        outcome.findings += findings(name, section)
    return outcome


def findings(name: str, section: str) -> list[Finding]:
    """What is left open: notes, for it is their sum that is the yardstick."""
    try:
        checks = json.loads(next((line for line in section.splitlines() if line.startswith("[")), "[]"))
        open_ones = [each for each in checks if each["exposure"] and float(each["exposure"])]
        return [
            Finding(NAME, f"{name} {each['name']}", NOTE, f"{each['description']} ({each['exposure']})")
            for each in open_ones
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise CouldNotAudit(f"systemd-analyze printed what can't be read: {error}") from error
