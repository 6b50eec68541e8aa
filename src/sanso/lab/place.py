"""Where a learner works: an inventory and a copy of the sample app, which are theirs to change, and a machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sanso.console import Failure
from sanso.project import ROOT, now, relative

WORKSHOP = ROOT / "workshop"
BASELINE = {"inventory": WORKSHOP / "inventory", "app": ROOT / "sample_app"}
NOT_COPIED = ("__pycache__", ".*", "tests", "*.egg-info")
OTHER = re.compile(r"(?P<machine>[a-z][a-z0-9-]{0,30})@(?P<address>[0-9.]+)")
MACHINE, ADDRESS = "lab", "10.77.0.50"
WRITTEN = "refs/sanso/written"


@dataclass(frozen=True)
class Place:
    """folder: of the checkout, with inventory/ and app/, the learner's; machine, address: what they work on."""

    folder: str = "lab"
    machine: str = MACHINE
    address: str = ADDRESS

    @classmethod
    def here(cls) -> Place:
        """The learner's. SANSO_LAB=machine@address names another one: for tests, or two learners on one computer."""
        wanted = os.environ.get("SANSO_LAB", "")
        if not wanted:
            return cls()
        match = OTHER.fullmatch(wanted)
        if not match:
            raise Failure(f"SANSO_LAB={wanted} isn't machine@address", next_step="SANSO_LAB=lab2@10.77.0.51, say")
        return cls(f"lab-{match['machine']}", match["machine"], match["address"])

    @property
    def root(self) -> Path:
        return ROOT / self.folder

    @property
    def inventory(self) -> Path:
        return self.root / "inventory"

    def localized(self, text: str) -> str:
        """A text of the workshop as it is meant here: the names of the machine and the folder are this place's."""
        if self == Place():
            return text
        text = text.replace(ADDRESS, self.address).replace("lab.test", f"{self.machine}.test")
        text = re.sub(r"(?m)^( +)lab:$", rf"\1{self.machine}:", text)
        return re.sub(r"(?<![\w/.-])lab/(inventory|app)\b", rf"{self.folder}/\1", text)

    # What lies there. The folder is a git repository of its own, in which WRITTEN is what the lab wrote last: what the
    # learner did is the difference, whether they commit it or not.

    def begin(self, label: str) -> Path | None:
        """Put the baseline there. What the learner changed is never overwritten, but moved away first: where to."""
        kept = None
        self.root.mkdir(parents=True, exist_ok=True)
        if not (self.root / ".git").exists():
            self._git("init", "--quiet")
            (self.root / ".gitignore").write_text("/*\n" + "".join(f"!/{name}\n" for name in BASELINE))
        if self.changes():
            kept = self.root / "kept" / f"{label}-{now():%Y%m%dT%H%M%SZ}"
            kept.mkdir(parents=True)
        for name, source in BASELINE.items():
            here = self.root / name
            if kept and here.exists():
                here.rename(kept / name)
            shutil.rmtree(here, ignore_errors=True)
            self._copy(source, here)
        self.note("The workshop's baseline")
        return kept

    def lay(self, folder: Path):
        """Put the files of an exercise's folder over what is there."""
        if folder.is_dir():
            self._copy(folder, self.root)

    def patch(self, file: Path):
        """Apply a patch, whose paths begin with a/app or a/inventory."""
        if file.exists() and (problem := self._git("apply", str(file), check=False)):
            raise Failure(
                f"{relative(file)} doesn't fit the sample app any more",
                evidence=problem,
                next_step="make the patch anew: docs/how-to/write-an-exercise.md",
            )

    def note(self, message: str):
        """Remember what is there as what the lab wrote."""
        self._git("add", "--all")
        author = ("-c", "user.name=sanso lab", "-c", "user.email=lab@localhost", "-c", "commit.gpgsign=false")
        self._git(*author, "commit", "--quiet", "--allow-empty", "--no-verify", f"--message={message}")
        self._git("update-ref", WRITTEN, "HEAD")

    def changes(self) -> str:
        """What the learner changed since, as a diff; empty where nothing was written yet."""
        if not (self.root / ".git").exists() or self._git("rev-parse", "--quiet", "--verify", WRITTEN, check=False):
            return ""
        self._git("add", "--all", "--intent-to-add")
        return self._git("diff", "--no-color", "--no-ext-diff", WRITTEN, read=True)

    def _git(self, *words: str, check: bool = True, read: bool = False) -> str:
        """What git says when it fails (check: as a Failure), or, to be read, what it says when it doesn't."""
        if not shutil.which("git"):
            raise Failure("git is needed: it tells what you change from what was there", next_step="apt install git")
        done = subprocess.run(["git", *words], cwd=self.root, capture_output=True, text=True, check=False)
        if done.returncode and check:
            raise Failure(f"git {words[0]} failed in {relative(self.root)}", evidence=done.stderr)
        return done.stdout if read else done.stderr or str(done.returncode or "")

    def _copy(self, source: Path, target: Path):
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*NOT_COPIED), dirs_exist_ok=True)
        for file in target.rglob("*.yml"):
            text = file.read_text()
            if (local := self.localized(text)) != text:
                file.write_text(local)
