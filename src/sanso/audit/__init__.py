"""Audits a host with auditors that others wrote, and judges what they say by aims, a record and waivers.

    report = audit(described, host, only=())     # asks all auditors
    judged = judge([report], waivers, record)    # knows what is right, waived, or wrong

Lynis and systemd-analyze run on the server, the others here.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

import yaml

from sanso import apps
from sanso.audit import lynis, ports, record, ssh_server, tls, units, waivers, yardsticks
from sanso.audit.model import FAIL, CouldNotAudit, Figure, Finding, NotInstalled, Outcome, Target
from sanso.audit.running import Running
from sanso.audit.waivers import AUDITORS, Waiver
from sanso.audit.yardsticks import NETWORKED, Aim
from sanso.inventory import Host, Inventory
from sanso.project import ROOT
from sanso.ssh import Way

__all__ = ["AUDITORS", "CouldNotAudit", "Judged", "JudgedHost", "Measure", "Report", "audit", "judge"]

RUN = {
    "lynis": lynis.audit,
    "systemd-analyze": units.audit,
    "sslyze": tls.sslyze,
    "testssl": tls.testssl,
    "ports": ports.audit,
    # Last, and alone: where it is refused, other connections to the SSH server would be too.
    "ssh-audit": ssh_server.audit,
}
FACTS = '. /etc/os-release; echo "$ID" "$VERSION_ID" "$VERSION_CODENAME"; systemd-detect-virt --container || :'
NEEDED = {"web": (80, 443)}


@dataclass
class Report:
    """What all auditors found out about one host."""

    target: Target
    outcomes: list[Outcome]


# Asking


def audit(
    described: Inventory, host: Host, only: tuple[str, ...] = (), show: Callable[[str], None] = lambda text: None
) -> Report:
    """Ask the auditors about a host. Raises CouldNotAudit where the host itself can't be asked."""
    target = look(described, host)
    wanted = [name for name in RUN if (not only or name in only) and concerns(name, target)]
    show(f"{host.name}: {', '.join(wanted)}")
    left = set(wanted)

    def ask(name: str) -> Outcome:
        outcome = asked(name, target, running)
        left.discard(name)
        show(f"{host.name}: {', '.join(each for each in wanted if each in left)}")
        return outcome

    with ThreadPoolExecutor(max_workers=len(RUN)) as pool, Running() as running:
        tasks = [pool.submit(ask, name) for name in wanted if name != ssh_server.NAME]
        outcomes = [task.result() for task in tasks]
        if ssh_server.NAME in wanted:
            outcomes.append(pool.submit(ask, ssh_server.NAME).result())
    return Report(target, outcomes)


def concerns(name: str, target: Target) -> bool:
    """Tell whether there is anything to ask an auditor about a host."""
    if name in ("sslyze", "testssl"):
        return bool(target.sites)
    return name != "systemd-analyze" or bool(target.units)


def asked(name: str, target: Target, running: Running) -> Outcome:
    began = time.monotonic()
    try:
        outcome = RUN[name](target, running)
    except CouldNotAudit as error:
        outcome = Outcome(name, not_run=error.sentence, next_step=error.next_step)
        outcome.optional = isinstance(error, NotInstalled)
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def look(described: Inventory, host: Host) -> Target:
    """Find out what must be known of a host before it is audited."""
    way = Way.to(host)
    done = way.run(FACTS)
    if done.returncode:
        raise CouldNotAudit(*way.explain(done.stderr))
    lines = done.stdout.splitlines()
    # 0: SSH's port is the one that the inventory uses.
    allowed = {*setting(host, "os", "os_firewall_tcp_ports", []), way.port, setting(host, "os", "os_ssh_port", 0)} - {0}
    if not all(type(port) is int for port in allowed):
        raise CouldNotAudit(f"os_firewall_tcp_ports of {host.name} is no list of ports: {sorted(map(str, allowed))}")
    served = {port for group, ports in NEEDED.items() if group in host.groups for port in ports}
    return Target(
        name=host.name,
        way=way,
        address=numeric(host.address),
        units=units_of(host),
        sites=sites_of(host),
        ca=described.ca(),
        tls=profile_of_tls(host),
        allowed=frozenset(allowed),
        needed=frozenset({*(served & allowed), way.port}),
        platform=platform(lines[0] if lines else ""),
        profile=str(setting(host, "hardening", "hardening_profile", "default")),
        container=lines[-1:] not in (["none"], []),
        is_machine=host.is_machine,
    )


