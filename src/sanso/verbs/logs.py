"""logs: what every tier said, in one order; or what they said about one request."""

from __future__ import annotations

import contextlib
import re
import time
from datetime import datetime, timedelta

import click

from sanso import console, inventory, options, reach
from sanso.console import COULD_NOT_CHECK, FAILED, Failure
from sanso.inventory import Host, Inventory
from sanso.ssh import Way
from sanso.tracing import CouldNotTrace, Evidence

TIERS = ("web", "app", "db", "os")
STYLES = {"web": "green", "app": "cyan", "db": "magenta", "os": "blue"}
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
PAUSE = 1  # seconds between two looks of --follow
OVERLAP = 2  # seconds that each look of --follow goes back over, for lines that were written late


class Since(click.ParamType):
    """15m, 2h, 1d, 22:40, 2026-11-21T22:40: seconds since 1970."""

    name = "when"

    def convert(self, value, param, ctx):
        if match := re.fullmatch(r"(\d+)([smhd])", value):
            return (datetime.now() - timedelta(**{UNITS[match[2]]: int(match[1])})).timestamp()
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value).timestamp()
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(f"{datetime.now():%Y-%m-%d}T{value}").timestamp()
        self.fail(f"{value!r} is no time: 15m, 2h, 1d, 22:40 or 2026-11-21T22:40", param, ctx)


class RequestId(click.ParamType):
    """A trace id, alone or inside a `traceresponse`."""

    name = "id"

    def convert(self, value, param, ctx):
        match = re.fullmatch(r"(?:[0-9a-f]{2}-)?([0-9a-f]{32})(?:-.*)?", value)
        return (
            match[1] if match else self.fail(f"{value!r} has no trace id, which is 32 hexadecimal digits", param, ctx)
        )


@click.command()
@click.option("--request", "id", type=RequestId(), help="What one request left: its trace id, or its traceresponse.")
@click.option(
    "--tier", "tiers", type=click.Choice(TIERS), multiple=True, help="Only this tier (again for more than one)."
)
@click.option("--since", type=Since(), default="15m", show_default=True, help="From then on: 15m, 2h, 1d, 22:40, …")
@click.option("--lines", type=click.IntRange(1), default=200, show_default=True, help="The last so many.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@options.inventory
@options.as_json
@click.pass_context
def logs(ctx, id, tiers, since, lines, follow, path):
    """Show what the tiers said, merged in the order of time.

    The OS only if it is asked for. With --request: the lines that name it, and dim those that were said meanwhile.
    Exit codes: 0 shown, 1 no tier knows the request, 3 a host couldn't be asked.
    """
    if follow and (id or console.speaks_json()):
        raise click.UsageError("--follow goes with neither --request nor --json")
    described = inventory.read(path)
    reach.require_all(described, code=COULD_NOT_CHECK)
    try:
        with contextlib.ExitStack() as opened:
            sources = [
                Source(host, opened.enter_context(Evidence(Way.to(host), user="root", option=described.option)), those)
                for host in described.hosts.values()
                if (those := tiers_of(host, tiers))
            ]
            if id:
                about(sources, id, described)
            else:
                recent(sources, since, lines, follow)
    except CouldNotTrace as error:
        raise Failure(error.sentence, next_step=error.next_step, code=COULD_NOT_CHECK) from error


def tiers_of(host: Host, wanted: tuple[str, ...]) -> list[str]:
    """Those of the wanted tiers that a host has; without any wanted, all but the OS, which says much."""
    return [tier for tier in TIERS if tier in (wanted or TIERS[:3]) and (tier in host.groups or tier == "os")]


class Source:
    """The logs of one host, whose clock may differ from this computer's."""

    def __init__(self, host: Host, evidence: Evidence, tiers: list[str]):
        self.host, self.evidence, self.tiers = host, evidence, tiers
        self.offset = evidence.clock(1).offset / 1e9

    def lines(self, since: float, count: int) -> list[dict]:
        return self.own(self.evidence.logs(self.tiers, since + self.offset, count))

    def request(self, id: str) -> list[dict]:
        return self.own(self.evidence.request(id, self.tiers))

    def own(self, answer: dict) -> list[dict]:
        """An answer's lines, on this computer's clock."""
        for note in answer["notes"]:
            console.say(f"{self.host.name}: {note}", style="yellow")
        return [{**line, "host": self.host.name, "time": line["time"] - self.offset} for line in answer["lines"]]


def merged(found: list[list[dict]]) -> list[dict]:
    return sorted((line for lines in found for line in lines), key=lambda line: line["time"])


def about(sources: list[Source], id: str, described: Inventory):
    lines = merged([source.request(id) for source in sources])
    if not lines:
        raise Failure(
            f"no tier knows the request {id}",
            next_step=f"./sanso logs --tier web{described.option} lists requests with their trace ids",
            code=FAILED,
        )
    show(lines)
    console.result({"lines": lines})


def recent(sources: list[Source], since: float, count: int, follow: bool):
    lines = merged([source.lines(since, count) for source in sources])[-count:]
    show(lines)
    console.result({"lines": lines})
    if not lines:
        console.say(f"Nothing was said since {datetime.fromtimestamp(since):%Y-%m-%d %H:%M:%S}.")
    with contextlib.suppress(KeyboardInterrupt):
        seen = {key(line) for line in lines}
        while follow:
            time.sleep(PAUSE)
            since = max([since, *(line["time"] - OVERLAP for line in lines)])
            lines = merged([source.lines(since, count) for source in sources])
            show([line for line in lines if key(line) not in seen])
            seen = {key(line) for line in lines}


def key(line: dict) -> tuple:
    """What makes a line the same one when it is read again; its time is read off a clock that is measured anew."""
    return line["host"], line["tier"], line["source"], line["pid"], line["text"], round(line["time"], 3)


def show(lines: list[dict]):
    several = len({line["host"] for line in lines}) > 1
    for line in lines:
        at = datetime.fromtimestamp(line["time"])
        when = f"{at:%H:%M:%S}.{at.microsecond // 1000:03}"
        if at.date() != datetime.now().date():
            when = f"{at:%Y-%m-%d} {when}"
        aside = "" if line.get("sure", True) else "dim"
        source = f"{line['host']} {line['source']}" if several else line["source"]
        text = line["text"].replace("\n", "\n    ")
        style = aside or STYLES[line["tier"]]
        console.line([(f"{when} ", "dim"), (f"{line['tier']:<4}", style), (f"{source}: ", style), (text, aside)])
