"""status: what runs where, read from each host in one round trip."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime

import click

from sanso import apps, console, inventory, machines, options
from sanso.inventory import Host, Inventory
from sanso.ssh import Way

RUNS = "active"  # systemd's word for it


@dataclass
class Turn:
    """A job's last one. at: when it ended, in seconds since 1970; 0 where there was none since the server's start."""

    result: str  # systemd's word for it
    code: int
    at: int
    runs: bool  # just now

    def __str__(self) -> str:
        if self.runs:
            return "runs now"
        if not self.at:
            return "no turn since the server's start"
        when = f"{datetime.fromtimestamp(self.at):%Y-%m-%d %H:%M:%S}"
        return f"last turn {when}: {'done' if self.is_well else f'{self.result}, exit code {self.code}'}"

    @property
    def is_well(self) -> bool:
        return self.result == "success"

    @classmethod
    def read(cls, said: str) -> Turn:
        shown = dict(word.split("=", 1) for word in said.split())
        at = int(shown["ExecMainExitTimestamp"].strip("@") or 0)
        runs = shown["ActiveState"] in ("activating", "active")
        return cls(shown["Result"], int(shown["ExecMainStatus"]), at, runs)


@dataclass
class State:
    """What was found out about one host.

    asked: whether it could be asked at all; problem and next_step: what is wrong with it, and what to do about it;
    units: by tier, each unit's state; releases: the one that serves, by app; jobs: how each one's last turn ended.
    """

    host: str
    address: str
    image: str = ""
    asked: bool = True
    problem: str = ""
    next_step: str = ""
    units: dict[str, dict[str, str]] = field(default_factory=dict)
    releases: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, Turn] = field(default_factory=dict)


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
    described_apps = host.get("apps", []) if "app" in host.groups else []
    names = [app["name"] for app in described_apps]
    jobs = [job for app in described_apps for job in apps.jobs_of(app).values()]
    done = way.run(script([unit for tier in tiers.values() for unit in tier], names, jobs))
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != sum(map(len, tiers.values())) + len(names) + len(jobs):
        state.asked = False
        state.problem, state.next_step = way.explain(done.stderr)
        return state
    answers = iter(lines)
    state.units = {tier: {unit: next(answers) for unit in those} for tier, those in tiers.items()}
    state.releases = {name: next(answers) for name in names}
    state.jobs = {job: Turn.read(next(answers)) for job in jobs}
    down = {unit: tier for tier, those in state.units.items() for unit, word in those.items() if word != RUNS}
    if down:
        state.problem = f"{', '.join(down)} doesn't run"
        state.next_step = f"./sanso logs{described.option} --tier {next(iter(down.values()))}"
    elif failed := [job for job, turn in state.jobs.items() if not (turn.is_well or turn.runs)]:
        state.problem = f"{', '.join(failed)} failed"
        ssh = ["./sanso", "ssh", *shlex.split(described.option), host.name]
        state.next_step = f"{shlex.join(ssh)} -- sudo journalctl -u {failed[0]}.service"
    return state


def units(host: Host) -> dict[str, list[str]]:
    """The units of each tier that the host is in."""
    those_of = [[f"app-{app['name']}@current.service", *apps.beside(app)] for app in host.get("apps", [])]
    tiers = {"web": ["nginx.service"], "app": [unit for those in those_of for unit in those], "db": ["mysql.service"]}
    return {tier: those for tier, those in tiers.items() if tier in host.groups}


def script(those: list[str], names: list[str], jobs: list[str]) -> str:
    """Shell that prints a line for each unit, its state; then for each app, its release's name; then for each job."""
    ask = [f"systemctl is-active {shlex.join(those)}"] if those else []
    links = [shlex.quote(f"/srv/{name}/current") for name in names]
    ask += [f'echo "$(basename "$(sudo -n readlink {link} || readlink {link})")"' for link in links]
    show = "systemctl show --timestamp=unix --property=ActiveState,Result,ExecMainStatus,ExecMainExitTimestamp"
    ask += [f"{show} {shlex.quote(f'{job}.service')} | paste -sd ' '" for job in jobs]
    return "; ".join([*ask, ":"])


def show(state: State):
    where = f"{state.address}, machine of {state.image}" if state.image else state.address
    if state.problem:
        console.bad(f"{state.host}: {state.problem}", where)
    else:
        console.good(state.host, where)
    for tier, those in state.units.items():
        for unit, word in those.items():
            app = unit.removeprefix("app-").removesuffix("@current.service")
            more = f", release {state.releases[app]}" if tier == "app" and state.releases.get(app) else ""
            turn = state.jobs.get(unit.removesuffix(".timer"))
            is_well = word == RUNS and (turn is None or turn.is_well or turn.runs)
            more += f", {turn}" if turn else ""
            console.say(f"    {tier:3}  {unit}  {word}{more}", style="" if is_well else "red")
