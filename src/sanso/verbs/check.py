"""check: the tests of every tier, read-only, against the hosts of an inventory; or what was changed by hand there."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import click

from sanso import console, drift, inventory, junit, options, reach
from sanso.console import COULD_NOT_CHECK, DONE, FAILED
from sanso.project import ROOT

TESTS = ROOT / "tests" / "tiers"


def tiers() -> dict[str, Path]:
    """Every tier that has tests: its name, and its file."""
    return {file.stem.removeprefix("test_"): file for file in sorted(TESTS.glob("test_*.py"))}


class Tier(click.ParamType):
    name = "tier"

    def convert(self, value, param, ctx):
        known = tiers()
        if value not in known:
            self.fail(f"{value!r} has no tests; these have: {', '.join(known) or 'none'}", param, ctx)
        return value


@click.command(cls=options.WithRest, rest="PYTEST WORD")
@click.option(
    "--tier", type=Tier(), multiple=True, help="Only these tests, such as web or db (again for more than one)."
)
@click.option("--drift", "by_hand", is_flag=True, help="Show what was changed by hand since it was built.")
@click.option(
    "--engine",
    type=click.Choice(list(drift.BY)),
    help="With --drift: which one says what should be. Both say the same; pyinfra, the default, takes seconds.",
)
@options.inventory
@options.verbose
@options.as_json
@click.pass_context
def check(ctx, tier, by_hand, engine, path, verbose):
    """Prove every tier; nothing is changed.

    With --drift: compare each server with what the inventory says now, and show what was changed by hand.

    Exit codes: 0 all passed and nothing drifted, 1 something is wrong, 3 it could not be checked.
    """
    if by_hand:
        if tier or ctx.meta["rest"]:
            raise click.UsageError("--drift looks at everything: no --tier goes with it, and no words for pytest")
        show_drift(ctx, path, engine or next(iter(drift.BY)), verbose)
    elif engine:
        raise click.UsageError("--engine goes with --drift")
    else:
        prove(ctx, tier, path, verbose)


def show_drift(ctx, path, engine, verbose):
    began = time.monotonic()
    described = inventory.read(path)
    reach.require_all(described, code=COULD_NOT_CHECK)
    findings = drift.find(described, engine, verbose=verbose)
    took = time.monotonic() - began
    for finding in findings:
        tell_finding(finding)
    code = FAILED if findings else DONE
    console.result({"exit": code, "seconds": round(took, 1), "findings": [asdict(each) for each in findings]})
    hosts = f"{console.count(len(described.hosts), 'host')}, {console.seconds(took)}"
    if not findings:
        console.good("Nothing was changed by hand", hosts)
        ctx.exit(code)
    console.bad(f"{console.count(len(findings), 'thing')} changed since it was built", hosts)
    if any(each.rerun for each in findings):
        console.say(f"  next  ./sanso up{described.option} builds what each layer says again", style="dim")
    ctx.exit(code)


def tell_finding(finding: drift.Finding):
    console.bad(f"{finding.host}: {finding.what}", finding.layer)
    console.diff(finding.diff)
    console.say(f"    next  {finding.next}", style="dim")


def prove(ctx, tier, path, verbose):
    described = inventory.read(path)
    reach.require_all(described, code=COULD_NOT_CHECK)
    where = [tiers()[name] for name in tier] or [TESTS]
    paths = [str(inventory.relative_to_root(path)) for path in [*where, described.path]]
    command = ["pytest", *paths[:-1], "--inventory", paths[-1], *(["-v"] if verbose else []), *ctx.meta["rest"]]
    console.command(command, ROOT)
    with tempfile.TemporaryDirectory() as folder:
        words = [*command, f"--junitxml={folder}/check.xml"]
        # What the tests say goes where messages go: with --json, that is stderr.
        code = subprocess.run(words, cwd=ROOT, stdout=2 if console.speaks_json() else None, check=False).returncode
        found = junit.read(Path(folder))
    console.result({"exit": verdict(code, found), "command": command, **asdict(found)})
    tell(verdict(code, found), found, described.option)
    ctx.exit(verdict(code, found))


def verdict(code: int, found: junit.Count) -> int:
    """pytest's exit code as ours. An error in a fixture is a check that was not made, not a fault of the server."""
    if code == 0 and found.passed:
        return DONE
    return FAILED if code == 1 and found.failed > found.errors else COULD_NOT_CHECK


def tell(exit_code: int, found: junit.Count, option: str):
    if exit_code == DONE:
        console.good(str(found))
    elif exit_code == FAILED:
        console.bad(str(found), f"next  ./sanso status{option}")
    else:
        console.bad(f"Could not check: {found}", f"next  ./sanso status{option}")
