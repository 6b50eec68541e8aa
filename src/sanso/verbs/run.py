"""run: a command as an app runs it, in its release's environment and sandbox."""

from __future__ import annotations

import os
import shlex
import sys

import click

from sanso import apps, console, inventory, machines, options
from sanso.console import Failure
from sanso.project import ROOT
from sanso.ssh import Way


@click.command(cls=options.WithRest, rest="COMMAND")
@click.argument("app", required=False)
@click.option("--release", help="Another release than the one that serves.")
@click.option("--host", help="On which host, where the app runs on several.")
@options.inventory
@click.pass_context
def run(ctx, app, release, host, path):
    """Run a command as an app does, in its release.

    Say, ./sanso run shop -- flask shell. By the app's user, in the environment and the sandbox of the release that
    serves, with a terminal where there is one. The exit code is the command's own; 255 is ssh's.
    """
    if not ctx.meta["rest"]:
        raise click.UsageError("which command? It comes after --, say: ./sanso run -- flask shell")
    described = inventory.read(path)
    chosen = apps.chosen(described, app)
    hosts = {each.name: each for each in chosen.hosts}
    if host not in hosts and (host or len(hosts) > 1):
        raise click.UsageError(f"{chosen.name} runs on {', '.join(hosts)}: --host says where")
    where = hosts[host] if host else chosen.hosts[0]
    if where.is_machine and not (machines.record(where) and machines.is_running(where)):
        raise Failure(f"the machine {where.name} doesn't run", next_step=f"./sanso up{described.option}")
    terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    which = ["--release", release] if release else []
    # One word for ssh, which would join several with blanks: the command's own quotes would be lost.
    there = shlex.join(["sudo", "-n", apps.TOOL, "run", chosen.name, *which, "--", *ctx.meta["rest"]])
    words = [*Way.to(where).command(*terminal), there]
    console.speak_json(True)  # stdout is the command's
    console.command(words, ROOT)
    os.execvp(words[0], words)
