"""status: what runs where, read from each host in one round trip."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

import click

from sanso import console, inventory, machines, options
from sanso.inventory import Host, Inventory
from sanso.ssh import Way

RUNS = "active"  # systemd's word for it


@dataclass
class State:
    """What was found out about one host.

    asked: whether it could be asked at all; problem and next_step: what is wrong with it, and what to do about it;
    units: by tier, each unit's state; releases: the one that serves, by app.
    """

    host: str
    address: str
    image: str = ""
    asked: bool = True
    problem: str = ""
    next_step: str = ""
    units: dict[str, dict[str, str]] = field(default_factory=dict)
    releases: dict[str, str] = field(default_factory=dict)


@click.command()
@options.inventory
@options.as_json
@click.pass_context
def status(ctx, path):
    """Show what runs where: machines, tiers, releases.

    Exit codes: 0 all runs, 1 something doesn't, 3 a host couldn't be asked.
    """
    described = inventory.read(path)
    with ThreadPoolExecutor(max_workers=20) as pool:
        states = list(pool.map(lambda host: look(host, described), described.hosts.values()))
    for state in states:
        show(state)
    console.result({"hosts": [asdict(state) for state in states]})
    wrong = [state for state in states if state.problem]
    console.say(f"  next  {wrong[0].next_step if wrong else f'./sanso check{described.option}'}", style="dim")
    if not all(state.asked for state in states):
        ctx.exit(console.COULD_NOT_CHECK)
    ctx.exit(console.FAILED if wrong else console.DONE)


def look(host: Host, described: Inventory) -> State:
    state = State(host.name, host.address, image=machines.record(host).get("image", "") if host.is_machine else "")
    if host.is_machine and not (state.image and machines.is_running(host)):
        state.problem, state.next_step = (
            "doesn't run" if state.image else "doesn't exist",
            f"./sanso up{described.option}",
        )
        return state
    way, tiers = Way.to(host), units(host)
    apps = [app["name"] for app in host.get("apps", [])] if "app" in host.groups else []
    done = way.run(script([unit for tier in tiers.values() for unit in tier], apps))
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != sum(map(len, tiers.values())) + len(apps):
        state.asked = False
        state.problem, state.next_step = way.explain(done.stderr)
        return state
    answers = iter(lines)
    state.units = {tier: {unit: next(answers) for unit in those} for tier, those in tiers.items()}
    state.releases = {app: next(answers) for app in apps}
    down = {unit: tier for tier, those in state.units.items() for unit, word in those.items() if word != RUNS}
    if down:
        state.problem = f"{', '.join(down)} doesn't run"
        state.next_step = f"./sanso logs{described.option} --tier {next(iter(down.values()))}"
    return state


def units(host: Host) -> dict[str, list[str]]:
    """The units of each tier that the host is in."""
    apps = [f"app-{app['name']}@current.service" for app in host.get("apps", [])]
    tiers = {"web": ["nginx.service"], "app": apps, "db": ["mysql.service"]}
    return {tier: those for tier, those in tiers.items() if tier in host.groups}


def script(those: list[str], apps: list[str]) -> str:
    """Shell that prints one line for each unit, its state, and then one for each app, its release's name."""
    ask = [f"systemctl is-active {shlex.join(those)}"] if those else []
    links = [shlex.quote(f"/srv/{app}/current") for app in apps]
    return "; ".join(
        [*ask, *(f'echo "$(basename "$(sudo -n readlink {link} || readlink {link})")"' for link in links), ":"]
    )


def show(state: State):
    where = f"{state.address}, machine of {state.image}" if state.image else state.address
    if state.problem:
        console.bad(f"{state.host}: {state.problem}", where)
    else:
        console.good(state.host, where)
    for tier, those in state.units.items():
        for unit, word in those.items():
            app = unit.removeprefix("app-").removesuffix("@current.service")
            release = f", release {state.releases[app]}" if tier == "app" and state.releases.get(app) else ""
            console.say(f"    {tier:3}  {unit}  {word}{release}", style="" if word == RUNS else "red")
