"""doctor: why a request fails, and what mends it."""

from __future__ import annotations

from dataclasses import asdict

import click

from sanso import console, inventory, machines, options
from sanso.console import COULD_NOT_CHECK, DONE, FAILED
from sanso.doctor import Diagnosis, Finding, Patient, examine
from sanso.inventory import Host, Inventory
from sanso.ssh import Way
from sanso.tracing import Call
from sanso.tracing.evidence import printable
from sanso.verbs.trace import host_of

THROUGH = "client → TLS → nginx → socket → uWSGI → app"


@click.command()
@click.argument("url", required=False)
@click.option("--host", "host_name", help="The host of the web tier that is asked; otherwise the inventory's first.")
@options.inventory
@options.as_json
@click.pass_context
def doctor(ctx, url, host_name, path):
    """Find out why a request fails: one cause, one fix.

    Follows it from the name to the database, from here and on the server. Without a URL, each app is asked for its
    health. Nothing is changed.

    Exit codes: 0 all is well, 1 something is wrong, 3 it could not be looked at.
    """
    described = inventory.read(path)
    host = host_of(described, host_name)
    patient = patient_of(described, host)
    urls = [checked(url)] if url else patient.healths
    if not urls:
        raise console.Failure(
            f"no app of {host.name} is served under a name",
            next_step="group_vars/all/apps.yml of the inventory says which",
            code=COULD_NOT_CHECK,
        )
    with console.progress() as show:
        show(f"{host.name}: following {console.count(len(urls), 'request')}")
        diagnoses = examine(patient, urls)
    code = verdict(diagnoses)
    console.result({"exit": code, "host": host.name, "requests": [as_data(each) for each in diagnoses]})
    tell(diagnoses, patient)
    ctx.exit(code)


def patient_of(described: Inventory, host: Host) -> Patient:
    return Patient(
        name=host.name,
        way=Way.to(host),
        settings=host.variables,
        ca=described.ca(),
        option=described.option,
        several=len(described.hosts) > 1,
        runs=bool(machines.record(host)) and machines.is_running(host) if host.is_machine else None,
    )


def checked(url: str) -> str:
    url = url if "://" in url else f"https://{url}"
    try:
        Call(url, "")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return url


def verdict(diagnoses: list[Diagnosis]) -> int:
    if any(each.findings for each in diagnoses):
        return FAILED
    return COULD_NOT_CHECK if any(each.shut for each in diagnoses) else DONE


def as_data(diagnosis: Diagnosis) -> dict:
    cause, *others = [plain(each) for each in diagnosis.findings] or [None]
    return printable(
        {
            "url": diagnosis.url,
            "status": diagnosis.seen.reply.status,
            "healthy": diagnosis.is_healthy,
            "cause": cause,
            "others": others,
            "could_not_look": diagnosis.shut,
            "not_seen": dict(diagnosis.problems),
        }
    )


def plain(finding: Finding) -> dict:
    return {name: value for name, value in asdict(finding).items() if name != "because"}


def tell(diagnoses: list[Diagnosis], patient: Patient):
    """The first one that is ill, its cause and what mends it; or that all are well."""
    ill = next((each for each in diagnoses if each.findings), None)
    if ill:
        show(ill, patient)
        return
    shut = next((each for each in diagnoses if each.shut), None)
    if shut:
        reply = shut.seen.reply
        got = f"answered {reply.status}" if reply.status else reply.problem
        console.say(f"    {shut.url}: {printable(got)}", style="dim")
        console.bad(f"{patient.name} could not be looked at: {printable(shut.shut)}")
        console.say(f"  next  {shut.next_step}", style="dim")
        return
    for each in diagnoses:
        last = " → MySQL" if each.app.get("database", "mysql") == "mysql" else ""
        console.good(f"{each.url} is well: {THROUGH}{last}", f"answered {each.seen.reply.status}")


def show(diagnosis: Diagnosis, patient: Patient):
    cause, *others = diagnosis.findings
    console.say(f"{diagnosis.url}  on {patient.name}", style="bold")
    for line in filter(None, cause.evidence):
        console.say(f"    {printable(line)}", style="dim")
    console.bad(printable(cause.cause))
    for other in unrelated(cause, others)[:3]:
        console.say(f"  also  {printable(other.cause)}", style="dim")
    console.say(f"  fix   {cause.fix}")


def unrelated(cause: Finding, others: list[Finding]) -> list[Finding]:
    """Those of the others that won't go away with the cause, as far as can be told."""
    return [other for other in others if cause.kind not in other.because]
