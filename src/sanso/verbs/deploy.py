"""deploy: bring an app's next release to its servers, and let it serve there once it has answered."""

from __future__ import annotations

import shlex

import click

from sanso import apps, building, console, inventory, options, reach
from sanso.apps import App
from sanso.building import ENGINES
from sanso.console import Failure
from sanso.inventory import Inventory
from sanso.places import where_set
from sanso.project import alone, new_log, relative


@click.command(cls=options.WithRest, rest="ENGINE'S WORD")
@click.argument("app", required=False)
@click.option("--version", help="Branch, tag or commit to release, instead of the one in the inventory.")
@click.option("--again", is_flag=True, help="Though somebody has rolled that very release back.")
@click.option("--why", default="", help="For the app's history.")
@building.engine
@building.plan
@options.inventory
@options.verbose
@options.as_json
@click.pass_context
def deploy(ctx, app, version, again, why, name, plan, path, verbose):
    """Release an app; the one before serves until this one does.

    Without a name: every app of the inventory. A release that fails changes nothing: what served before keeps serving,
    and the output shows what the app itself said.
    """
    engine, rest = ENGINES[name], ctx.meta["rest"]
    engine.accept(rest)
    with alone("deploy"):
        described = inventory.read(path)
        wanted = [apps.chosen(described, app)] if app or version else list(apps.described(described).values())
        if not wanted:
            raise Failure("the inventory has no apps", next_step="docs/how-to/your-app.md says how to describe one")
        reach.require_all(described)
        values = {"app_by": apps.whoever()}
        values |= {"app_only": [wanted[0].name]} if app or version else {}
        values |= {"app_versions": {wanted[0].name: version}} if version else {}
        values |= {"app_again": True} if again else {}
        values |= {"app_why": why} if why else {}
        log = new_log("deploy")
        settings = {"log": log, "verbose": verbose, "plan": plan, "next_step": building.MEND}
        run = engine.build(described, *rest, what=engine.APP, values=values, **settings)
        told = {} if plan else {each.name: apps.serving(each, described) for each in wanted}
        if version and not plan:
            tell_other_version(wanted[0], version, described)
        words = command(app, version, again, why, name, described)
        building.report(described, [run], log, apps.sites(described, wanted), again=words, plan=plan, apps=told)


def command(app, version, again, why, engine, described: Inventory) -> str:
    """What to type for the same again, without --plan."""
    words = ["./sanso", "deploy", *([app] if app else []), *(["--version", version] if version else [])]
    words += [*(["--again"] if again else []), *(["--why", why] if why else [])]
    words += ["--engine", engine] if engine != "ansible" else []
    return shlex.join(words) + described.option


def tell_other_version(app: App, version: str, described: Inventory):
    """What the inventory says comes back with the next run of all layers: nobody should find that out by chance."""
    if app.version == version:
        return
    said = f"version {app.version}" if app.version else "no version, which is HEAD"
    where = where_set("apps", described.path)
    console.say(f"  note  for {app.name} the inventory says {said}: the next ./sanso up or deploy releases that.")
    console.say(f"        To keep {version}, write it there: {relative(where)}")
