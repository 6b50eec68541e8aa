"""The machine of an exercise: what comes before is built once and kept as a stage, from which each start makes it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

from sanso import ansible, console, inventory, machines
from sanso.console import COULD_NOT_CHECK, Failure
from sanso.inventory import CA_DIRECTORY, MACHINE_DIRECTORY, Host, Inventory
from sanso.lab.exercise import Exercise
from sanso.lab.place import Place
from sanso.project import ROOT, STATE, new_log, relative
from sanso.run import Run

BARE = "bare"
# What is built of it, each over the one before.
LAYERS = {
    "os": "playbooks/os.yml",
    "web": "playbooks/web.yml",
    "database": "playbooks/database.yml",
    "app": "playbooks/app.yml",
}
TASKS = "workshop/tasks.yml"
# What stages are made of: another commit of these makes others. What isn't committed is the learner's, and no part.
SOURCES = ("roles", "playbooks", "sample_app", "tracing", "workshop/inventory")
AGAIN = "the same command again, once that is mended"


class Stages:
    """The machine of a place, and the stages that it is made from."""

    def __init__(self, place: Place, verbose: bool = False):
        self.place, self.verbose = place, verbose

    @property
    def described(self) -> Inventory:
        return inventory.read(self.place.inventory)

    @property
    def host(self) -> Host:
        return next(iter(self.described.hosts.values()))

    @property
    def note(self) -> Path:
        """Which commit's sources the stages were built from."""
        return STATE / "lab" / f"{self.place.machine}.json"

    @property
    def certificates(self) -> Path:
        """Where the local CA has what it signed for the machine: outside of it, so that no stage holds it."""
        return Path(CA_DIRECTORY).expanduser() / self.place.machine

    @property
    def kept_certificates(self) -> Path:
        """Those of the stages: what one exercise has signed would be a change that nobody made in the next."""
        return STATE / "lab" / f"{self.place.machine}-certificates"

    @property
    def known(self) -> list[str]:
        folder = Path(MACHINE_DIRECTORY) / "stages" / self.place.machine
        return [name for name in LAYERS if (folder / name / "stage.json").exists()]

    def layers(self, stage: str) -> list[str]:
        """Those that a stage has, in their order; none where it is bare."""
        return list(LAYERS)[: list(LAYERS).index(stage) + 1] if stage in LAYERS else []

    def ensure(self):
        """Have every layer built, a stage each: any exercise can be started then, and without a network.

        The baseline lies in the place.
        """
        built = json.loads(self.note.read_text()) if self.note.exists() else ""
        if self.known and built != sources():
            console.say("The project has changed since the machine's stages were built: building them anew.")
            self.forget()
        wanted = list(LAYERS)
        missing = [name for name in wanted if name not in self.known]
        if not missing:
            return
        console.say(f"Building what exercises start from, once: {', '.join(missing)}. That takes two minutes or so.")
        self.note.parent.mkdir(parents=True, exist_ok=True)
        self.note.write_text(json.dumps(sources()))
        over = wanted[wanted.index(missing[0]) - 1] if missing[0] != wanted[0] else ""
        for name in missing:
            console.say(f"  {name} …", style="dim")
            self.machine("renewed", over, LAYERS[name])
            self.machine("saved", name)
            if name == "web":
                lay_anew(self.certificates, self.kept_certificates)
            over = name

    def start(self, exercise: Exercise, drawn: Sequence[str], values: dict, *, good: bool = False):
        """Make the machine anew from a stage, in an exercise's start state; good: as it would be without any fault."""
        stage = exercise.good if good else exercise.stage
        plays = [] if good else [*exercise.build, *([TASKS] if exercise.fault_files(drawn) else [])]
        files = [] if good else exercise.fault_files(drawn)
        lay_anew(self.kept_certificates, self.certificates)
        self.machine("renewed", "" if stage == BARE else stage, *plays, values=self.values(files, values))

    def solve(self, exercise: Exercise, drawn: Sequence[str], values: dict):
        """Build what the solution says, then do its tasks on the machine."""
        files = [exercise.folder / "solution.yml"] if (exercise.folder / "solution.yml").exists() else []
        files += [exercise.folder / f"solution-{name}.yml" for name in drawn]
        self.do(files, values, *exercise.solution)

    def do(self, files: Sequence[Path], values: dict, *before: str):
        """Run playbooks, then do what task lists say."""
        if plays := [*before, *([TASKS] if files else [])]:
            self.play(*plays, values=self.values(files, values))

    def values(self, files: Sequence[Path], values: dict) -> dict:
        return {"lab_files": [str(file) for file in files], "lab_root": str(ROOT), **values}

    def machine(self, state: str, stage: str = "", *plays: str, values: dict | None = None) -> Run:
        """Bring the machine into a state, and run playbooks on it."""
        described = self.described
        if described.hosts.keys() != {self.place.machine} or not described.machines:
            raise Failure(
                f"{relative(self.place.inventory)}/hosts.yml describes more, or less, than {self.place.machine}",
                next_step="./sanso lab reset",
            )
        words = {"machine_state": state, "machine_stage": stage, **(values or {})}
        log = new_log("lab")
        extra = ["-e", json.dumps(words)]
        with quietly():
            return machines.run_playbook(described, *plays, *extra, log=log, verbose=self.verbose, next_step=AGAIN)

    def play(self, *plays: str, values: dict | None = None) -> Run:
        with quietly():
            words = [*self.described.words, *plays, *ansible.extra(values)]
            return ansible.playbook(*words, log=new_log("lab"), verbose=self.verbose, next_step=AGAIN)

    def forget(self):
        """Remove the machine and all of its stages."""
        self.machine("forgotten")
        shutil.rmtree(self.kept_certificates, ignore_errors=True)
        self.note.unlink(missing_ok=True)

    def require(self):
        """Fail where the machine can't be asked, with what to do about it."""
        host = self.host
        if not machines.record(host):
            raise Failure(
                f"the machine {host.name} doesn't exist",
                next_step="./sanso lab reset makes it anew, in the start state of the exercise",
                code=COULD_NOT_CHECK,
            )
        if not machines.is_running(host):
            start = f"ansible-playbook -i {relative(self.place.inventory)} {machines.PLAYBOOK}"
            raise Failure(
                f"the machine {host.name} doesn't run",
                next_step=f"{start} starts it again; ./sanso lab reset makes it anew",
                code=COULD_NOT_CHECK,
            )


@contextmanager
def quietly():
    """The lines of layers and commands are not what a learner is to read: the log has them."""
    before, console.screen.quiet = console.screen.quiet, True
    try:
        yield
    finally:
        console.screen.quiet = before


def lay_anew(source: Path, target: Path):
    """Have a folder that nobody else reads be as another one, where there is that."""
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(mode=0o700, parents=True)
        shutil.copytree(source, target, dirs_exist_ok=True)


def sources() -> str:
    """A digest of the committed sources that stages are made of; empty where this is no git checkout."""
    words = ["git", "rev-parse", *(f"HEAD:{path}" for path in SOURCES)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return hashlib.sha256(done.stdout.encode()).hexdigest() if done.returncode == 0 else ""
