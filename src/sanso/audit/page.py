"""An audit as a page: one HTML file that asks the network for nothing, runs no script, and trusts nothing it shows."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from sanso.audit.model import OF_A_FIGURE
from sanso.html import template

TEMPLATE = Path(__file__).with_name("page.html.j2")
VERDICTS = {"good": "✓ met", "waived": "✓ waived", "missed": "✗ missed", "worse": "✗ worse than recorded"}


def render(data: dict) -> str:
    """The page of what Judged.as_data() gives. The same data makes the same bytes."""
    hosts = [host | parts(host) for host in data["hosts"]]
    unexplained = sum(len(host["open"]) for host in hosts)
    return template(TEMPLATE).render(data=data, hosts=hosts, unexplained=unexplained, verdicts=VERDICTS)


def parts(host: dict) -> dict:
    """A host's findings as the page has them: what is open, then what is waived, then the notes by auditor."""
    weighing = [each for each in host["findings"] if each["severity"] != "note" and not is_of_a_figure(each)]
    notes = [each for each in host["findings"] if each["severity"] == "note"]
    return {
        "open": [each for each in weighing if not each["waived"]],
        "waived": [each for each in weighing if each["waived"]],
        "notes": {name: list(those) for name, those in groupby(notes, key=lambda each: each["id"].partition(" ")[0])},
        "not_run": [each for each in host["auditors"] if not each["ran"]],
        "ran": [each for each in host["auditors"] if each["ran"]],
    }


def is_of_a_figure(finding: dict) -> bool:
    """Tell whether it only says what the table says already."""
    return finding["id"].startswith(OF_A_FIGURE) and not finding["waived"]
