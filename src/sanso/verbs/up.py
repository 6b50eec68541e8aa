"""up: make the machine if there is one to make, build every layer, and ask for the page."""

from __future__ import annotations

import socket
import webbrowser

import click

from sanso import ansible, console, inventory, machines, options, page, pyinfra, reach, server
from sanso.console import Failure
from sanso.project import alone, new_log, relative

ENGINES = {"ansible": ansible, "pyinfra": pyinfra}
MEND = "mend what the message names, then the same command again"


@click.command(cls=options.WithRest, rest="ENGINE'S WORD")
@click.option(
    "--on", "target", type=server.Target(), help="A server of your own, instead of a machine on this computer."
)
@click.option("--image", help="What the machine is made from: auto, or a name of the catalogue (roles/machine).")
@click.option(
    "--engine",
    "name",
    type=click.Choice(list(ENGINES)),
    default="ansible",
    show_default=True,
    help="What builds the layers; both build the same.",
)
@click.option("--plan", is_flag=True, help="Only show what would change, with the diffs.")
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
        settings = {"log": (log := new_log("up")), "verbose": verbose, "next_step": MEND}
        runs = []
        if described.machines and not plan:
            words = ["-e", f"machine_image={image}"] if image else []
            runs.append(machines.run_playbook(described, *words, **settings))
        else:
            reach.require_all(described)
        runs.append(engine.build(described, *rest, plan=plan, **settings))
        whole = not any(word.startswith(engine.PARTIAL) for word in rest)
        report(described, runs, log, again=again, plan=plan, whole=whole, browser=not no_open)


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


def report(described, runs, log, *, again, plan, whole, browser):
    """The last lines: what changed, the page, and where to go from here."""
    changed = sum(run.changed for run in runs)
    layers = [layer.as_data() for run in runs for layer in run.layers if layer.acted]
    sites = described.sites() if whole else []
    result = {
        "changed": changed,
        "layers": layers,
        "urls": [f"https://{name}/" for name, _ in sites],
        "log": relative(log),
    }
    if plan:
        console.result(result)
        what = f"{console.count(changed, 'task')} would change something" if changed else "Nothing would change"
        console.say(f"{what}. Nothing was changed; do it: {again}")
        return
    if sites:
        result["page"] = show_pages(described, sites, browser)
    console.result(result)
    console.say(f"  next  ./sanso check{described.option}  ./sanso ssh{described.option}", style="dim")
    where = f" https://{sites[0][0]}/" if sites else ""
    what = f"{console.count(changed, 'task')} changed something" if changed else "Nothing changed"
    console.say(f"{what}.{where}", style="bold")


def show_pages(described, sites, browser) -> dict:
    """Ask for the first site's page, and say how to ask for each."""
    ca = described.ca()
    name, address = sites[0]
    url = f"https://{name}/"
    to_check = f"./sanso check{described.option}"
    try:
        answer = page.fetch(name, address, ca)
    except page.NoAnswer as error:
        raise Failure(str(error), next_step=to_check) from error
    title = f' "{answer.title}"' if answer.title else ""
    if answer.status >= 400:
        raise Failure(f"{url} answers {answer.status}{title}", evidence=answer.start, next_step=to_check)
    console.good(f"{url} answers {answer.status}{title}")
    for name, address in sites:
        trust = f"--cacert {ca} " if ca else ""
        reach = "" if known_as(name) == address else f"--resolve {name}:443:{address} "
        console.say(f"  curl {trust}{reach}https://{name}/")
    if browser and console.has_desktop():
        webbrowser.open(url)
    return {"url": url, "status": answer.status, "title": answer.title}


def known_as(name) -> str:
    """The address that this computer knows for a name, or an empty word."""
    try:
        return socket.gethostbyname(name)
    except OSError:
        return ""
