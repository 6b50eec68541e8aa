"""audit: what auditors that others wrote say of a server, judged by aims, a record and waivers."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from sanso import audit as auditing
from sanso import console, inventory, options, reach
from sanso.audit import record, waivers
from sanso.console import COULD_NOT_CHECK, DONE, FAILED, Failure
from sanso.inventory import Host, Inventory
from sanso.project import relative

GUIDE = "docs/how-to/audit.md"
VERDICTS = {
    "good": ("✓", "green", ""),
    "waived": ("✓", "green", "waived"),
    "missed": ("✗", "bold red", "misses the aim"),
    "worse": ("✗", "bold red", "worse than recorded"),
}


@click.command()
@click.argument("names", nargs=-1, metavar="[HOST]…")
@click.option(
    "--only", type=click.Choice(auditing.AUDITORS), multiple=True, help="Only this auditor (again for more than one)."
)
@click.option(
    "--waivers",
    "own",
    type=options.Existing(exists=True, dir_okay=False),
    help="Waivers of your own, beside audit/waivers.yml.",
)
@click.option("--record", "recording", is_flag=True, help="Record the figures of machines on this computer.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to look at.")
@options.inventory
@options.as_json
@click.pass_context
def audit(ctx, names, only, own, recording, html, path):
    """Measure the hardening with auditors that others wrote.

    Lynis and systemd-analyze on the server; ssh-audit, sslyze, testssl and a scan of all TCP ports from here.

    Exit codes: 0 all aims are met and all findings explained, 1 not so, 3 an auditor could not run.
    """
    known = waivers.read() + (waivers.read(own) if own else [])
    recorded = record.read()
    described = inventory.read(path)
    hosts = hosts_of(described, names)
    reach.require_all(Inventory(described.path, {host.name: host for host in hosts}), code=COULD_NOT_CHECK)
    # As Ctrl-C does: what was started, here and there, ends too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with console.progress() as show:
        reports = [ask(described, host, only, show) for host in hosts]
    if recording:
        write_record(reports)
        recorded = record.read()
    judged = auditing.judge(reports, known, recorded)
    if html:
        from sanso.audit import page  # only then: it is the one part that needs a template

        write(html, page.render(judged.as_data()))
    tell(judged, described, html)
    code = FAILED if not judged.ok else DONE if judged.complete else COULD_NOT_CHECK
    console.result({"exit": code, **judged.as_data()})
    ctx.exit(code)


def hosts_of(described: Inventory, names: tuple[str, ...]) -> list[Host]:
    unknown = [name for name in names if name not in described.hosts]
    if unknown:
        raise click.UsageError(f"{unknown[0]} is no host of the inventory; these are: {', '.join(described.hosts)}")
    return [host for name, host in described.hosts.items() if not names or name in names]


def ask(described: Inventory, host: Host, only: tuple[str, ...], show) -> auditing.Report:
    try:
        return auditing.audit(described, host, only, show)
    except auditing.CouldNotAudit as error:
        raise Failure(error.sentence, next_step=error.next_step, code=COULD_NOT_CHECK) from error


def write_record(reports: list[auditing.Report]):
    machines = [report for report in reports if report.target.is_machine]
    if not machines:
        raise Failure(
            "only machines on this computer are recorded: a server of your own is like no other",
            next_step="the same without --record",
        )
    for report in machines:
        record.write(report.target, {figure.key: figure.value for each in report.outcomes for figure in each.figures})
    console.say(f"Recorded in {relative(record.FILE)}")


def write(file: Path, text: str):
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{file} can't be written: {error.strerror}", next_step="name another file") from error


# What a person reads


def tell(judged: auditing.Judged, described: Inventory, html: Path | None):
    for host in judged.hosts:
        tell_host(host)
    for waiver in judged.stale:
        console.bad(f"{waiver.place}: stale, nothing says {waiver} any more", "take it out")
    for waiver in judged.outdated:
        console.say(f"  {waiver.place}: nothing says {waiver} here", style="dim")
    if html:
        console.say(f"  wrote {relative(html)}", style="dim")
    elif any(not each.finding.weighs for host in judged.hosts for each in host.findings):
        console.say("  --html FILE or --json shows what systemd-analyze leaves open, too", style="dim")
    tell_end(judged, described)


def tell_host(host: auditing.JudgedHost):
    target = host.target
    what = [target.platform, f"profile {target.profile}", *(["container"] if target.container else [])]
    console.line([(target.name, "bold"), (f"  {target.address}, {', '.join(what)}", "dim")])
    rows = [row(each) for each in host.measures]
    head = ("yardstick", "figure", "aim", "record")
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    for line, measure in [(head, None), *zip(rows, host.measures, strict=True)]:
        cells = [
            text.ljust(width) if at == 0 else text.rjust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        mark, style, words = VERDICTS[measure.verdict] if measure else (" ", "dim", "")
        said = "; ".join(filter(None, [words, "better than recorded" if measure and measure.better else ""]))
        console.line([(f"{mark} ", style), ("  ".join(cells), "" if measure else "dim"), (f"  {said}", "dim")])
    for outcome in host.outcomes:
        if outcome.not_run and outcome.optional:
            console.say(f"  {outcome.auditor} was not run: {outcome.not_run}: {outcome.next_step}", style="dim")
        elif outcome.not_run:
            console.bad(f"{outcome.auditor} could not run: {outcome.not_run}", outcome.next_step)
    for each in host.findings:
        if each.waiver:
            said = f"  waived  {each.finding.auditor} {each.finding.id}  {each.finding.said}  ({each.waiver.reason})"
            console.say(said, style="dim")
    for finding in [each for each in host.unexplained if not each.is_of_a_figure]:
        console.bad(f"{finding.auditor} {finding.id}  {finding.said}", finding.next)


def row(measure: auditing.Measure) -> tuple[str, str, str, str]:
    recorded = "" if measure.recorded is None else f"{measure.recorded:g}"
    return measure.figure.name, measure.shown, measure.aim_shown, recorded


def tell_end(judged: auditing.Judged, described: Inventory):
    open_ones = [finding for host in judged.hosts for finding in host.unexplained]
    waived = sum(bool(each.waiver) for host in judged.hosts for each in host.findings)
    not_run = [outcome.auditor for host in judged.hosts for outcome in host.not_run]
    if not judged.ok:
        missed = [finding for finding in open_ones if finding.is_of_a_figure]
        counts = [
            (len(missed), "figure", " off its aim or record"),
            (len(open_ones) - len(missed), "finding", " without a waiver"),
            (len(judged.stale), "stale waiver", ""),
        ]
        said = [console.count(number, word) + rest for number, word, rest in counts if number]
        console.bad(", ".join(said), f"{waived} waived")
        console.say(f"  next  mend them, or say in audit/waivers.yml why they stay: {GUIDE}", style="dim")
    elif not_run:
        console.bad(f"Could not check: {', '.join(not_run)} did not run", f"{waived} findings waived")
        console.say(f"  next  ./sanso status{described.option}", style="dim")
    else:
        console.good("All aims are met, and all findings explained", f"{waived} waived")
