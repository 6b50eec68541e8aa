"""ssh: a shell on a host, the way that Ansible goes there."""

from __future__ import annotations

import os
import sys

import click

from sanso import inventory, machines, options
from sanso.console import Failure
from sanso.ssh import Way


@click.command(cls=options.WithRest, rest="COMMAND")
@click.argument("host", required=False)
@options.inventory
@click.pass_context
def ssh(ctx, host, path):
    """Open a shell on a host, or run a command.

    With one host in the inventory, it needs no name.
    """
    described = inventory.read(path)
    names = ", ".join(described.hosts)
    if not host and len(described.hosts) > 1:
        raise click.UsageError(f"which host? {names}")
    if host and host not in described.hosts:
        raise click.UsageError(f"the inventory has no host {host}, but {names}; a command comes after --")
    chosen = described.hosts[host] if host else next(iter(described.hosts.values()))
    if chosen.is_machine and not (machines.record(chosen) and machines.is_running(chosen)):
        raise Failure(f"the machine {chosen.name} doesn't run", next_step=f"./sanso up{described.option}")
    terminal = ["-t"] if ctx.meta["rest"] and sys.stdin.isatty() and sys.stdout.isatty() else []
    words = [*Way.to(chosen).command(*terminal), *ctx.meta["rest"]]
    os.execvp(words[0], words)
