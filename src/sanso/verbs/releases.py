"""releases: which ones an app has on its servers, what became of each, and what serves."""

from __future__ import annotations

import click

from sanso import apps, console, inventory, options
from sanso.apps import App

SIGNS = {"served": "", "failed": "failed", "withdrawn": "withdrawn", "prepared": "not tried"}


@click.command()
@click.argument("app", required=False)
@options.inventory
@options.as_json
def releases(app, path):
    """Show an app's releases: what serves, what did, what failed.

    Without a name: those of every app. Exit codes: 0 shown, 3 a host couldn't be asked.
    """
    described = inventory.read(path)
    wanted = [apps.chosen(described, app)] if app else list(apps.described(described).values())
    found = [(each, host.name, apps.releases(each, host)) for each in wanted for host in each.hosts]
    for each, host, said in found:
        show(each, host, said)
    console.result({"apps": [{**said, "app": each.name, "host": host} for each, host, said in found]})
    if app_with_older := next((each for each, _, said in found if len(older(said)) > 0), None):
        console.say(f"  next  ./sanso rollback {app_with_older.name}{described.option}", style="dim")


def older(said: dict) -> list[dict]:
    """Those that can serve again."""
    return [each for each in said["releases"] if each["state"] == "served" and not each["serves"]]


def show(app: App, host: str, said: dict):
    console.say(f"{app.name} on {host}", style="bold")
    for each in said["releases"]:
        what = "serves" if each["serves"] else SIGNS.get(each["state"], each["state"])
        revision = f"revision {each['revision']}" if each.get("revision") else ""
        at = each.get("at", "")[:19].replace("T", " ")
        by = f"by {each['by']}" if each.get("by") else ""
        words = [each["id"], f"{at:19}", f"{what:9}", by, apps.origin(each), revision]
        style = "green" if each["serves"] else "red" if each["state"] == "failed" else ""
        console.say("  " + "  ".join(word for word in words if word), style=style)
        if each["state"] == "failed" and each.get("step"):
            console.say(f"      at {each['step']!r}: {gist(each.get('said', ''))}", style="dim")
        if each.get("why"):
            console.say(f"      because: {each['why']}", style="dim")
    if not said["releases"]:
        console.say("  none yet", style="dim")
    current = next((each.get("version") for each in said["releases"] if each["serves"]), "")
    if current and app.version and current != app.version:
        console.say(f"  note  the inventory says version {app.version}: the next ./sanso up or deploy releases that")
    if said.get("locked"):
        console.say(f"  busy: {said['locked'].get('what', 'a run')}, by {said['locked'].get('who', 'somebody')}")


def gist(said: str) -> str:
    """One line of what went wrong: a traceback ends with it, and Sansō's own words begin with it."""
    lines = said.partition("\n\n")[0].splitlines() or [""]
    return lines[0] if "did not" in lines[0] else lines[-1].strip()
