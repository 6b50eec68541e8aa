"""Which role makes what: from a path, a package, a unit or an account to its task and its layer.

Nothing is listed here that the roles say themselves: their tasks, variables, templates and files are read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

import yaml

from sanso.project import ROOT

ROLES = ROOT / "roles"
PLAYBOOKS = ROOT / "playbooks"
# By what a daemon's effective settings come about: a role's file, or its task.
SETTINGS = {
    "apt": ("os", "/etc/apt/apt.conf.d/90sanso-upgrades"),
    "sshd": ("os", "/etc/ssh/sshd_config.d/00-sanso.conf"),
    "host keys": ("os", "/etc/ssh/sshd_config.d/00-sanso.conf"),
    "nftables": ("os", "/etc/nftables.conf"),
    "fail2ban": ("os", "/etc/fail2ban/jail.d/sanso.local"),
    "mounts": ("hardening", "/etc/systemd/system/sanso-mounts.service"),
    "nginx": ("nginx", "/etc/nginx/nginx.conf"),
    "mysql variables": ("mysql", "/etc/mysql/mysql.conf.d/zz-sanso.cnf"),
    "mysql accounts": ("mysql", "Accounts | Execute them"),
    "mysql schemas": ("mysql", "Accounts | Execute them"),
}
# By which modules a thing of a section is made.
MODULES = {
    "packages": ("apt", "packages"),
    "manual packages": ("apt", "packages"),
    "users": ("user", "account"),
    "groups": ("group", "user", "account"),
    "units": ("unit", "access"),
}
APPS_USERS = ("app", "App | Make its user")
SYSTEMD = "/etc/systemd/system/"
APPS_UNITS = ("app", "App | Render its units")
APPS_TABLES = ("app", "Release | Let it serve, once it has answered")
READING = {"stat", "raw", "git", "assert", "fail", "debug", "meta", "block", "include_tasks", "import_tasks"}
KEYWORDS = {"name", "when", "register", "notify", "loop", "loop_control", "vars", "changed_when", "failed_when", "args"}
TOO_WIDE = 2  # parts of a path that every server has: what is below /etc/systemd is not all of one task


@dataclass(frozen=True)
class Layer:
    """A layer by its playbook's name. Both engines build it."""

    name: str

    @property
    def playbook(self) -> str:
        return f"playbooks/{self.name}.yml"

    @property
    def deploy(self) -> str:
        return f"deploys/layer_{self.name}.py"


@dataclass(frozen=True)
class Origin:
    """role and task: who makes it; source: the template or file, where there is one."""

    role: str
    task: str
    source: str = ""

    @property
    def layer(self) -> Layer:
        return next(layer for layer, roles in layers().items() if self.role in roles)

    def __str__(self) -> str:
        source = f" ({self.source})" if self.source else ""
        layer = self.layer
        return f"role {self.role}, task “{self.task}”{source}, in {layer.playbook} and {layer.deploy}"


@dataclass(frozen=True)
class Task:
    """text: all that it says, with the role's variables that it names; paths: those among it."""

    role: str
    name: str
    modules: frozenset[str]
    text: str
    paths: tuple[str, ...]


@cache
def layers() -> dict[Layer, tuple[str, ...]]:
    """In their order, with the roles of each."""
    found = {}
    for play in yaml.safe_load((PLAYBOOKS / "site.yml").read_text()):
        file = PLAYBOOKS / play["ansible.builtin.import_playbook"]
        roles = [role for each in yaml.safe_load(file.read_text()) for role in each.get("roles", [])]
        found[Layer(file.stem)] = tuple(role["role"] if isinstance(role, dict) else role for role in roles)
    return found


def of(section: str, key: str, apps: Collection[str] = ()) -> Origin | None:
    """Who makes what a section of a digest tells of; None where no task of ours names it. apps: their names."""
    if section == "files":
        return of_path(key) or (of_apps_unit(PurePosixPath(key).name) if key.startswith(SYSTEMD) else None)
    if section in ("users", "groups") and key in apps:
        return Origin(*APPS_USERS)
    if section in MODULES:
        return of_word(key.split(":")[0], MODULES[section]) or (of_unit(key) if section == "units" else None)
    if section == "certificates" or (section == "nginx" and of_path(key)):
        return of_path(key)
    if section == "sysctl":
        return of_sysctl(key)
    if section == "mysql schemas" and "." in key:
        return Origin(*APPS_TABLES)
    if section in SETTINGS:
        role, said = SETTINGS[section]
        return of_path(said) if said.startswith("/") else Origin(role, said)
    return None


@cache
def of_path(path: str) -> Origin | None:
    """By the path itself, or by the folder above it that a task makes."""
    named = [(literal(pattern), task) for task in tasks() for pattern in task.paths if fits(pattern, path)]
    if named:
        task = max(named, key=lambda each: each[0])[1]
        return Origin(task.role, task.name, source_of(task.role, path))
    for task in tasks():
        if source := source_of(task.role, path):
            return Origin(task.role, task.name, source)
    parent = str(PurePosixPath(path).parent)
    return of_path(parent) if len(PurePosixPath(parent).parts) > TOO_WIDE else None


