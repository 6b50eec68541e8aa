"""test: prove everything, from the linters to whole machines, and close with the number of tests."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import click

from sanso import console, junit, machines, options
from sanso.project import ROOT, new_log, relative

MOLECULE = ROOT / "molecule"
SHELL_SCRIPTS = ("sanso", ".ci/run", "bench/baseline.sh")
TAIL = 80  # lines of a failed step that are shown
PLAIN = {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}  # for the log, and for the lines of it that are shown
ALL_CORES = ("--numprocesses=auto", "--dist=loadfile")  # a file's tests share what they make
HEARTBEAT = 60  # seconds; a step that runs for longer says between whiles that it lives
STAGE = re.compile(r"\[\S+ > (\S+)] Executing$")  # molecule's line at the start of each stage


@dataclass(frozen=True)
class Step:
    """One command that proves something.

    part: the word that selects it; counts_itself: whether its exit code is a test, beside those in its JUnit files.
    """

    part: str
    name: str
    command: tuple[str, ...]
    folder: Path = ROOT
    counts_itself: bool = True

    @property
    def scenario(self) -> str:
        """The molecule scenario that it runs, or an empty word."""
        return self.command[-1] if self.command[0] == "molecule" else ""


def steps() -> list[Step]:
    """Everything there is to prove, the quick parts first."""
    found = [
        Step("lint", "ruff check", ("ruff", "check", ".")),
        Step("lint", "ruff format", ("ruff", "format", "--check", ".")),
        Step("lint", "shellcheck", ("shellcheck", *SHELL_SCRIPTS)),
        Step("lint", "yamllint", ("yamllint", "--strict", ".")),
        Step("lint", "ansible-lint", ("ansible-lint", "--offline")),
        Step("unit", "unit tests", ("pytest", *ALL_CORES, "tests/unit"), counts_itself=False),
        Step("sample", "sample app", ("pytest", "tests"), folder=ROOT / "sample_app", counts_itself=False),
        Step("tracing", "tracing package", ("pytest", "tests"), folder=ROOT / "tracing", counts_itself=False),
    ]
    others = sorted({file.parent.name for file in MOLECULE.glob("*/molecule.yml")} - {"default"})
    scenarios = ["default", *others]
    return found + [Step("molecule", f"molecule {name}", ("molecule", "test", "-s", name)) for name in scenarios]


class Part(click.ParamType):
    """lint, unit, sample, tracing, molecule, or the name of one scenario."""

    name = "part"

    def convert(self, value, param, ctx):
        known = list(dict.fromkeys(word for step in steps() for word in (step.part, step.scenario) if word))
        if value not in known:
            self.fail(f"{value!r} is none of {', '.join(known)}", param, ctx)
        return value


@click.command()
@click.argument("parts", nargs=-1, type=Part(), metavar="[lint|unit|sample|tracing|molecule|SCENARIO]…")
@options.verbose
@options.as_json
@click.pass_context
def test(ctx, parts, verbose):
    """Prove everything, whole machines too.

    A step that fails doesn't end the run. The last line counts all tests.
    """
    log = new_log("test")
    chosen = [step for step in steps() if not parts or {step.part, step.scenario} & set(parts)]
    total, report = junit.Count(), []
    for step in chosen:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            passed = Runner(step, Path(folder), log, verbose).run()
            count = judge(step, passed, junit.read(Path(folder)))
        total += count
        took = console.seconds(time.monotonic() - began)
        (console.bad if count.failed else console.good)(step.name, f"{took}, {count}")
        report.append({"step": step.name, "passed": count.passed, "failed": count.failed, "skipped": count.skipped})
    if total.failed:
        console.say(f"  log  {relative(log)}", style="dim")
    console.result({"steps": report, "passed": total.passed, "failed": total.failed, "skipped": total.skipped})
    console.say(f"sanso: {total}")
    ctx.exit(console.FAILED if total.failed else console.DONE)


def judge(step: Step, passed: bool, found: junit.Count) -> junit.Count:
    """The step's tests. Its own exit code counts where it is one, and where nothing else tells of the failure."""
    if not passed and (step.counts_itself or not found.failed):
        return found + junit.Count(failed=1, failures=[step.name])
    if passed and step.counts_itself:
        return found + junit.Count(passed=1)
    if passed and not found.passed:  # a run without a test proves nothing
        return found + junit.Count(failed=1, failures=[f"{step.name} ran no test"])
    return found


