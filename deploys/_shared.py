"""The operations of all layers. Each does one task of a role, and is called with the role and the task's name:

    settings = render(role, "Settings | Render them")
    service(role, "Restart mysql", after=[settings])

Nothing that a role says is said again. Its defaults, variables, tasks and templates are read (_roles.py) and filled in
by Ansible's own code (sanso.variables); and what render, access and the others do on a server is the very code that
Ansible's modules of these names run there, sent along with its arguments (_cores.py).

When pyinfra runs an operation's generator: with -y once, when the operation's turn has come; else twice, before that up
to its first command (or to its end, if there is none), which tells whether it would change something. So a generator
looks first, and yields what there is to do.
"""

from __future__ import annotations

import json
import secrets
import shlex
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from pyinfra import host, state
from pyinfra.api import StringCommand, operation
from pyinfra.api.facts import FactBase
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.facts.apt import noninteractive_apt

from deploys._cores import Door, ask, run_here
from deploys._roles import Role, Task
from sanso import entrance, files, pyinfra_events, variables

# What is done on a server by the code of Ansible's modules, and on this computer


class Outcome(dict):
    """How an operation went, as Ansible's tasks register it: what it would do until it has run, what it did after."""

    @property
    def changed(self) -> bool:
        return bool(self.get("changed"))


class Work(StringCommand):
    """A command to pyinfra, which Python does here: do() returns whether it went well, and what it said."""

    def __init__(self, title: str, do: Callable[[], tuple[bool, str]]):
        super().__init__(title)
        self._do = do

    def execute(self, state, host, connector_arguments):
        well, said = self._do()
        return well, CommandOutput([OutputLine("stdout" if well else "msg", line) for line in said.splitlines()])


def refusal(title: str, said: str) -> Work:
    """A command that fails, and says why: an error raised instead would end the run of all hosts.

    In a plan, which executes nothing, it is told to whoever follows the events.
    """
    if not state.is_executing:
        pyinfra_events.refusal(state, host, said)
    return Work(title, lambda: (False, said))


def work(task: Task, do: Callable[[bool], dict], outcome: Outcome, also: bool = False) -> Iterator[StringCommand]:
    """The commands of an operation that do(checking) does, whose result is what a task would register.

    It is asked first what it would do, then yielded as a command if that is anything. also: another reason to do it
    than the task's own conditions.
    """

    def take(result: dict) -> tuple[bool, str]:
        outcome.clear()
        outcome.update(result)
        task.register(outcome)
        if "notice" in result:
            pyinfra_events.notice(state, host, result["notice"])
        return not result.get("failed"), result.get("msg", "")

    if not (task.is_wanted or also):
        take({"changed": False})
        return
    well, said = take(do(True))
    if task.said.get("diff", True):  # else it may hold a secret
        pyinfra_events.diff(state, host, outcome.get("diff", []))
    if not well:
        yield refusal(task.name, said)
    elif outcome.changed:
        yield Work(task.name, lambda: take(do(False)))


def operates(commands: Callable[[Task, Outcome], Iterator]) -> Callable[..., Outcome]:
    """Make an operation of commands(task, outcome), which yields a task's commands, and fills in its outcome.

    The operation is called otherwise: with the role, the task's name, and after: the outcomes of which one must be a
    change, as with those that notify a handler. It returns its own outcome.
    """

    @operation()
    def perform(title: str, task: Task, outcome: Outcome, after: list[Outcome] | None):
        if after is not None and not any(each.changed for each in after):
            return
        try:
            yield from commands(task, outcome)
        except (AnsibleError, OSError, ValueError) as error:  # what a role or the inventory says can't be had
            yield refusal(title, str(error))

    def operate(role: Role, title: str, after: list[Outcome] | None = None) -> Outcome:
        perform(title, role.task(title), outcome := Outcome(), after, name=title)
        return outcome

    operate.__name__, operate.__doc__ = commands.__name__, commands.__doc__
    return operate


