"""Waivers: findings that stay, each with the reason that somebody wrote down."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from sanso.audit.model import Finding, Target
from sanso.console import USAGE, Failure
from sanso.project import ROOT, relative

FILE = ROOT / "audit" / "waivers.yml"
AUDITORS = ("lynis", "systemd-analyze", "ssh-audit", "sslyze", "testssl", "ports")
KEYS = ("auditor", "finding", "says", "reason", "where")
CONDITIONS = {"container": bool, "machine": bool, "platform": str, "profile": str, "redis": bool}
WORDS = 5  # that a reason has at least


@dataclass(frozen=True)
class Waiver:
    """finding: a pattern (*, ?) for a finding's id; says: what its text must hold; where: for which targets alone."""

    auditor: str
    finding: str
    reason: str
    says: str = ""
    where: tuple[tuple[str, tuple], ...] = ()
    file: Path = FILE
    line: int = 0

    def applies(self, target: Target) -> bool:
        has = {
            "container": target.container,
            "machine": target.is_machine,
            "platform": target.platform,
            "profile": target.profile,
            "redis": target.has_redis,
        }
        return all(has[name] in values for name, values in self.where)

    def covers(self, finding: Finding) -> bool:
        return self.auditor == finding.auditor and fnmatchcase(finding.id, self.finding) and self.says in finding.said

    @property
    def place(self) -> str:
        return f"{relative(self.file)}:{self.line}"

    def __str__(self) -> str:
        says = f", which says {self.says!r}" if self.says else ""
        return f"{self.auditor} {self.finding}{says}"


def read(file: Path = FILE) -> list[Waiver]:
    """Read a file of waivers. Raises Failure, with the line, where one is not what it should be."""
    try:
        tree = yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{relative(file)} can't be read: {error}", code=USAGE) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{relative(file)}:{mark.line + 1}" if mark else relative(file)
        raise Failure(f"{where}: no YAML: {getattr(error, 'problem', error)}", code=USAGE) from error
    if tree is None or tree.tag == "tag:yaml.org,2002:null":
        return []
    if not isinstance(tree, yaml.SequenceNode):
        raise wrong(file, tree, "waivers are a list")
    waivers = [waiver(file, node) for node in tree.value]
    seen = {}
    for each, node in zip(waivers, tree.value, strict=True):
        same = (each.auditor, each.finding, each.says, each.where)
        if same in seen:
            raise wrong(file, node, f"{each} is waived in line {seen[same]} already")
        seen[same] = each.line
    return waivers


def waiver(file: Path, node: yaml.Node) -> Waiver:
    values, nodes = mapping(file, node, KEYS, "a waiver")
    for key in ("auditor", "finding", "reason"):
        if key not in values:
            raise wrong(file, node, f"a waiver needs {key}")
    for key in set(values) - {"where"}:
        if not isinstance(values[key], str) or not values[key].strip():
            raise wrong(file, nodes[key], f"{key} is a text")
    if values["auditor"] not in AUDITORS:
        raise wrong(file, nodes["auditor"], f"{values['auditor']} is no auditor; these are: {', '.join(AUDITORS)}")
    reason = " ".join(values["reason"].split())
    if len(reason.split()) < WORDS:
        raise wrong(file, nodes["reason"], f"a reason is a sentence, of {WORDS} words at least")
    if values["finding"].startswith("record:"):
        raise wrong(file, nodes["finding"], "what got worse can't be waived: ./sanso audit --record writes new figures")
    where = conditions(file, nodes["where"]) if "where" in nodes else ()
    line = node.start_mark.line + 1
    return Waiver(values["auditor"], values["finding"], reason, values.get("says", ""), where, file, line)


def conditions(file: Path, node: yaml.Node) -> tuple[tuple[str, tuple], ...]:
    values, nodes = mapping(file, node, CONDITIONS, "where")
    found = []
    for name, value in values.items():
        given = value if isinstance(value, list) else [value]
        kind = CONDITIONS[name]
        if not given or not all(isinstance(each, kind) for each in given):
            raise wrong(
                file, nodes[name], f"{name} is {'true or false' if kind is bool else 'a name, or a list of them'}"
            )
        found.append((name, tuple(given)))
    return tuple(found)


def mapping(file: Path, node: yaml.Node, known, what: str) -> tuple[dict, dict[str, yaml.Node]]:
    """The values of a mapping, and where each stands."""
    if not isinstance(node, yaml.MappingNode):
        raise wrong(file, node, f"{what} is a mapping with {', '.join(known)}")
    values, nodes = {}, {}
    for key, value in node.value:
        if key.value not in known:
            near = difflib.get_close_matches(str(key.value), known, 1)
            hint = f"do you mean {near[0]}?" if near else f"these are: {', '.join(known)}"
            raise wrong(file, key, f"{what} has no key {key.value}; {hint}")
        if key.value in values:
            raise wrong(file, key, f"{key.value} stands there twice")
        values[key.value] = yaml.SafeLoader("").construct_object(value, deep=True)
        nodes[key.value] = value
    return values, nodes


def wrong(file: Path, node: yaml.Node, what: str) -> Failure:
    return Failure(
        f"{relative(file)}:{node.start_mark.line + 1}: {what}",
        next_step="docs/how-to/audit.md shows how a waiver is written",
        code=USAGE,
    )
