"""trace: one request, followed through every tier by what each of them wrote about it."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import click

from sanso import console, inventory, options, reach
from sanso.console import COULD_NOT_CHECK, DONE, FAILED, Failure
from sanso.inventory import Host, Inventory
from sanso.project import relative
from sanso.ssh import Way
from sanso.tracing import Call, CouldNotTrace, Evidence, Trace, evidence, follow, refuse_untraced, site_of, waterfall

STYLES = {
    "client": "blue",
    "nginx": "green",
    "uwsgi": "yellow",
    "app": "cyan",
    "mysql": "magenta",
    "good": "green",
    "bad": "bold red",
}


@click.command()
@click.argument("what", default="/", metavar="[URL|PATH]")
@click.option("--method", help="Instead of GET, or of POST where there is --data.")
@click.option("--data", help="The request's body.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header (again for more than one).")
@click.option("--app", "app_name", help="The app that a path is for; otherwise the inventory's first.")
@click.option("--host", "host_name", help="The host of the web tier that is asked; otherwise the inventory's first.")
@click.option("--repeat", type=click.IntRange(1, 10_000), default=1, help="So many requests, one after another.")
@click.option("--slowest", is_flag=True, help="With --repeat: show the slowest one, not the last.")
@click.option("--otlp", type=click.Path(dir_okay=False, path_type=Path), help="Write OTLP/JSON for tracing tools.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to look at.")
@options.inventory
@options.as_json
@click.pass_context
def trace(ctx, what, method, data, headers, app_name, host_name, repeat, slowest, otlp, html, path):
    """Follow one request through every tier.

    Exit codes: 0 all proofs hold, 1 one doesn't, or the request broke on its way, 3 nothing can be told.
    """
    described = inventory.read(path)
    host = host_of(described, host_name)
    try:
        refuse_untraced(host.variables)
        url, app = site_of(host.get("apps", []), what, app_name or "")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except CouldNotTrace as error:
        raise could_not(error) from error
    call = call_of(url, host, method or ("GET" if data is None else "POST"), headers, data)
    reach.require_all(Inventory(described.path, {host.name: host}), code=COULD_NOT_CHECK)
    try:
        traces = list(follow_all(described, host, call, app, repeat))
    except CouldNotTrace as error:
        raise could_not(error) from error
    shown = max(traces, key=lambda each: each.duration) if slowest else traces[-1]
    written = write(traces, shown, otlp, html)
    report(traces, shown, written)
    ctx.exit(DONE if all(each.ok for each in traces) else FAILED)


def could_not(error: CouldNotTrace) -> Failure:
    return Failure(error.sentence, next_step=error.next_step, code=COULD_NOT_CHECK)


def host_of(described: Inventory, name: str | None) -> Host:
    """The host that is asked."""
    web = {host.name: host for host in described.group("web")}
    if not web:
        raise Failure(
            f"the inventory {relative(described.path)} has no host in the group web, which is who would be asked",
            next_step="inventory/example/hosts.yml shows one",
            code=COULD_NOT_CHECK,
        )
    if name and name not in web:
        raise click.UsageError(f"{name} is no host of the web tier; these are: {', '.join(web)}")
    return web[name] if name else next(iter(web.values()))


def call_of(url: str, host: Host, method: str, headers: tuple[str, ...], data: str | None) -> Call:
    pairs = []
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise click.UsageError(f"{header!r} is no header: 'Name: value'")
        pairs.append((name.strip(" "), value.strip(" ")))
    body = None if data is None else data.encode(errors="surrogateescape")
    try:
        return Call(url, host.address, method, tuple(pairs), body)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def follow_all(described: Inventory, host: Host, call: Call, app: dict, repeat: int):
    """Follow each request; of several, a line each is shown as they come."""
    user = host.get("trace_user", evidence.USER)
    with console.progress() as show:
        show(f"{host.name}: opening the link to the evidence")
        with Evidence(Way.to(host), user, described.option) as link:
            for number in range(1, repeat + 1):
                show(f"{call.method} {call.url}" + (f" ({number} of {repeat})" if repeat > 1 else ""))
                found = follow(link.way, call, ca=described.ca(), app=app, evidence=link, option=described.option)
                if repeat > 1:
                    say([one_line(number, found)])
                yield found


def one_line(number: int, found: Trace) -> waterfall.Line:
    said = f"{len(found.proofs)} proofs hold" if found.ok else waterfall.verdict(found)
    return [
        ("✓ " if found.ok else "✗ ", "good" if found.ok else "bad"),
        (f"{number:4}  {found.status or '---'}  {found.duration / 1e6:9.1f} ms", ""),
        (f"  {said}", "dim" if found.ok else ""),
    ]


def write(traces: list[Trace], shown: Trace, otlp: Path | None, html: Path | None) -> list[Path]:
    """Write the files that were asked for, and tell which."""
    contents = {}
    if otlp:
        spans = [each for found in traces for each in found.otlp()["resourceSpans"]]
        contents[otlp] = json.dumps({"resourceSpans": spans}, indent=1)
    if html:
        from sanso.tracing import page  # only then: it is the one part that needs a template

        contents[html] = page.render(shown.as_data())
    for file, text in contents.items():
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise Failure(f"{file} can't be written: {error.strerror}", next_step="name another file") from error
    return list(contents)


def report(traces: list[Trace], shown: Trace, written: list[Path]):
    several = len(traces) > 1
    console.result({"traces": [each.as_data() for each in traces]} if several else shown.as_data())
    lines = [*([summary(traces)] if several else []), *waterfall.body(shown, console.width())]
    lines += [[(f"  wrote {relative(file)}", "dim")] for file in written]
    say(lines + (verdict(traces) if several else waterfall.endings(shown)))


def summary(traces: list[Trace]) -> waterfall.Line:
    took = [each.duration / 1e6 for each in traces]
    figures = f"min {min(took):.1f} ms, median {statistics.median(took):.1f} ms, max {max(took):.1f} ms"
    return [(f"{len(traces)} requests  {figures}", "bold")]


def verdict(traces: list[Trace]) -> list[waterfall.Line]:
    failed = [each for each in traces if not each.ok]
    if not failed:
        return [[("✓ ", "good"), (f"all proofs of all {len(traces)} requests hold", "bold")]]
    said = f"{len(failed)} of {len(traces)} requests failed; the first: {waterfall.verdict(failed[0])}"
    return [[("✗ ", "bad"), (said, "bold")], [("  next  ", "dim"), (failed[0].next_step, "")]]


def say(lines: list[waterfall.Line]):
    for line in waterfall.as_ascii(lines) if console.shows_only_ascii() else lines:
        console.line([(text, STYLES.get(style, style)) for text, style in line])