@operates
def render(task, outcome):
    """Write several files, all of them or none."""

    @cache
    def told():  # only where the task is wanted: else it may hold what can't be filled in
        role = task.role
        return files.told(task.arguments["files"], files.RENDERED, role.variables.render, read=role.file)

    yield from work(task, lambda checking: ask("sanso_render", {"files": told()}, checking), outcome)


@operates
def certificates(task, outcome):
    """Install certificates with their keys."""
    said = task.arguments
    said["certificates"] = [
        {name: value for name, value in each.items() if name != "files"}
        | {"pem": files.joined(each["files"], task.role.variables.real)}
        for each in said["certificates"]
    ]
    yield from work(task, lambda checking: ask("sanso_certificates", said, checking), outcome)


@operates
def access(task, outcome):
    """Change what decides who gets in, and keep it only if we still do."""
    said, token = task.arguments, secrets.token_hex(8)
    port = int(said.pop("port", 0))
    told = {
        **said,
        "files": files.told(said["files"], files.ON_TRIAL, task.role.variables.render, ["variables"]),
        "token": token,
    }
    door = Door(task.role.variables)

    def do(checking):
        result = ask("sanso_access", told, checking)
        return result if checking else entrance.settle(door, result, said["files"], token, port)

    yield from work(task, do, outcome)


@operates
def blocks(task, outcome):
    """Add lines to files that the distribution owns."""
    yield from work(task, lambda checking: ask("sanso_blocks", task.arguments, checking), outcome)


LOCAL = threading.Lock()  # hosts share what lies on this computer
PREPARED: dict[str, dict] = {}  # by what was asked


@operates
def local(task, outcome):
    """Run a module of the role's on this computer."""
    file = variables.ROLES / task.role.name / "library" / f"{task.module}.py"

    def do(checking):
        with LOCAL:
            return run_here(file, task.arguments, checking)

    def prepare():
        """Once for all hosts of which the same is asked."""
        arguments = task.arguments
        with LOCAL:
            asked = json.dumps([str(file), arguments])
            if asked not in PREPARED:
                PREPARED[asked] = run_here(file, arguments, not state.is_executing)
            return PREPARED[asked]

    if task.said.get("changed_when") is False:  # a preparation, on which others rely: in a plan too
        outcome.update(prepare(), changed=False)
        task.register(outcome)
        if outcome.get("failed"):
            yield refusal(task.name, outcome["msg"])
    else:
        yield from work(task, do, outcome)


@operates
def release(task, outcome):
    """Bring an app's release to the server, and let it serve once it has answered."""
    role = task.role
    archive = role.task("Release | Copy it").arguments
    path, part = shlex.quote(archive["dest"]), shlex.quote(archive["dest"] + ".part")
    # All of it, or nothing.
    bring = f"umask 077 && {{ cat > {part} && mv {part} {path} || {{ rm -f {part}; exit 1; }}; }}"

    def do(checking):
        if checking:
            return {"changed": True}
        steps = [(task.script, b"")]
        if not role["__app_serves"]:  # or what runs would be changed under it
            told = files.told(role["__app_handed"], files.RENDERED, str)
            handed = ask("sanso_render", {"files": told}, False)
            if handed.get("failed"):
                return handed
            steps.insert(0, (bring, Path(archive["src"]).read_bytes()))
        for script, given in steps:
            done = host.connector.execute(script, given=given)
            if done.returncode:
                return {"changed": True, "failed": True, "msg": done.stderr.strip() or done.stdout.strip()}
        return {"changed": True}

    yield from work(task, do, outcome, also=role.task("Release | Say what would be released").is_wanted)


@operates
def say(task, outcome):
    """Tell a person what a task says that changes nothing."""
    said = {"notice": task.arguments["msg"]} if task.is_wanted else {}
    yield from work(task, lambda checking: {"changed": False, **said}, outcome)


