"""The code of Ansible's modules (module_utils/sanso_*.py, and those that run on this computer), run without Ansible."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import ansible.module_utils
from pyinfra import host

from sanso import entrance
from sanso.places import where_set
from sanso.project import ROOT
from sanso.variables import Variables

CORES = [ROOT / "playbooks/module_utils", *sorted(ROOT.glob("roles/*/module_utils"))]
# Runs one of them from memory on a server, which has no Ansible: by these names they import each other. It reads
# {"sources": {module: source}, "core": module, "arguments": …, "checking": …}.
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

# Where modules that run here find what they share, as within Ansible.
ansible.module_utils.__path__ += [str(folder) for folder in CORES]


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
    done = host.connector.execute(shlex.join(["python3", "-BISc", RUNNER]), given=json.dumps(asked).encode())
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return {"failed": True, "msg": f"{core} said: {(done.stderr or done.stdout).strip()}"}


def run_here(file: Path, arguments: dict, checking: bool) -> dict:
    """What a module says that runs on this computer, whose file this is; as `ask`."""
    from ansible.module_utils.sanso_trial import Failed

    try:
        return load(file).run(arguments, checking)
    except Failed as error:
        return {"failed": True, "msg": str(error)}


@cache
def load(file: Path):
    """The Python module in a file."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Door:
    """The way to the present host, as sanso.entrance tries it."""

    def __init__(self, variables: Variables):
        self._variables, self._connector = variables, host.connector
        way = host.connector.way
        self.user, self.host, self.port = way.user, way.address, way.port

    def here(self, command: str, sudo: bool = True) -> str:
        return heard(self._connector.execute(command, sudo=sudo))

    def anew(self, command: str, port: int = 0, alias: bool = False) -> str:
        return heard(self._connector.execute_anew(command, port, alias))

    def value(self, name: str) -> Any:
        return self._variables.get(name)

    def place(self, name: str) -> str:
        return where_set(name, self._connector.inventory)


def heard(done: subprocess.CompletedProcess) -> str:
    """What a command said. Raises Shut where it failed."""
    if not done.returncode:
        return done.stdout
    words = (done.stderr or done.stdout).strip()
    if "sudo" not in words and done.returncode != 255:  # ssh's own
        words = f"sudo, or what it shall run, failed with {done.returncode}: {words}"
    raise entrance.Shut(words)