def setting(host: Host, role: str, name: str, otherwise):
    """A variable of the inventory, or else the role's default."""
    if name in host.variables:
        return host.variables[name]
    file = ROOT / "roles" / role / "defaults" / "main.yml"
    return (yaml.safe_load(file.read_text()) or {}).get(name, otherwise) if file.exists() else otherwise


def numeric(address: str) -> str:
    """The address that a name has here: each auditor must ask the same one. IPv4 where there is one."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CouldNotAudit(f"the name {address} isn't known here: {error}", "give ansible_host an address") from error
    return sorted(found, key=lambda each: each[0] != socket.AF_INET)[0][4][0]


def units_of(host: Host) -> dict[str, str]:
    of_apps = {name: unit for app in host.get("apps", []) for name, unit in units_of_app(app).items()}
    tiers = {"web": {"nginx": "nginx.service"}, "db": {"mysql": "mysql.service"}, "app": of_apps}
    return {name: unit for tier, those in tiers.items() if tier in host.groups for name, unit in those.items()}


def units_of_app(app: dict) -> dict[str, str]:
    """Of each kind one; what may use the network has it in its name, for another aim."""

    def called(unit: str, said: dict) -> str:
        return f"{unit}{NETWORKED if said.get('network') else ''}"

    name = f"app-{app['name']}"
    found = {called(name, app): f"{name}@current.service"}
    found |= {unit.removesuffix(".service"): unit for unit in apps.redis_of(app)}
    workers, schedule = app.get("workers", {}), app.get("schedule", {})
    found |= {
        called(units[0].partition("@")[0], workers[each]): units[0] for each, units in apps.workers_of(app).items()
    }
    return found | {called(job, schedule[each]): f"{job}.service" for each, job in apps.jobs_of(app).items()}


def sites_of(host: Host) -> tuple[str, ...]:
    """The first name of each app that the host serves; a pattern is no name that can be asked for."""
    names = [name for app in host.get("apps", []) for name in app.get("server_names", [])[:1]]
    return tuple(name for name in names if "*" not in name and name != "_") if "web" in host.groups else ()


def profile_of_tls(host: Host) -> str:
    if named := setting(host, "nginx", "nginx_tls_profile", ""):
        return str(named)
    return "modern" if setting(host, "nginx", "nginx_tls_protocols", []) == ["TLSv1.3"] else "intermediate"


def platform(said: str) -> str:
    """An operating system, as the catalogue of images calls it: Debian by its code name, others by their version."""
    system, version, code_name = re.split(" ", f"{said}  ")[:3]
    # A Debian that isn't released has no VERSION_ID: the code name moves up then.
    return f"{system}-{code_name or version}" if system == "debian" else f"{system}-{version}".rstrip("-")


# Judging


@dataclass(frozen=True)
class Measure:
    """A figure beside its aim and its record. verdict: good, waived, missed or worse."""

    figure: Figure
    aim: Aim
    recorded: float | None
    verdict: str
    better: bool

    @property
    def shown(self) -> str:
        return self.figure.shown or f"{self.figure.value:g}"

    @property
    def aim_shown(self) -> str:
        return self.figure.aim_shown or str(self.aim)


@dataclass(frozen=True)
class Judgement:
    finding: Finding
    waiver: Waiver | None


@dataclass
class JudgedHost:
    target: Target
    outcomes: list[Outcome]
    measures: list[Measure] = field(default_factory=list)
    findings: list[Judgement] = field(default_factory=list)

    @property
    def unexplained(self) -> list[Finding]:
        """What needs a remedy or a waiver."""
        return [each.finding for each in self.findings if each.finding.weighs and not each.waiver]

    @property
    def not_run(self) -> list[Outcome]:
        return [each for each in self.outcomes if each.not_run and not each.optional]


@dataclass
class Judged:
    hosts: list[JudgedHost]
    stale: list[Waiver]
    outdated: list[Waiver]  # stale ones of the project, on servers of one's own: told, no more

    @property
    def ok(self) -> bool:
        return not self.stale and not any(host.unexplained for host in self.hosts)

    @property
    def complete(self) -> bool:
        return not any(host.not_run for host in self.hosts)

    def as_data(self) -> dict:
        """As JSON has it, and the page."""
        return {
            "ok": self.ok,
            "complete": self.complete,
            "hosts": [host_data(host) for host in self.hosts],
            "stale_waivers": [{"waiver": str(each), "place": each.place} for each in [*self.stale, *self.outdated]],
        }


def judge(reports: list[Report], known: list[Waiver], recorded: dict) -> Judged:
    hosts = [judge_host(report, known, record.of(report.target, recorded)) for report in reports]
    used = {each.waiver for host in hosts for each in host.findings if each.waiver}
    unused = [waiver for waiver in known if waiver not in used and any(should_match(waiver, host) for host in hosts)]
    ours = any(host.target.is_machine for host in hosts)
    stale = [each for each in unused if each.file != waivers.FILE or ours]
    return Judged(hosts, stale, [each for each in unused if each not in stale])


def should_match(waiver: Waiver, host: JudgedHost) -> bool:
    ran = {each.auditor for each in host.outcomes if not each.not_run}
    return waiver.applies(host.target) and waiver.auditor in ran


def judge_host(report: Report, known: list[Waiver], recorded: dict[str, float]) -> JudgedHost:
    host = JudgedHost(report.target, report.outcomes)
    here = [waiver for waiver in known if waiver.applies(report.target)]
    for outcome in report.outcomes:
        found = [*outcome.findings, *(each for figure in outcome.figures for each in misses(outcome, figure, recorded))]
        host.findings += [
            Judgement(each, next((waiver for waiver in here if waiver.covers(each)), None)) for each in found
        ]
    for outcome in report.outcomes:
        for figure in outcome.figures:
            host.measures.append(measure(figure, host.findings, recorded))
    return host


def misses(outcome: Outcome, figure: Figure, recorded: dict[str, float]) -> list[Finding]:
    """What a figure by itself amounts to: one that misses its aim, or got worse, is a finding too."""
    aim, before, found = yardsticks.aim_of(figure), recorded.get(figure.key), []
    if not aim.counts and not aim.met(figure.value):
        said = f"{figure.name} is {figure.value:g}, the aim is {aim}"
        found.append(Finding(outcome.auditor, f"aim:{figure.key}", FAIL, said))
    if before is not None and aim.is_worse(figure.value, before):
        said = f"{figure.name} got worse: {figure.value:g}, {before:g} is recorded"
        found.append(Finding(outcome.auditor, f"record:{figure.key}", FAIL, said))
    return found


def measure(figure: Figure, findings: list[Judgement], recorded: dict[str, float]) -> Measure:
    aim, before = yardsticks.aim_of(figure), recorded.get(figure.key)
    better = before is not None and aim.is_worse(before, figure.value)
    if before is not None and aim.is_worse(figure.value, before):
        verdict = "worse"
    elif aim.met(figure.value):
        verdict = "good"
    else:
        counted = [each for each in findings if is_counted(figure, each.finding)]
        verdict = "waived" if all(each.waiver for each in counted) else "missed"
    return Measure(figure, aim, before, verdict, better)


def is_counted(figure: Figure, finding: Finding) -> bool:
    """Tell whether a finding is why a figure misses its aim."""
    if not yardsticks.aim_of(figure).counts:
        return finding.id == f"aim:{figure.key}"
    auditor, _, severity = figure.key.partition(":")
    return finding.auditor == auditor and finding.severity == (severity or finding.severity)


def host_data(host: JudgedHost) -> dict:
    target = host.target
    return {
        "host": target.name,
        "address": target.address,
        "platform": target.platform,
        "profile": target.profile,
        "container": target.container,
        "figures": [
            {
                "key": each.figure.key,
                "yardstick": each.figure.name,
                "figure": each.figure.value,
                "shown": each.shown,
                "aim": each.aim_shown,
                "recorded": each.recorded,
                "better": each.better,
                "verdict": each.verdict,
            }
            for each in host.measures
        ],
        "findings": [
            {**asdict(each.finding), "waived": each.waiver.reason if each.waiver else None} for each in host.findings
        ],
        "auditors": [
            {
                "auditor": each.auditor,
                "version": each.version,
                "ran": not each.not_run,
                "why_not": each.not_run,
                "next": each.next_step,
                "optional": each.optional,
                "seconds": each.seconds,
            }
            for each in host.outcomes
        ],
    }
