"""Runs auditors: programs that may be missing, hang, or say too much. All of them end when the audit is broken off."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from importlib import metadata
from typing import BinaryIO

from sanso.audit.model import CouldNotAudit

MOST = 20_000_000  # bytes of what a program says that are read


class Running:
    """The programs of one audit. A context manager: what still runs at its end is killed, and nothing starts then."""

    def __init__(self):
        self._lock, self._processes = threading.Lock(), set()
        self.stopped = threading.Event()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_):
        with self._lock:
            self.stopped.set()
            for process in self._processes:
                kill(process)

    def run(
        self, words: list[str], seconds: float, *, stdin: BinaryIO | None = None, **environment: str
    ) -> subprocess.CompletedProcess:
        """Run a program to its end. Raises CouldNotAudit where it isn't there, and where its time is up."""
        # Files, not pipes: a connection that ssh leaves behind could hold a pipe open.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self._start(
                words,
                stdin=stdin or subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "NO_COLOR": "1", **environment},
            )
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                raise CouldNotAudit(f"{words[0]} did not end within {seconds:g} s") from None
            finally:
                kill(process)
                with self._lock:
                    self._processes.discard(process)
            if self.stopped.is_set():
                raise CouldNotAudit("the audit was broken off")
            return subprocess.CompletedProcess(words, code, text(out), text(err))

    def _start(self, words, **options) -> subprocess.Popen:
        with self._lock:
            if self.stopped.is_set():
                raise CouldNotAudit("the audit was broken off")
            try:
                # A group of its own, so that what it starts ends with it.
                process = subprocess.Popen(words, process_group=0, **options)
            except OSError as error:
                raise CouldNotAudit(f"{words[0]} can't be run here: {error.strerror}") from error
            self._processes.add(process)
            return process


def kill(process: subprocess.Popen):
    """End a program and all that it started, also what outlived it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read(MOST).decode(errors="replace")


def last_line(said: str) -> str:
    """What a program said last, which is why it ended."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
