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
from collections.abc import Sequence
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
MOST_LANES = 3
# A scenario waits for machines a good part of its time (vmstat beside one: 36 % of two cores idle): one lane more than
# there are cores keeps them at work.
LANES_BESIDE = 1
LANE_BYTES = 3 * 1024**3  # two machines, with 1.2 GB each once everything runs, and what tests them
# In this order, and after all others, steps begin where several run at once: the longest first, or one lane would work
# on long after the rest. The unit tests fill the end, when lanes run dry: they take two cores themselves.
ORDER = ("workshop", "alternative", "delivery", "default", "pyinfra", "unit")
MEMORY = Path("/proc/meminfo")


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


def lanes_here() -> int:
    """How many steps this computer can run at once."""
    lanes = min((os.cpu_count() or 1) + LANES_BESIDE, MOST_LANES)
    if MEMORY.exists():
        free = int(re.search(r"MemAvailable: +(\d+) kB", MEMORY.read_text())[1]) * 1024
        lanes = min(lanes, free // LANE_BYTES)
    return max(lanes, 1)


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
@click.option(
    "--jobs", type=click.IntRange(1), metavar="N", help="How many steps at once; else what cores and memory allow."
)
@options.verbose
@options.as_json
@click.pass_context
def test(ctx, parts, jobs, verbose):
    """Prove everything, whole machines too.

    A step that fails doesn't end the run. The last line counts all tests.
    """
    log = new_log("test")
    chosen = [step for step in steps() if not parts or {step.part, step.scenario} & set(parts)]
    found = Lanes(chosen, jobs or lanes_here(), log, verbose).run()
    total = sum(found.values(), junit.Count())
    report = [
        {"step": step.name, "passed": count.passed, "failed": count.failed, "skipped": count.skipped}
        for step in chosen
        for count in [found[step]]
    ]
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


class Lanes:
    """Runs steps, so many at once. A lane takes the next step as soon as it has ended one."""

    def __init__(self, chosen: Sequence[Step], jobs: int, log: Path, verbose: bool):
        self.jobs, self.log, self.verbose = min(jobs, len(chosen)), log, verbose
        # Each line with who said it; None: it says no more.
        self.heard: queue.Queue[tuple[Runner, str | None]] = queue.Queue()
        self.waiting = deque(sorted(chosen, key=turn) if self.jobs > 1 else chosen)
        self.running: list[Runner] = []
        self.found: dict[Step, junit.Count] = {}

    def run(self) -> dict[Step, junit.Count]:
        """The tests of each step."""
        try:
            with console.progress() as show:
                while self.waiting or self.running:
                    self.start()
                    self.listen(show)
        except BaseException:  # Ctrl-C, or a fault of ours
            end(self.running)
            raise
        return self.found

    def start(self):
        """Start what there is room for, in their turn."""
        while self.waiting and len(self.running) < self.jobs:
            runner = Runner(self.waiting.popleft(), self.log, self.heard, self.verbose, named=self.jobs > 1)
            self.running.append(runner)
            if not runner.start():
                self.close(runner)

    def listen(self, show):
        """Hear what is said for a second at most, and close what has ended."""
        try:
            runner, line = self.heard.get(timeout=1)
        except queue.Empty:
            pass
        else:
            runner.hear(line)
            show(" · ".join(each.now for each in self.running))
        for runner in list(self.running):
            if runner.has_ended:
                self.close(runner)
            else:
                runner.live()

    def close(self, runner: Runner):
        self.running.remove(runner)
        self.found[runner.step] = runner.close()


def turn(step: Step) -> int:
    """When a step is due where several run at once."""
    word = step.scenario or step.part
    return ORDER.index(word) if word in ORDER else -1


class Runner:
    """Runs one step: all that it says goes to the log, and to the person only what matters.

    In the log, what is said at once would stand mixed: each step has a file beside it, `part`, until it has ended.
    """

    def __init__(self, step: Step, log: Path, heard: queue.Queue, verbose: bool, named: bool):
        self.step, self.log, self.heard, self.verbose = step, log, heard, verbose
        self.mark = f"{step.name}: " if named else ""  # whose line it is
        self.last: deque[str] = deque(maxlen=TAIL)
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = Path(self.scratch.name)
        self.part = log.with_name(f"{log.name}.{step.name.replace(' ', '-')}").open("w", buffering=1)
        self.process: subprocess.Popen | None = None
        self.began = self.told = self.listened = time.monotonic()
        self.silent = False

    def start(self) -> bool:
        """Tell whether the step runs."""
        console.command(list(self.step.command), self.step.folder)
        self.part.write(f"\n$ {shlex.join(self.step.command)}\n")
        if problem := self.hindrance():
            console.say(f"  {problem}", style="red")
            return False
        junit_file = [f"--junitxml={self.folder / 'pytest.xml'}"] if self.step.command[0] == "pytest" else []
        self.process = subprocess.Popen(
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
        self.reader = threading.Thread(target=self.read, args=(self.process.stdout,), daemon=True)
        self.reader.start()
        return True

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

    def read(self, stream: TextIO):
        """Log the lines of a stream and pass them on, and None at its end."""
        with stream:
            for line in stream:
                with contextlib.suppress(ValueError):  # it is closed: an ended step has left something running
                    self.part.write(line)
                self.heard.put((self, line.rstrip("\n")))
        self.heard.put((self, None))

    def hear(self, line: str | None):
        """Show a line, if it is one to be shown."""
        self.listened = time.monotonic()
        if line is None:
            self.silent = True
            return
        if self.part.closed:
            return
        self.last.append(line)
        stage = STAGE.search(line)
        if self.verbose:
            console.say(f"{self.mark}{line}")
        elif stage and not console.is_live():
            console.say(f"  {self.mark}{stage[1]}")
        else:
            return
        self.told = self.listened

    def live(self):
        """Say that it lives, where nothing was said of it for long."""
        if time.monotonic() - self.told > HEARTBEAT and not console.is_live():
            console.say(f"  … {self.mark}{console.seconds(time.monotonic() - self.began)}: {self.last_word}")
            self.told = time.monotonic()

    @property
    def last_word(self) -> str:
        return self.last[-1].strip() if self.last else "nothing said yet"

    @property
    def now(self) -> str:
        return f"{self.step.name}: {self.last_word}"

    @property
    def has_ended(self) -> bool:
        """With its stream; or a second after its process, for what the step left running holds the stream open."""
        ended = self.process.poll() is not None
        return self.silent or (ended and self.heard.empty() and time.monotonic() - self.listened > 1)

    def close(self) -> junit.Count:
        """Say how it went: its tests."""
        passed = bool(self.process) and self.process.wait() == 0
        if self.process and not passed and not self.verbose:
            console.say("\n".join(self.last))
        count = judge(self.step, passed, junit.read(self.folder))
        took = console.seconds(time.monotonic() - self.began)
        (console.bad if count.failed else console.good)(self.step.name, f"{took}, {count}")
        self.put_away()
        return count

    def put_away(self):
        """Append what it said to the log, as a whole."""
        self.part.close()
        part = Path(self.part.name)
        with part.open("rb") as said, self.log.open("ab") as log:
            shutil.copyfileobj(said, log)
        part.unlink()
        self.scratch.cleanup()

    def signal(self, number: int):
        """Send a signal to all that the step started."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def destroy(self) -> subprocess.Popen:
        """Begin to remove the machines of a scenario."""
        command = ["molecule", "destroy", "-s", self.step.scenario]
        console.command(command, ROOT)
        streams = {"stdin": subprocess.DEVNULL, "stdout": self.part, "stderr": self.part}
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **PLAIN}, process_group=0, **streams)


def end(runners: list[Runner]):
    """End what the steps started: their processes, and the machines of scenarios. All at once: somebody waits."""
    runners = [runner for runner in runners if runner.process]
    for runner in runners:
        runner.signal(signal.SIGTERM)
    deadline = time.monotonic() + 10
    for runner in runners:
        try:
            runner.process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            runner.signal(signal.SIGKILL)
            runner.process.wait()
        runner.reader.join(1)  # longer only where something outlives its process group
        console.say(f"Ended {runner.step.name}.")
    removals = [(runner, runner.destroy()) for runner in runners if runner.step.scenario]
    for runner, removal in removals:
        scenario = runner.step.scenario
        if removal.wait():
            console.bad(f"The machines of {scenario} could not be removed", f"log {relative(runner.log)}")
        else:
            console.good(f"The machines of {scenario} are gone")
    for runner in runners:
        runner.put_away()
