"""What the verbs that run layers have in common: the engines, and the last lines."""

from __future__ import annotations

import socket
import webbrowser

import click

from sanso import ansible, console, page, pyinfra
from sanso.console import Failure
from sanso.project import relative

ENGINES = {"ansible": ansible, "pyinfra": pyinfra}
MEND = "mend what the message names, then the same command again"

engine = click.option(
    "--engine",
    "name",
    type=click.Choice(list(ENGINES)),
    default="ansible",
    show_default=True,
    help="What builds the layers; both build the same.",
)
plan = click.option("--plan", is_flag=True, help="Only show what would change, with the diffs.")


def report(described, runs, log, sites, *, again, plan, browser=False, **more):
    """The last lines: what changed, the pages of these sites, and where to go from here. more: of the result."""
    changed = sum(run.changed for run in runs)
    layers = [layer.as_data() for run in runs for layer in run.layers if layer.acted]
    result = {
        "changed": changed,
        "layers": layers,
        "urls": [f"https://{name}/" for name, _ in sites],
        "log": relative(log),
        **more,
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
