"""What all layers use: a role's values and templates, and the operations that are this project's own.

Nothing that a role says is said again here. A `Role` reads its defaults, variables, tasks and templates, filled in by
Ansible's own code (sanso.variables); and what render, access and the others do on a server is the very code that
Ansible's modules of these names run there (module_utils/sanso_*.py), sent along with its arguments.
"""

from __future__ import annotations

import importlib.util
import json
import re
import secrets
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleError
from pyinfra import host, state
from pyinfra.api import StringCommand, operation
from pyinfra.api.facts import FactBase
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.facts.files import File
from pyinfra.operations import apt

from sanso import entrance, files, pyinfra_events
from sanso.places import where_set
from sanso.project import ROOT
from sanso.variables import Variables

KEYWORDS = {  # of a task, beside its module
    "args",
    "become",
    "changed_when",
    "check_mode",
    "delegate_to",
    "diff",
    "environment",
    "name",
    "no_log",
    "notify",
    "register",
    "tags",
    "throttle",
    "vars",
    "when",
}
CORES = [ROOT / "playbooks/module_utils", *sorted(ROOT.glob("roles/*/module_utils"))]
# Runs one of them from memory. It reads {"sources": {module: source}, "core": module, "arguments": …, "checking": …}.
RUNNER = """
import importlib.abc, importlib.util, json, sys
asked = json.load(sys.stdin)
class Sources(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path, target=None):
        if name in asked["sources"] or self.is_package(name):
            return importlib.util.spec_from_loader(name, self, is_package=self.is_package(name))
    def is_package(self, name):
        return any(each.startswith(name + ".") for each in asked["sources"])
    def get_source(self, name):
        return asked["sources"].get(name, "")
sys.meta_path.insert(0, Sources())
from ansible.module_utils.sanso_trial import Failed
core = importlib.import_module(asked["core"])
try:
    result = core.run(asked["arguments"], asked["checking"])
except (Failed, OSError) as error:
    result = {"failed": True, "msg": str(error)}
print(json.dumps(result))
"""


# A role


class Platform(FactBase):
    """The facts of Ansible's that roles use, by its names."""

    def command(self):
        return """
            . /etc/os-release
            echo "$ID"; echo "$VERSION_CODENAME"; uname -n; uname -m
            awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo
            python3 -c 'import platform; print(platform.python_version())'
        """

    def process(self, output):
        names = ("distribution", "distribution_release", "nodename", "architecture", "memtotal_mb", "python_version")
        found = dict(zip(names, output, strict=True))
        return found | {"distribution": found["distribution"].capitalize(), "memtotal_mb": int(found["memtotal_mb"])}


class Role:
    """One role's values, templates and tasks for the present host.

    What a task says (its module's arguments, its `when`) is read by the task's name: deploys say in which order, and
    after what. `role["__nginx_local"] = …` is what a play would register.
    """

    def __init__(self, name: str, **more: Any):
        self.name = name
        if "facts" not in host.connector_data:
            host.connector_data["facts"] = host.get_fact(Platform)
        self.variables = host.connector.variables.within(name, ansible_facts=host.connector_data["facts"], **more)

    def __getitem__(self, name: str) -> Any:
        # While pyinfra looks what would change, it is as in a check of Ansible's.
        self.variables["ansible_check_mode"] = not state.is_executing
        return self.variables[name]

    def __setitem__(self, name: str, value: Any):
        self.variables[name] = value

    def fill(self, value: Any, **more: Any) -> Any:
        """A value as a task has it, filled in."""
        self.variables["ansible_check_mode"] = not state.is_executing
        return self.variables.fill(value, **more)

    def holds(self, condition: str | bool) -> bool:
        """Whether a condition is true that a task has, as its `when`."""
        return bool(self.fill(f"{{{{ ({condition}) | bool }}}}"))

    def task(self, name: str) -> Task:
        try:
            return Task(self, next(task for task in self.variables.tasks() if task["name"] == name))
        except StopIteration:
            raise LookupError(f"the role {self.name} has no task {name!r}") from None


