"""Runs ansible-playbook, and turns its events into one line per layer."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from sanso import console
from sanso.console import Failure
from sanso.project import ROOT, relative

PLUGINS = Path(__file__).parent / "callback_plugins"
EVIDENCE_LINES = 40


@dataclass
class Layer:
    """A play, while it runs and after."""

    name: str
    began: float = field(default_factory=time.monotonic)
    changed: int = 0
    acted: bool = False  # a play whose tasks were all skipped has nothing to say
    failed: bool = False
    seconds: float = 0.0

    def as_data(self) -> dict:
        return {"name": self.name, "changed": self.changed, "seconds": round(self.seconds, 1), "failed": self.failed}


@dataclass
class Run:
    """What came out of one ansible-playbook."""

    plan: bool = False
    layers: list[Layer] = field(default_factory=list)
    failures: dict[str, dict] = field(default_factory=dict)  # by host, the last one: it is what ended the host's run

    @property
    def changed(self) -> int:
        return sum(layer.changed for layer in self.layers)

    def follow(self, lines, show):
        """Take the events as they come; `show` is told what goes on just now."""
        for line in lines:
            event = json.loads(line)
            if event["event"] == "play":
                self.end_layer()
                self.layers.append(Layer(event["name"]))
                show(event["name"])
            elif event["event"] == "task":
                show(f"{self.layers[-1].name}: {event['name']}")
            else:
                self.take(event)
        self.end_layer()

    def take(self, event):
        layer, status = self.layers[-1], event["status"]
        layer.acted |= status != "skipped"
        if status in ("failed", "unreachable"):
            layer.failed = True
            self.failures[event["host"]] = event | {"layer": layer.name}
        if status == "changed":
            layer.changed += 1
            if self.plan:
                console.say(f"  {event['host']}: {event['task']}")
                console.diff(event["diff"])
        if event.get("notice"):
            console.say(f"  {event['host']}: {event['notice']}")

    def end_layer(self):
        if not self.layers:
            return
        layer = self.layers[-1]
        layer.seconds = time.monotonic() - layer.began
        if self.plan:
            what = f"{layer.changed} would change" if layer.changed else "nothing would change"
        else:
            what = f"{layer.changed} changed" if layer.changed else "nothing changed"
        if layer.failed:
            console.bad(layer.name, f"{console.seconds(layer.seconds)}, failed")
        elif layer.acted:
            console.good(layer.name, f"{console.seconds(layer.seconds)}, {what}")


def playbook(*words: str, log: Path, verbose: bool = False, plan: bool = False, next_step: str) -> Run:
    """Run `ansible-playbook WORDS` in the checkout; what Ansible says goes to the log, with `verbose` to stderr too.

    Raises Failure when a host failed or could not be reached, and when nothing was run at all.
    """
    command = ["ansible-playbook", *words, *(["--check", "--diff"] if plan else [])]
    console.command(command, ROOT)
    run = Run(plan)
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        code = _run(command, run, file, verbose)
    if code == 0 and run.layers:
        return run
    raise _failure(run, code, log, next_step)


def layers(*words: str) -> list[str]:
    """The names of a playbook's plays, without running them."""
    command = ["ansible-playbook", *words, "--list-hosts"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure("the playbook can't be read", evidence=done.stderr, next_step=" ".join(command))
    names = re.findall(r"(?m)^  play #\d+ \(.*?\): (.*?)(?:\tTAGS.*)?$", done.stdout)
    return list(dict.fromkeys(names))  # each layer begins with the same preflight


def environment(events: int) -> dict[str, str]:
    """The environment in which Ansible reports to the file descriptor `events`, beside what its user set up."""

    def also(name: str, value: str, separator: str) -> str:
        return separator.join(filter(None, [value, os.environ.get(name)]))

    return {
        **os.environ,
        "ANSIBLE_NOCOLOR": "1",  # for the log
        "ANSIBLE_CALLBACK_PLUGINS": also("ANSIBLE_CALLBACK_PLUGINS", str(PLUGINS), os.pathsep),
        "ANSIBLE_CALLBACKS_ENABLED": also("ANSIBLE_CALLBACKS_ENABLED", "sanso_events", ","),
        "SANSO_EVENTS": str(events),
    }


def _run(command, run, log, verbose) -> int:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as events:
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(write_end),
                stdout=subprocess.PIPE if verbose else log,
                stderr=subprocess.STDOUT,
                pass_fds=[write_end],
                text=True,
                errors="replace",
            )
        finally:
            os.close(write_end)
        with _ended(process), console.progress() as show:
            if verbose:
                copier = threading.Thread(target=_copy, args=(process.stdout, log))
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


def _failure(run, code, log, next_step) -> Failure:
    if not run.failures:  # no task failed: Ansible's last words say what it stopped at
        message = f"Ansible stopped with exit code {code}" if code else "Ansible had nothing to run"
        said = console.tail(log, EVIDENCE_LINES).rpartition("$ ansible-playbook ")[2].partition("\n")[2]
        return Failure(message, evidence=said, log=relative(log), next_step=next_step)
    evidence = "\n".join(_words(event) for event in run.failures.values())
    first = next(iter(run.failures.values()))
    if first["status"] == "unreachable":
        message = f"{first['layer']}: {first['host']} can't be reached over SSH"
    else:
        message = f"{first['layer']} failed on {', '.join(run.failures)}: {first['task']}"
    if "Missing sudo password" in evidence or "password is required" in evidence:
        next_step = "sudo asks for a password there: ./sanso up … -- --ask-become-pass"
    return Failure(message, evidence=evidence, log=relative(log), next_step=next_step)


def _words(event) -> str:
    """What a failed task said: its message, meant to be read, and the end of what is long beside it."""
    lines = [f"{event['host']}: {event['task']}"]
    for found in event["evidence"]:
        for key, value in found.items():
            text = (value if isinstance(value, str) else json.dumps(value, indent=2, default=str)).rstrip().splitlines()
            if key != "msg":
                text = [f"{key}: {text[0]}"] if len(text) == 1 else [f"{key}:", *text[-EVIDENCE_LINES:]]
            lines += [f"  {line}".rstrip() for line in text]
    return "\n".join(lines)
