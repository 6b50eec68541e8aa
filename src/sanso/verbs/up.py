"""up: make the machine if there is one to make, build every layer, and ask for the page."""

from __future__ import annotations

import click

from sanso import ansible, building, console, inventory, machines, options, reach, server
from sanso.building import ENGINES
from sanso.project import alone, new_log


@click.command(cls=options.WithRest, rest="ENGINE'S WORD")
@click.option(
    "--on", "target", type=server.Target(), help="A server of your own, instead of a machine on this computer."
)
@click.option("--image", help="What the machine is made from: auto, or a name of the catalogue (roles/machine).")
@building.engine
@building.plan
@click.option("--no-open", is_flag=True, help="Don't open the browser.")
@click.option("--yes", is_flag=True, help="Take a new server's host key without asking.")
@options.inventory
@options.verbose
@options.as_json
@click.pass_context
def up(ctx, target, image, name, plan, no_open, yes, path, verbose):
    """Build every layer, here or on your own server."""
    if target and (path or image):
        raise click.UsageError("--on needs neither --inventory nor --image: it makes and uses inventory/<host>")
    engine, rest = ENGINES[name], ctx.meta["rest"]
    engine.accept(rest)
    with alone("up"):
        if target:
            path = server.prepare(target, yes=yes)
        described = inventory.read(path)
        again = f"./sanso up{'' if engine is ansible else f' --engine {name}'}{described.option}"
        if plan and machines.missing(described):
            say_what_would_be_made(described, image, again)
            return
        settings = {"log": (log := new_log("up")), "verbose": verbose, "next_step": building.MEND}
        runs = []
        if described.machines and not plan:
            words = ["-e", f"machine_image={image}"] if image else []
            runs.append(machines.run_playbook(described, *words, **settings))
        else:
            reach.require_all(described)
        runs.append(engine.build(described, *rest, plan=plan, **settings))
        whole = not any(word.startswith(engine.PARTIAL) for word in rest)
        sites = described.sites() if whole else []
        building.report(described, runs, log, sites, again=again, plan=plan, browser=not no_open)


def say_what_would_be_made(described, image, again):
    for host in machines.missing(described):
        wanted = image or host.get("machine_image", "auto")
        console.say(
            f"Would make the machine {host.name} ({host.address}) from the image {wanted}, then these layers on it:"
        )
    names = ansible.layers(*described.words, ansible.SITE)  # pyinfra's have the same names
    for name in names:
        console.say(f"  {name}")
    console.result({"machines": [host.name for host in machines.missing(described)], "layers": names})
    console.say(f"Nothing was changed. Do it: {again}")