# What pyinfra has an operation for


def counted(task: Task, outcome: Outcome, commands: Callable[..., Iterator], **arguments: Any) -> Iterator:
    """The commands that commands(**arguments) finds, if the task is wanted; the outcome says whether there is one."""
    outcome["changed"] = False
    task.register(outcome)
    if task.is_wanted:
        for each in commands(**arguments):
            outcome["changed"] = True
            task.register(outcome)
            yield each


LOCK = "-o DPkg::Lock::Timeout=60"  # s, as Ansible's: a new server may be busy with its first updates
REFRESH = f"""
    cd /var/lib/apt
    find periodic/update-success-stamp lists -maxdepth 0 -newermt '-{{seconds}} seconds' 2>/dev/null | grep -q . ||
        apt-get {LOCK} -qq update
"""


class Installed(FactBase):
    """Which of these packages are there. (pyinfra's own fact lists all that the server has, each time.)"""

    def command(self, names):
        wanted = "${db:Status-Status} ${Package}\\n"
        return f"dpkg-query --show --showformat='{wanted}' {shlex.join(names)} 2>/dev/null || true"

    def process(self, output):
        return [line.split()[1] for line in output if line.startswith("installed ")]

    default = list


@operates
def packages(task, outcome):
    """Install packages, without what they merely recommend, or remove them."""
    said = task.arguments
    names = [said["name"]] if isinstance(said["name"], str) else list(said["name"])
    # No change of the server, which it would count as in pyinfra's operation; and none of a plan's business.
    if said.get("update_cache") and state.is_executing:
        refreshed = host.connector.execute(REFRESH.format(seconds=said["cache_valid_time"]))
        if refreshed.returncode:
            yield refusal(task.name, refreshed.stderr)

    def commands():
        there = set(host.get_fact(Installed, names=tuple(names)))
        if said.get("state") == "absent":
            if gone := [name for name in names if name in there]:
                yield noninteractive_apt(f"{'purge' if said.get('purge') else 'remove'} {LOCK} {shlex.join(gone)}")
        elif missing := [name for name in names if name not in there]:
            yield noninteractive_apt(f"install --no-install-recommends {LOCK} {shlex.join(missing)}")

    yield from counted(task, outcome, commands)


class Unit(FactBase):
    """What systemd says of a unit. (pyinfra's own fact takes a target that is reached for one that isn't.)"""

    def command(self, unit):
        return f"systemctl show --property=ActiveState,UnitFileState {shlex.quote(unit)}"

    def process(self, output):
        return dict(line.split("=", 1) for line in output)


VERBS = {"restarted": "restart", "reloaded": "reload"}


@operates
def service(task, outcome):
    """Start, stop, restart or reload a unit, or each one of a loop, and have it start at boot or not."""

    def commands():
        for said in task.rounds if "loop" in task.said else [task.arguments]:
            yield from of_unit(**said)

    def of_unit(name, state, enabled=None, daemon_reload=False):
        found = host.get_fact(Unit, unit=name) or {}
        is_active = found.get("ActiveState") in ("active", "reloading")
        if daemon_reload:
            yield "systemctl daemon-reload"
        if state in VERBS:
            yield f"systemctl {VERBS[state]} {shlex.quote(name)}"
        elif is_active != (state == "started"):
            yield f"systemctl {'start' if state == 'started' else 'stop'} {shlex.quote(name)}"
        if enabled is not None and (found.get("UnitFileState") == "enabled") != enabled:
            yield f"systemctl {'enable' if enabled else 'disable'} {shlex.quote(name)}"

    yield from counted(task, outcome, commands)


class Account(FactBase):
    """A user, in one round trip. (pyinfra's own fact asks for every user of the server, and each one's last login.)"""

    def command(self, user):
        return f"getent passwd {shlex.quote(user)} && id -Gn {shlex.quote(user)} || true"

    def process(self, output):
        (*_, home, shell), groups = output[0].split(":"), output[1].split()
        return {"home": home, "shell": shell, "groups": groups}


