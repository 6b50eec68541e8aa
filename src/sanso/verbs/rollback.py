"""rollback: let an earlier release of an app serve again."""

from __future__ import annotations

import click

from sanso import ansible, apps, building, console, inventory, options, reach
from sanso.inventory import Inventory
from sanso.project import alone, new_log

PLAYBOOK = "playbooks/rollback.yml"


@click.command()
@click.argument("app", required=False)
@click.argument("release", required=False)
@click.option(
    "--with-database", is_flag=True, help="Restore the database as it was for that release: what came since is lost."
)
@click.option("--why", default="", help="For the app's history.")
@options.inventory
@options.verbose
@options.as_json
def rollback(app, release, with_database, why, path, verbose):
    """Let an earlier release serve again, say the one before.

    Across a migration it is refused, unless the release that serves declares the earlier revision compatible, or
    --with-database restores the snapshot that was taken before the migration.
    """
    with alone("rollback"):
        described = inventory.read(path)
        chosen, release = which(described, app, release)
        reach.require_all(described)
        values = {"app": chosen.name, "app_by": apps.whoever()}
        values |= {"release": release} if release else {}
        values |= {"with_database": True} if with_database else {}
        values |= {"app_why": why} if why else {}
        log = new_log("rollback")
        settings = {"log": log, "verbose": verbose, "next_step": f"./sanso releases {chosen.name}{described.option}"}
        run = ansible.build(described, what=PLAYBOOK, values=values, **settings)
        told = {chosen.name: apps.serving(chosen, described)}
        console.say(
            "  note  the inventory still describes the release that was withdrawn: it is not released again, but the "
            "next one that differs is."
        )
        building.report(described, [run], log, apps.sites(described, [chosen]), again="", plan=False, apps=told)


def which(described: Inventory, app: str | None, release: str | None) -> tuple[apps.App, str | None]:
    """The app and the release that two words mean, of which the first may be left out where there is one app."""
    found = apps.described(described)
    if app and app not in found and not release and len(found) == 1:
        return next(iter(found.values())), app
    return apps.chosen(described, app), release