class Task:
    """What a task of a role says."""

    def __init__(self, role: Role, said: dict[str, Any]):
        self.role, self.name, self.said = role, said["name"], said
        self.module = next(key for key in said if key not in KEYWORDS)

    @property
    def arguments(self) -> dict[str, Any]:
        """Of its module, filled in; free text is `cmd`, as with Ansible."""
        return self.filled_in()

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """The same of a task with a loop, for each item."""
        return [self.filled_in(item=item) for item in self.role.fill(self.said["loop"])]

    def filled_in(self, **more: Any) -> dict[str, Any]:
        given = self.said[self.module] or {}
        given = {"cmd": given} if isinstance(given, str) else given
        return self.role.fill({**given, **self.said.get("args", {})}, **self.said.get("vars", {}), **more)

    @property
    def is_wanted(self) -> bool:
        """Whether its conditions hold, and those of what it stands in."""
        return all(self.role.holds(each) for each in self.said["when"])

    @property
    def script(self) -> str:
        """What a task that runs a command runs, for a shell."""
        said = self.arguments
        if "argv" in said:
            text = shlex.join(map(str, said["argv"]))
        elif self.module.endswith("shell"):
            text = said["cmd"]
        else:
            text = shlex.join(shlex.split(said["cmd"]))
        if "chdir" in said:
            text = f"cd {shlex.quote(said['chdir'])} && {text}"
        text = shlex.join([said.get("executable", "sh"), "-c", text])
        for name, value in self.said.get("environment", {}).items():
            text = f"{name}={shlex.quote(value)} {text}"
        return text

    def register(self, result: dict[str, Any]):
        if name := self.said.get("register"):
            self.role[name] = dict(result)  # Ansible takes no other kind


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
    """What fails, and says why."""
    if not state.is_executing:
        pyinfra_events.refusal(state, host, said)
    return Work(title, lambda: (False, said))


@cache
def sources(core: str) -> dict[str, str]:
    """A core's source and those that it imports, by the names under which it does."""
    source = next(path for folder in CORES if (path := folder / f"{core}.py").exists()).read_text()
    found = {f"ansible.module_utils.{core}": source}
    for sibling in re.findall(r"(?m)^from ansible\.module_utils(?:\.| import )(sanso_\w+)", source):
        found |= sources(sibling)
    return found


def ask(core: str, arguments: dict, checking: bool) -> dict:
    """What a core says on the present host: `failed` is set where it refuses, with `msg`."""
    asked = {
        "sources": sources(core),
        "core": f"ansible.module_utils.{core}",
        "arguments": arguments,
        "checking": checking,
    }
    done = host.connector.execute(shlex.join(["python3", "-BIc", RUNNER]), given=json.dumps(asked).encode())
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return {"failed": True, "msg": f"{core} said: {(done.stderr or done.stdout).strip()}"}


def work(task: Task, do: Callable[[bool], dict], outcome: Outcome, also: bool = False) -> Iterator[StringCommand]:
    """The commands of an operation that do(checking) does: look first, and do it if there is something to do.

    also: another reason to do it than the task's own conditions.
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
    pyinfra_events.diff(state, host, outcome.get("diff", []))
    if not well:
        yield refusal(task.name, said)
    elif outcome.changed:
        yield Work(task.name, lambda: take(do(False)))


def operates(commands: Callable[[Task, Outcome], Iterator]) -> Callable[..., Outcome]:
    """Make an operation of what yields a task's commands.

    It is called with a role, the task's name, and after: the outcomes of which one must be a change, as with those that
    notify a handler. It returns its own outcome, which fills itself.
    """

    @operation()
    def perform(title: str, task: Task, outcome: Outcome, after: tuple[Outcome, ...] | None):
        if after is not None and not any(each.changed for each in after):
            return
        try:
            yield from commands(task, outcome)
        except (
            AnsibleError,
            OSError,
            ValueError,
        ) as error:  # what the inventory or the role holds can't be filled in, or read
            yield refusal(title, str(error))

    def called(role: Role, title: str, after: tuple[Outcome, ...] | None = None) -> Outcome:
        perform(title, role.task(title), outcome := Outcome(), after, name=title)
        return outcome

    called.__doc__ = commands.__doc__
    return called


@operates
def render(task, outcome):
    """Write several files, all of them or none."""

    @cache
    def told():  # only where the task is wanted: else it may hold what can't be filled in
        return files.told(task.arguments["files"], files.RENDERED, task.role.variables.render)

    yield from work(task, lambda checking: ask("sanso_render", {"files": told()}, checking), outcome)


@operates
def put(task, outcome):
    """Copy a file of the role's."""
    said = task.arguments
    content = (ROOT / "roles" / task.role.name / "files" / said["src"]).read_text()
    told = files.told({said["dest"]: {"content": content, "mode": said["mode"]}}, files.RENDERED, str)
    yield from work(task, lambda checking: ask("sanso_render", {"files": told}, checking), outcome)


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


class Door:
    """The way to the present host, as sanso.entrance tries it."""

    def __init__(self, variables: Variables):
        self._variables, self._connector = variables, host.connector
        self.user, self.host, self.port = (
            self._connector.way.user,
            self._connector.way.address,
            self._connector.way.port,
        )

    def here(self, command: str, sudo: bool = True) -> str:
        return said(self._connector.execute(command, sudo=sudo))

    def anew(self, command: str, port: int = 0, alias: bool = False) -> str:
        return said(self._connector.execute_anew(command, port, alias))

    def value(self, name: str) -> Any:
        return self._variables.get(name)

    def place(self, name: str) -> str:
        return where_set(name, self._connector.inventory)


def said(done: subprocess.CompletedProcess) -> str:
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise entrance.Shut(
            said
            if "sudo" in said or done.returncode == 255
            else f"sudo, or what it shall run, failed with {done.returncode}: {said}"
        )
    return done.stdout