class Runner:
    """Runs one step: all that it says goes to the log, and to the person only what matters."""

    def __init__(self, step: Step, folder: Path, log: Path, verbose: bool):
        self.step, self.folder, self.log, self.verbose = step, folder, log, verbose
        self.last: deque[str] = deque(maxlen=TAIL)

    def run(self) -> bool:
        """Tell whether the step passed. Its JUnit files are in `folder` then."""
        console.command(list(self.step.command), self.step.folder)
        if problem := self.hindrance():
            console.say(f"  {problem}", style="red")
            return False
        junit_file = [f"--junitxml={self.folder / 'pytest.xml'}"] if self.step.command[0] == "pytest" else []
        process = subprocess.Popen(
            [*self.step.command, *junit_file],
            cwd=self.step.folder,
            env={**os.environ, **PLAIN, "SANSO_JUNIT_DIR": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,  # so that all that it starts can be ended with it
        )
        try:
            self.follow(process)
        except KeyboardInterrupt:
            self.end(process)
            raise
        passed = process.wait() == 0
        if not passed and not self.verbose:
            console.say("\n".join(self.last))
        return passed

    def hindrance(self) -> str:
        """What keeps the step from running, or nothing."""
        tool = self.step.command[0]
        if not shutil.which(tool):
            return f"{tool} isn't installed; ./sanso makes a .venv that has it"
        if not self.step.folder.is_dir():
            return f"{relative(self.step.folder)} isn't there"
        if self.step.scenario and sys.platform != "linux":
            return "machines on this computer need Linux"
        if self.step.scenario and not machines.can_be_root():
            return "machines on this computer need root: sudo -v, then try again"
        return ""

    def follow(self, process: subprocess.Popen):
        """Read what the step says until it has ended."""
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=read, args=(process.stdout, lines), daemon=True).start()
        began = told = time.monotonic()
        with self.log.open("a", buffering=1) as log, console.progress() as show:
            log.write(f"\n$ {shlex.join(self.step.command)}\n")
            while True:
                try:
                    line = lines.get(timeout=1)
                except queue.Empty:
                    if process.poll() is not None:  # what the step left running holds the stream open
                        return
                else:
                    if line is None:
                        return
                    log.write(f"{line}\n")
                    self.last.append(line)
                    show(f"{self.step.name}: {line.strip()}")
                    if self.tell(line):
                        told = time.monotonic()
                if time.monotonic() - told > HEARTBEAT and not console.is_live():
                    last = self.last[-1].strip() if self.last else "nothing said yet"
                    console.say(f"  … {console.seconds(time.monotonic() - began)}: {last}")
                    told = time.monotonic()

    def tell(self, line: str) -> bool:
        """Show a line, if it is one to be shown, and tell whether it was."""
        stage = STAGE.search(line)
        if self.verbose:
            console.say(line)
        elif stage and not console.is_live():
            console.say(f"  {stage[1]}")
        else:
            return False
        return True

    def end(self, process: subprocess.Popen):
        """End what the step started: its processes, and the machines of a scenario."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        console.say(f"Ended {self.step.name}.")
        if self.step.scenario:
            command = ["molecule", "destroy", "-s", self.step.scenario]
            console.command(command, ROOT)
            with self.log.open("a") as log:
                streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
                ended = subprocess.run(
                    command, cwd=ROOT, env={**os.environ, **PLAIN}, process_group=0, check=False, **streams
                )
            if ended.returncode:
                console.bad(f"The machines of {self.step.scenario} could not be removed", f"log {relative(self.log)}")
            else:
                console.good(f"The machines of {self.step.scenario} are gone")


def read(stream: TextIO, lines: queue.Queue):
    """Put the lines of a stream into a queue, and None at its end."""
    with stream:
        for line in stream:
            lines.put(line.rstrip("\n"))
    lines.put(None)
