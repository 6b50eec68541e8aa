"""A run of an engine: its events become one line per layer, and all that it says goes to the log.

Events are JSON objects, one a line, on the file descriptor SANSO_EVENTS:

- {"event": "play", "name": …}: a layer begins, and the one before it is over
- {"event": "task", "name": …}: what goes on just now
- {"event": "result", "status": "ok" | "changed" | "failed" | "unreachable" | …, "host": …, "task": …}, with a "diff", a
  "notice", or a list of "evidence"
- {"event": "diff", "host": …, "task": …, "diff": …}: goes with a result that comes later
- {"event": "done", "layer": …}: a layer is over

With one play after the other, an event is about the last one. An engine that goes to and fro between layers, as pyinfra
does where hosts have different ones, says "layer" in each event, and never "play".
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sanso import console
from sanso.console import Failure
from sanso.project import ROOT, relative

EVIDENCE_LINES = 40
NEEDS_PASSWORD = ("Missing sudo password", "password is required", "interactive authentication is required")


@dataclass
class Layer:
    """What an engine did for a layer."""

    name: str
    changed: int = 0
    acted: bool = False  # one whose tasks were all skipped has nothing to say
    failed: bool = False
    ended: bool = False
    seconds: float = 0.0
    _since: float | None = None

    def as_data(self) -> dict:
        return {"name": self.name, "changed": self.changed, "seconds": round(self.seconds, 1), "failed": self.failed}

    def go_on(self):
        if self._since is None:
            self._since = time.monotonic()

    def pause(self):
        if self._since is not None:
            self.seconds += time.monotonic() - self._since
            self._since = None


@dataclass
class Run:
    """What came out of one run."""

    plan: bool = False
    timed: bool = True  # whether what a layer took is known
    layers: list[Layer] = field(default_factory=list)
    failures: dict[str, dict] = field(default_factory=dict)  # by host, the last one: it is what ended the host's run
    _diffs: dict[tuple, str] = field(default_factory=dict)
    _noticed: set[tuple[str, str]] = field(default_factory=set)

    @property
    def changed(self) -> int:
        return sum(layer.changed for layer in self.layers)

    def follow(self, lines: Iterable[str], show: Callable[[str], None]):
        """Take the events as they come; `show` is told what goes on just now."""
        for line in lines:
            self.take(json.loads(line), show)

    def take(self, event: dict, show: Callable[[str], None] = lambda text: None):
        match event["event"]:
            case "play":
                self.end()
                self._begin(event["name"])
                show(event["name"])
            case "task":
                show(f"{self._layer_of(event).name}: {event['name']}")
            case "diff":
                self._diffs[_place(event)] = event["diff"]
            case "done":
                self.end(event["layer"])
            case _:
                self._take_result(event)

    def end(self, name: str | None = None):
        """A layer is over: say what it did. Without a name: all that are not over yet."""
        for layer in self.layers:
            if not layer.ended and name in (None, layer.name):
                layer.ended = True
                layer.pause()
                self._tell(layer)

    def failure(self, *, log: Path, next_step: str, password: str) -> Failure:
        """What to say when a host failed. password: what to do where sudo asks for one."""
        evidence = "\n".join(words(event) for event in self.failures.values())
        first = next(iter(self.failures.values()))
        if first["status"] == "unreachable":
            message = f"{first['layer']}: {first['host']} can't be reached over SSH"
        else:
            message = f"{first['layer']} failed on {', '.join(self.failures)}: {first['task']}"
        if any(sign in evidence for sign in NEEDS_PASSWORD):
            next_step = f"sudo asks for a password there: {password}"
        return Failure(message, evidence=evidence, log=relative(log), next_step=next_step)

    def _begin(self, name):
        self.layers.append(Layer(name))
        self.layers[-1].go_on()
        return self.layers[-1]

    def _layer_of(self, event):
        """The layer that an event is about, whose time goes on."""
        if "layer" not in event:
            return self.layers[-1]
        found = next((layer for layer in self.layers if layer.name == event["layer"]), None)
        for layer in self.layers:
            if layer is not found:
                layer.pause()
        if not found:
            return self._begin(event["layer"])
        found.go_on()
        return found

    def _take_result(self, event):
        layer, status = self._layer_of(event), event["status"]
        layer.acted |= status != "skipped"
        if status in ("failed", "unreachable"):
            layer.failed = True
            self.failures[event["host"]] = event | {"layer": layer.name}
        if status == "changed":
            layer.changed += 1
            if self.plan:
                console.say(f"  {event['host']}: {event['task']}")
                console.diff(event.get("diff") or self._diffs.get(_place(event), ""))
        notice = (event["host"], event.get("notice", ""))
        if notice[1] and notice not in self._noticed:  # a module's is often said again, for who runs the playbook
            self._noticed.add(notice)
            console.say(f"  {event['host']}: {event['notice']}")

    def _tell(self, layer):
        if self.plan:
            what = f"{layer.changed} would change" if layer.changed else "nothing would change"
        else:
            what = f"{layer.changed} changed" if layer.changed else "nothing changed"
        took = [console.seconds(layer.seconds)] if self.timed else []
        if layer.failed:
            console.bad(layer.name, ", ".join([*took, "failed"]))
        elif layer.acted:
            console.good(layer.name, ", ".join([*took, what]))


@dataclass
class Ended:
    """An engine that ran to its end. said: what is in the log; answer: its stdout, where that was kept apart."""

    code: int
    said: str
    answer: str = ""


def execute(
    command: list[str],
    run: Run,
    *,
    log: Path,
    verbose: bool,
    environment: Callable[[int], dict[str, str]],
    apart: bool = False,
) -> Ended:
    """Run an engine in the checkout and take its events; what it says goes to the log, with `verbose` to stderr too.

    environment: gives the engine's environment, told the file descriptor of the events. apart: its stdout is an answer.
    What its layers did is said when they end: run.end() does that for those that are open still.
    """
    console.command(command, ROOT)
    with log.open("a+") as file, tempfile.TemporaryFile("w+") as answer:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        began = file.tell()
        code = _follow(command, run, file, verbose, environment, answer if apart else None)
        file.flush()
        file.seek(began)
        said = file.read()
        answer.seek(0)
        answered = answer.read()
        file.write(answered)
    return Ended(code, said, answered)


def _follow(command, run, log, verbose, environment, answer) -> int:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as events:
        try:
            heard = subprocess.PIPE if verbose else log
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(write_end),
                stdout=answer or heard,
                stderr=heard if answer else subprocess.STDOUT,
                pass_fds=[write_end],
                text=True,
                errors="replace",
            )
        finally:
            os.close(write_end)
        with _ended(process), console.progress() as show:
            if verbose:
                copier = threading.Thread(target=_copy, args=(process.stdout or process.stderr, log))
                copier.start()
            run.follow(events, (lambda text: None) if verbose else show)
            code = process.wait()
            if verbose:
                copier.join()
            return code


@contextlib.contextmanager
def _ended(process):
    """Leave no child behind: Ctrl-C reaches it by itself, any other end of ours does not."""
    try:
        yield
    except BaseException:
        process.terminate()
        process.wait()
        raise


def _copy(stream, log):
    with stream:
        for line in stream:
            log.write(line)
            sys.stderr.write(line)
            sys.stderr.flush()


def last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-EVIDENCE_LINES:])


def words(event: dict) -> str:
    """What a failed task said: its message, meant to be read, and the end of what is long beside it."""
    lines = [f"{event['host']}: {event['task']}"]
    for found in event["evidence"]:
        for key, value in found.items():
            text = (value if isinstance(value, str) else json.dumps(value, indent=2, default=str)).rstrip().splitlines()
            if key != "msg":
                text = [f"{key}: {text[0]}"] if len(text) == 1 else [f"{key}:", *text[-EVIDENCE_LINES:]]
            lines += [f"  {line}".rstrip() for line in text]
    return "\n".join(lines)


def _place(event):
    return event.get("layer"), event["host"], event["task"]