@operates
def user(task, outcome):
    """Make a system's user, or put one into groups."""

    def commands(name, home=None, shell=None, system=False, create_home=True, groups=(), append=True):
        found = host.get_fact(Account, user=name)
        wanted = {"-d": home, "-s": shell, "-G": ",".join(groups)}
        if found is None:
            flags = ["--system"] * system + ["--create-home" if create_home else "--no-create-home"]
            words = ["useradd", *flags]
        else:
            missing = set(groups) - set(found["groups"])
            there = {"-d": found["home"], "-s": found["shell"], "-G": None if missing else wanted["-G"]}
            wanted = {option: value for option, value in wanted.items() if value != there[option]}
            words = ["usermod", *["--append"] * bool(append and missing)]
        options = [word for option, value in wanted.items() if value for word in (option, value)]
        if found is None or options:
            yield shlex.join([*words, *options, name])

    yield from counted(task, outcome, commands, **task.arguments)


@operates
def group(task, outcome):
    """Make a system's group."""

    def commands(name, system=False):
        if host.connector.execute(f"getent group {shlex.quote(name)}").returncode:
            yield shlex.join(["groupadd", *["--system"] * system, name])

    yield from counted(task, outcome, commands, **task.arguments)


@operates
def folders(task, outcome):
    """Make the folders of a loop; those above them are made alike, as Ansible does."""

    def commands():
        for said in task.rounds:
            path = said["path"]
            asked = f"stat -c '%U %G %a' {shlex.quote(path)} || stat {shlex.quote(str(Path(path).parent))}"
            found = host.connector.execute(asked)
            if found.stdout.strip() != f"{said['owner']} {said['group']} {said['mode'].lstrip('0')}":
                made = [str(Path(path).parent)] * bool(found.returncode) + [path]
                yield shlex.join(["install", "-d", "-o", said["owner"], "-g", said["group"], "-m", said["mode"], *made])

    yield from counted(task, outcome, commands)


def run(task: Task) -> dict[str, Any]:
    """What Ansible registers of a task that runs a command."""
    given = task.arguments.get("stdin", "")
    done = host.connector.execute(task.script, given=given.encode())
    said = {"stdout": done.stdout.rstrip("\n"), "stderr": done.stderr.rstrip("\n"), "rc": done.returncode}
    said |= {f"{name}_lines": said[name].splitlines() for name in ("stdout", "stderr")}
    if done.returncode:
        return said | {
            "failed": True,
            "msg": f"{task.name}: {said['stderr'] or said['stdout']} (exit code {done.returncode})",
        }
    return said


@operates
def command(task, outcome):
    """Run a command that changes something."""
    said = task.arguments

    def is_there(path):  # a folder, too
        return not host.connector.execute(f"test -e {shlex.quote(path)}").returncode

    idle = ("creates" in said and is_there(said["creates"])) or ("removes" in said and not is_there(said["removes"]))
    yield from work(
        task, lambda checking: {"changed": not idle} if checking else {"changed": True} | run(task), outcome
    )


@operates
def require(task, outcome):
    """Refuse a server on which something isn't so."""
    if not task.role.holds(task.said[task.module]["that"]):
        yield refusal(task.name, task.arguments["fail_msg"])


@operates
def look(task, outcome):
    """Run a command that changes nothing, whose words decide what is done after."""
    outcome.update({"changed": False, "stdout": ""})
    task.register(outcome)
    if not task.is_wanted:
        return
    outcome.update(run(task))
    task.register(outcome)
    if not outcome.get("failed"):
        outcome["changed"] = task.role.holds(task.said["changed_when"])
        task.register(outcome)
    elif state.is_executing:  # in a plan, what it asks may not be installed yet
        yield refusal(task.name, outcome["msg"])