@operates
def blocks(task, outcome):
    """Add lines to files that the distribution owns."""
    yield from work(task, lambda checking: ask("sanso_blocks", task.arguments, checking), outcome)


# Where modules find what they share, as within Ansible.
ansible.module_utils.__path__ += [str(folder) for folder in CORES]


def load(file: Path):
    """The Python module in a file."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOCAL = threading.Lock()  # hosts share what lies on this computer


@operates
def local(task, outcome):
    """Run a module of the role's on this computer."""
    module = load(ROOT / "roles" / task.role.name / "library" / f"{task.module}.py")

    def do(checking):
        from ansible.module_utils.sanso_trial import Failed

        with LOCAL:
            try:
                return module.run(task.arguments, checking)
            except Failed as error:
                return {"failed": True, "msg": str(error)}

    if task.said.get("changed_when") is False:  # a preparation, which others rely on
        outcome.update(do(not state.is_executing), changed=False)
        task.register(outcome)
        if outcome.get("failed"):
            yield refusal(task.name, outcome["msg"])
    else:
        yield from work(task, do, outcome)


@operates
def release(task, outcome):
    """Bring an app's release to the server, and let it serve once it has answered."""
    role = task.role
    folder, unpacking = (role.task(f"Release | {title}").arguments for title in ("Make its folder", "Unpack it"))
    path = shlex.quote(folder["path"])
    bring = (
        f"install -d -o {folder['owner']} -g {folder['group']} -m {folder['mode']} {path} && "
        f"tar -xz --no-same-owner -C {path} && chgrp -R {unpacking['group']} {path}"
    )

    def do(checking):
        if checking:
            return {"changed": True}
        steps = [(task.script, b"")]
        if not role["__app_serves"]:  # or what runs would be changed under it
            secrets = f"umask 077 && cat > {path}/secrets"
            steps[:0] = [(bring, Path(unpacking["src"]).read_bytes()), (secrets, role["__app_secrets"].encode())]
        for script, given in steps:
            done = host.connector.execute(script, given=given)
            if done.returncode:
                return {"changed": True, "failed": True, "msg": done.stderr.strip() or done.stdout.strip()}
        return {"changed": True}

    yield from work(task, do, outcome, also=role.task("Release | Say what would be released").is_wanted)


@operates
def link(task, outcome):
    """See where a link leads to."""
    done = host.connector.execute(f"readlink {shlex.quote(task.arguments['path'])}")
    outcome.update(changed=False, stat={"exists": not done.returncode, "lnk_target": done.stdout.strip()})
    task.register(outcome)
    yield from ()


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


@operates
def packages(task, outcome):
    """Install packages, or remove them."""
    said = task.arguments
    names = said["name"]
    if said.get("update_cache"):  # which is no change of the server, and in pyinfra's operation would count as one
        refreshed = host.connector.execute(REFRESH.format(seconds=said["cache_valid_time"]))
        if refreshed.returncode:
            yield refusal(task.name, refreshed.stderr)
    yield from counted(
        task,
        outcome,
        apt.packages._inner,
        packages=[names] if isinstance(names, str) else list(names),
        present=said.get("state") != "absent",
        no_recommends=said.get("install_recommends") is False,
        purge=bool(said.get("purge")),
        extra_install_args=LOCK,
        extra_uninstall_args=LOCK,
    )


class Unit(FactBase):
    """What systemd says of a unit. (pyinfra's own fact takes a target that is reached for one that isn't.)"""

    def command(self, unit):
        return f"systemctl show --property=ActiveState,UnitFileState {shlex.quote(unit)}"

    def process(self, output):
        return dict(line.split("=", 1) for line in output)


VERBS = {"restarted": "restart", "reloaded": "reload", "stopped": "stop"}


@operates
def service(task, outcome):
    """Start, restart or reload a unit, and have it start at boot."""

    def commands(name, state, enabled=False, daemon_reload=False):
        found = host.get_fact(Unit, unit=name) or {}
        if daemon_reload:
            yield "systemctl daemon-reload"
        if state in VERBS:
            yield f"systemctl {VERBS[state]} {shlex.quote(name)}"
        elif found.get("ActiveState") not in ("active", "reloading"):
            yield f"systemctl start {shlex.quote(name)}"
        if enabled and found.get("UnitFileState") != "enabled":
            yield f"systemctl enable {shlex.quote(name)}"

    yield from counted(task, outcome, commands, **task.arguments)


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
    idle = ("creates" in said and host.get_fact(File, path=said["creates"])) or (
        "removes" in said and not host.get_fact(File, path=said["removes"])
    )
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
    if outcome.get("failed") and state.is_executing:
        yield refusal(task.name, outcome["msg"])
    elif not outcome.get("failed"):
        outcome["changed"] = task.role.holds(task.said["changed_when"])
