"""The engines that build a machine, and what each says of a run, in words that a test can ask of both."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BROKEN = re.compile(r"(?m)^--> An .*exception occurred")  # with the same exit code as a task that failed


@dataclass(frozen=True)
class Run:
    """How a run went.

    succeeded, failed: both are false where it ended otherwise: a host was not reached, or the engine itself broke.
    said: all that a person reads. changed: how many tasks changed something; None if it didn't come to count them.
    """

    succeeded: bool
    failed: bool
    said: str
    changed: int | None

    def says(self, words: str) -> bool:
        """Whether it says that, on however many lines."""
        return words in self.said or words in " ".join(self.said.split())


def family(process: int) -> Iterator[int]:
    """A process and all that it started, and those, and so on."""
    children = Path(f"/proc/{process}/task/{process}/children")
    yield process
    for child in children.read_text().split() if children.exists() else []:
        yield from family(int(child))


class Engine(ABC):
    """One engine, for the machine of an inventory.

    loudest: the options with which it tells the most.
    """

    name: str
    loudest: tuple[str, ...]

    def __init__(self, inventory: Path):
        self.inventory = inventory.resolve()

    def run(self, layer: str, variables: Path, *options: str, **environment: str) -> Run:
        """Run a layer, `site` (all of them) or `access`, with a file of variables on top of the inventory."""
        command = self.command(layer, variables, *options)
        environment = {**os.environ, **environment}
        return self.read(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment))

    @contextlib.contextmanager
    def begun(self, layer: str, variables: Path):
        """The process of a run that goes on meanwhile. At the end it is killed, with all that it started."""
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        run = subprocess.Popen(self.command(layer, variables), cwd=ROOT, **streams)
        try:
            yield run
        finally:
            for process in list(family(run.pid)):  # all of them before the first dies, which would orphan the others
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            run.wait()

    @abstractmethod
    def command(self, layer: str, variables: Path, *options: str) -> list[str]:
        """The words that run it, from the project's root."""

    @abstractmethod
    def read(self, done: subprocess.CompletedProcess) -> Run:
        """What became of it."""


class Ansible(Engine):
    name = "ansible"
    loudest = ("-vvv", "--diff")

    def command(self, layer, variables, *options):
        what = [f"playbooks/{layer}.yml", "-e", f"@{variables}"]
        return ["ansible-playbook", "-i", str(self.inventory), *what, *options]

    def read(self, done):
        counts = re.findall(r"(?m)^\S+ +: ok=\d+ +changed=(\d+)", done.stdout)
        changed = sum(map(int, counts)) if counts else None
        return Run(done.returncode == 0, done.returncode == 2, done.stdout + done.stderr, changed)


class Pyinfra(Engine):
    name = "pyinfra"
    loudest = ("-vvv", "--debug", "--diff")

    def command(self, layer, variables, *options):
        more = {"site": "deploys/site.py", "access": "deploys.layer_os.access_alone"}
        what = [f"@sanso/{self.inventory}", more.get(layer, f"deploys/layer_{layer}.py")]
        return ["pyinfra", "-y", "--json", *options, "--data", f"variables={variables}", *what]

    def read(self, done):
        said = re.sub(r"(?m)^ +\[[\w.-]+\] ?", "", done.stderr)  # the host, before each line of its own
        # Its answer comes at the end of a run that all hosts got through.
        changed = json.loads(done.stdout)["results"]["totals"]["success"] if done.stdout else None
        return Run(done.returncode == 0, done.returncode == 1 and not BROKEN.search(said), said, changed)


ENGINES = {engine.name: engine for engine in (Ansible, Pyinfra)}
