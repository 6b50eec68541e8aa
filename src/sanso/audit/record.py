"""The figures recorded for the machines on this computer: by image, by profile, by yardstick."""

from __future__ import annotations

from pathlib import Path

import yaml

from sanso.audit.model import Target
from sanso.console import USAGE, Failure
from sanso.project import ROOT, relative

FILE = ROOT / "audit" / "record.yml"
HEAD = """---
# What each yardstick showed on a machine on this computer, by image and profile. A worse figure fails the audit.
# Written by ./sanso audit --record, which also takes a better one.
"""


def read(file: Path = FILE) -> dict[str, dict[str, dict[str, float]]]:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        data = {} if data is None else data
        for profiles in data.values():
            for figures in profiles.values():
                if not all(type(value) in (int, float) for value in figures.values()):
                    raise ValueError("a figure is a number")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise Failure(
            f"{relative(file)} can't be read: {error}",
            next_step="./sanso audit --record writes it, once it is out of the way",
            code=USAGE,
        ) from error
    return data


def of(target: Target, record: dict) -> dict[str, float]:
    """The figures for a target: none for a server of one's own, which no one else can know."""
    return record.get(target.platform, {}).get(target.profile, {}) if target.is_machine else {}


def write(target: Target, figures: dict[str, float], file: Path = FILE):
    """Take the figures of a machine; those of auditors that did not run now stay as they were."""
    record = read(file)
    known = record.setdefault(target.platform, {}).setdefault(target.profile, {})
    known |= {key: int(value) if value == int(value) else value for key, value in figures.items()}
    file.parent.mkdir(exist_ok=True)
    file.write_text(HEAD + yaml.safe_dump(record, sort_keys=True, default_flow_style=False), encoding="utf-8")
