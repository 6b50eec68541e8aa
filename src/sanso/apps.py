"""The apps of an inventory, for verbs that are about one: which is meant, where it runs, what its server says of it."""

from __future__ import annotations

import getpass
import json
import shlex
import textwrap
from dataclasses import dataclass

import click

from sanso import console
from sanso.console import Failure
from sanso.inventory import Host, Inventory
from sanso.ssh import Way

TOOL = "/usr/local/sbin/sanso-app"


@dataclass(frozen=True)
class App:
    """An app as the inventory describes it, and the hosts that it runs on."""

    name: str
    description: dict
    hosts: tuple[Host, ...]

    @property
    def version(self) -> str:
        return self.description.get("version", "")


def described(inventory: Inventory) -> dict[str, App]:
    """Every app by its name."""
    found: dict[str, App] = {}
    for host in inventory.group("app"):
        for app in host.get("apps", []):
            before = found[app["name"]].hosts if app["name"] in found else ()
            found[app["name"]] = App(app["name"], app, (*before, host))
    return found


def chosen(inventory: Inventory, name: str | None) -> App:
    """The app of that name; without one, the only one that there is."""
    found = described(inventory)
    names = ", ".join(found) or "none"
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name is None:
        raise click.UsageError(f"which app? {names}")
    if name not in found:
        raise click.UsageError(f"the inventory has no app {name}, but {names}")
    return found[name]


def whoever() -> str:
    """Who runs this, for the app's history."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in a container
        return ""


def releases(app: App, host: Host) -> dict:
    """What the server says of an app's releases. Raises Failure where it can't be asked."""
    way = Way.to(host)
    done = way.run(shlex.join(["sudo", "-n", TOOL, "releases", app.name, "--json"]))
    if done.returncode == 255:
        what, then = way.explain(done.stderr)
        raise Failure(what, next_step=then, code=console.COULD_NOT_CHECK)
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise Failure(
            f"{host.name} doesn't say which releases {app.name} has",
            evidence=done.stderr or done.stdout,
            next_step=f"./sanso deploy {app.name}",
            code=console.COULD_NOT_CHECK,
        ) from error


def origin(release: dict) -> str:
    """Where a release comes from: its version, its commit, and what that says."""
    commit = release.get("commit") or ""
    dirty = ", with changes that no commit has" if release.get("dirty") else ""
    words = [
        release.get("version") or "",
        commit[:10],
        textwrap.shorten(release.get("subject") or "", 50, placeholder="…"),
    ]
    return " ".join(word for word in words if word) + dirty


def serving(app: App, described: Inventory) -> dict[str, dict]:
    """What serves on each of its hosts, which is told."""
    found = {}
    for host in app.hosts:
        current = next((each for each in releases(app, host)["releases"] if each["serves"]), None)
        if not current:
            raise Failure(f"{app.name}: no release serves on {host.name}", next_step=f"./sanso logs{described.option}")
        found[host.name] = current
        where = f" on {host.name}" if len(app.hosts) > 1 else ""
        console.good(f"{app.name}: release {current['id']} serves{where}", origin(current))
    return found


def sites(described: Inventory, wanted: list[App]) -> list[tuple[str, str]]:
    """(server name, address) of those apps that a browser can ask for."""
    named = {names[0] for each in wanted if (names := each.description.get("server_names"))}
    return [site for site in described.sites() if site[0] in named]


# What runs beside an app's pages, by its description


def redis_of(app: dict) -> list[str]:
    return [f"app-{app['name']}-redis.service"] if app.get("redis") else []


def workers_of(app: dict) -> dict[str, list[str]]:
    """Worker to its units."""
    return {
        name: [f"app-{app['name']}-worker-{name}@{number}.service" for number in range(1, said.get("count", 1) + 1)]
        for name, said in app.get("workers", {}).items()
    }


def jobs_of(app: dict) -> dict[str, str]:
    """Job to its unit, without its kind: .timer says when it is due, .service is what it does."""
    return {name: f"app-{app['name']}-job-{name}" for name in app.get("schedule", {})}


def beside(app: dict) -> list[str]:
    """What is started, and stays."""
    workers = [unit for units in workers_of(app).values() for unit in units]
    return [*redis_of(app), *workers, *(f"{job}.timer" for job in jobs_of(app).values())]