def of_word(word: str, modules: tuple[str, ...]) -> Origin | None:
    """The task of one of these modules that says a word, or a variable which does."""
    pattern = re.compile(rf"(?<![\w.@/-]){re.escape(word)}(?![\w@/-]|\.\w)")
    for task in tasks():
        if task.modules & set(modules) and pattern.search(task.text):
            return Origin(task.role, task.name)
    return None


def of_unit(unit: str) -> Origin | None:
    """A unit that is started by its name without a suffix, or as an instance, or whose file is ours."""
    name, _, kind = unit.rpartition(".")
    template = f"{name.partition('@')[0]}@.{kind}" if "@" in name else unit
    found = of_word(name, MODULES["units"])
    for path in (f"/etc/systemd/system/{template}", f"/etc/systemd/system/{unit}.d/sanso.conf"):
        named = of_path(path)
        found = found or (named if (named and named.source) or (named and "@" in name) else None)
    return found or of_apps_unit(unit)


def of_apps_unit(unit: str) -> Origin | None:
    """What runs beside an app's pages: no task names each of them."""
    return Origin(*APPS_UNITS) if re.match(r"app-[a-z0-9_]+[-.]", unit) else None


def of_sysctl(name: str) -> Origin | None:
    for file in sorted(ROLES.glob("*/templates/etc/sysctl.d/*.j2")):
        if re.search(rf"(?m)^-?{re.escape(name)} *=", file.read_text()):
            return of_path("/etc/sysctl.d/" + file.name.removesuffix(".j2"))
    return of_path("/etc/sysctl.d/90-sanso.conf")  # whose names are the inventory's


# What the roles say


@cache
def tasks() -> tuple[Task, ...]:
    """Of all roles, in the layers' order."""
    return tuple(
        task
        for roles in layers().values()
        for role in roles
        for file in sorted((ROLES / role / "tasks").glob("*.yml"), key=lambda file: (file.stem != "main", file.stem))
        for task in tasks_in(role, yaml.safe_load(file.read_text()) or [])
    )


@cache
def handlers() -> frozenset[str]:
    """The names of what runs because something else was changed."""
    files = ROLES.glob("*/handlers/main.yml")
    return frozenset(each["name"] for file in files for each in yaml.safe_load(file.read_text()) or [])


def tasks_in(role: str, said: list[dict]) -> Iterator[Task]:
    for each in said:
        for nested in ("block", "rescue", "always"):
            yield from tasks_in(role, each.get(nested, []))
        modules = {key.rpartition(".")[2] for key in each if key not in KEYWORDS}
        if modules & READING:
            continue
        body = [each, *used(role, yaml.safe_dump(each))]
        said_paths = [path for text in leaves(body) for path in paths_in(text)]
        paths = [filled_in(path, variables(role)) for path in said_paths]
        text = "\n".join(leaves(body))
        yield Task(role, each["name"], frozenset(modules), text, tuple(path for path in paths if path.startswith("/")))


@cache
def variables(role: str) -> dict:
    files = [ROLES / role / kind / "main.yml" for kind in ("defaults", "vars")]
    found = [yaml.safe_load(file.read_text()) or {} for file in files if file.exists()]
    return {name: value for each in found for name, value in each.items()}


def used(role: str, text: str) -> list:
    """The values of the role's own variables that a text names, and of those that they name."""
    found: dict = {}
    waiting = [text]
    while waiting:
        for name in re.findall(r"\b[a-z_]\w+", waiting.pop()):
            if name in variables(role) and name not in found:
                found[name] = variables(role)[name]
                waiting.append(yaml.safe_dump(found[name]))
    return list(found.values())


def leaves(value) -> Iterator[str]:
    """All words of a structure, keys too."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(key)
            yield from leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each)
    elif isinstance(value, str):
        yield value


def paths_in(text: str) -> list[str]:
    """The paths that a text is, or that its expression puts together: '/etc/' ~ name ~ '.conf'."""
    if text.startswith("/") or re.match(r"\{\{ *\w+ *\}\}", text):
        return [text]
    joined = re.findall(r"'/[^']*'(?: ~ \w+ ~ '[^']*')+", text)
    return [re.sub(r"' ~ (\w+) ~ '", r"{{ \1 }}", each).strip("'") for each in joined]


def filled_in(text: str, known: dict, depth: int = 4) -> str:
    """A path with the role's variables in it; what else is in braces stays."""

    def value(match: re.Match) -> str:
        said = known.get(match[1])
        return filled_in(said, known, depth - 1) if isinstance(said, str) and depth and said != text else match[0]

    return re.sub(r"\{\{ *(\w+) *\}\}", value, text)


def fits(pattern: str, path: str) -> bool:
    """Tell whether a path is what a task says, where anything but a slash may stand for what is in braces."""
    if "{{" not in pattern:
        return pattern.rstrip("/") == path
    parts = re.split(r"\{\{.*?\}\}", pattern)
    return re.fullmatch("[^/]+".join(map(re.escape, parts)), path) is not None


def literal(pattern: str) -> int:
    return len(re.sub(r"\{\{.*?\}\}", "", pattern))


def source_of(role: str, path: str) -> str:
    """The template or the file whose path mirrors the target's."""
    for file in (ROLES / role / "templates" / f"{path[1:]}.j2", ROLES / role / "files" / path[1:]):
        if file.is_file():
            return str(file.relative_to(ROOT))
    return ""
