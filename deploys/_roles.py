"""What a role of Ansible's says: its values, filled in, and its tasks by their names."""

from __future__ import annotations

import shlex
from typing import Any

from pyinfra import host, state
from pyinfra.api.facts import FactBase

from sanso import variables

KEYWORDS = {  # of a task, beside its module
    "args",
    "become",
    "changed_when",
    "check_mode",
    "delegate_to",
    "diff",
    "environment",
    "loop",
    "loop_control",
    "name",
    "no_log",
    "notify",
    "register",
    "tags",
    "throttle",
    "vars",
    "when",
}


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
    """One role's values, templates and tasks for the present host; more: variables for it alone, as a loop's.

    What a task says (its module's arguments, its `when`) is read by the task's name: deploys say in which order, and
    after what. `role["__nginx_local"] = …` is what a play would register. While pyinfra only looks what would change,
    `ansible_check_mode` is true: also where a layer itself asks for a value, before any operation is executed.
    """

    def __init__(self, name: str, **more: Any):
        self.name = name
        if "facts" not in host.connector_data:  # for all roles of a run, where get_fact asks anew
            host.connector_data["facts"] = host.get_fact(Platform)
        self.variables = host.connector.variables.within(name, ansible_facts=host.connector_data["facts"], **more)

    def __getitem__(self, name: str) -> Any:
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

    def file(self, name: str) -> str:
        """The text of a file, named by its path below files/."""
        return (variables.ROLES / self.name / "files" / name).read_text()

    def task(self, name: str) -> Task:
        try:
            return Task(self, next(task for task in self.variables.tasks() if task["name"] == name))
        except StopIteration:
            raise LookupError(f"the role {self.name} has no task {name!r}") from None


class Task:
    """What a task of a role says."""

    def __init__(self, role: Role, said: dict[str, Any]):
        self.role, self.name, self.said = role, said["name"], said
        others = [key for key in said if key not in KEYWORDS]
        if len(others) != 1:  # a word of Ansible's that would silently mean nothing here
            raise LookupError(f"the task {said['name']!r} says {', '.join(others)}; one of them is its module")
        self.module = others[0]

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
        elif self.module.endswith(("shell", "raw")):
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
            self.role[name] = dict(result)  # templates take plain ones
