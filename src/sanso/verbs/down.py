"""down: remove the machines of this computer. They are made to be thrown away, so nothing is asked."""

from __future__ import annotations

import click

from sanso import console, inventory, machines, options
from sanso.console import Failure
from sanso.project import alone, new_log


@click.command()
@options.inventory
@options.verbose
@options.as_json
def down(path, verbose):
    """Remove the machines of this computer.

    All that they hold is gone with them. Servers of your own are never touched.
    """
    with alone("down"):
        described = inventory.read(path)
        spared = [host.name for host in described.hosts.values() if not host.is_machine]
        if not described.machines:
            raise Failure(
                f"no host of this inventory is a machine on this computer: {', '.join(spared)} stays as it is",
                next_step="./sanso down removes the machines of inventory/local",
            )
        if spared:
            console.say(f"Not touched, being no machine of this computer: {', '.join(spared)}")
        there = [host.name for host in described.machines if machines.record(host)]
        again = "the same command again, once that is mended"
        words = ("-e", "machine_state=absent")
        run = machines.run_playbook(described, *words, log=new_log("down"), verbose=verbose, next_step=again)
    console.result({"removed": there})
    if there:
        console.say(f"{', '.join(there)} is gone. Make it again: ./sanso up{described.option}")
    else:
        console.say("Swept up what was left." if run.changed else "Nothing to remove.")
