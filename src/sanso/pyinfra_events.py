"""What happens in a run of pyinfra, as events for ./sanso (see sanso.run), on the file descriptor SANSO_EVENTS.

pyinfra's own log and its answer with --json stay what they are. The first has no form to rely on, and the second comes
when all is over. Where nobody listens, attach() does nothing, and what operations tell goes to pyinfra's log alone.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import defaultdict

from ansible.plugins.callback import CallbackBase
from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.context import ctx_host

from sanso.pyinfra import parts

PREPARATION = "Preparation"  # connecting, and comparing what is there with what should be
ESCAPES = re.compile(r"\x1b\[[\d;]*m")
EXECUTED = re.compile(r"Error[^:]*: executed \d+ commands")  # says only that it failed


def attach(state: State):
    """Report this run. To be called before it connects; once is enough, more does no harm."""
    if "SANSO_EVENTS" in os.environ and not events_of(state):
        state.add_callback_handler(Events(int(os.environ["SANSO_EVENTS"])))


def events_of(state: State) -> Events | None:
    return next((each for each in state.callback_handlers if isinstance(each, Events)), None)


# What an operation can tell while it is at work: which one it is, pyinfra knows.


def diff(state: State, host: Host, diffs: list[dict]):
    """Tell what an operation would change, as Ansible's modules do: before, after, before_header, after_header."""
    if not diffs:
        return
    text = CallbackBase()._get_diff(diffs).strip("\n")
    if state.config.DIFF:
        for line in text.splitlines():
            logger.info(f"{host.print_prefix}{line}")
    if (events := events_of(state)) and not state.is_executing:
        events.send("diff", diff=text, **where(state, host))


def notice(state: State, host: Host, text: str):
    """Tell a person what is left to do after an operation."""
    logger.warning(f"{host.print_prefix}{text}")
    if events := events_of(state):
        events.notices[host.name, operation_of(host)] = text


def refusal(state: State, host: Host, text: str):
    """Tell that an operation would fail, where nothing is executed that could: with --dry."""
    logger.error(f"{host.print_prefix}{text}")
    if events := events_of(state):
        events.send("result", status="failed", evidence=[{"msg": text}], **where(state, host))


def operation_of(host: Host) -> str:
    return host.current_op_hash or host.nested_executing_op_hash or host.executing_op_hash or ""


def where(state: State, host: Host, op_hash: str = "") -> dict[str, str]:
    """The layer, task and host of an operation, for an event."""
    layer, task = parts(min(state.get_op_meta(op_hash or operation_of(host)).names))
    return {"layer": layer, "task": task, "host": host.name}


class Events(BaseStateCallback):
    """Reports each operation on each host, once all is known of it: pyinfra tells us that it ended before that."""

    def __init__(self, descriptor: int):
        os.set_inheritable(descriptor, False)  # an SSH connection that lives on must not hold it open
        self._out = os.fdopen(descriptor, "w", buffering=1)
        self.notices: dict[tuple[str, str], str] = {}
        self._begun: dict[tuple[Host, str], None] = {}  # operations that nothing was said of yet, in their order
        self._left: dict[str, set] | None = None  # layer to the operations that are still to come
        self._task = ""
        self._complaints = Complaints()
        logger.addHandler(self._complaints)

    def send(self, event: str, **fields):
        self._out.write(json.dumps({"event": event, **fields}, default=str) + "\n")

    def close(self):
        logger.removeHandler(self._complaints)
        self._out.close()

    # Connecting

    def host_before_connect(self, state, host):
        self.send("task", layer=PREPARATION, name=f"connect to {host.name}")

    def host_connect(self, state, host):
        self.send("task", layer=PREPARATION, name="compare what is there with what should be")

    def host_connect_error(self, state, host, error):
        what = {"layer": PREPARATION, "task": "Connect", "host": host.name}
        self.send("result", status="unreachable", evidence=[{"msg": str(error)}], **what)

    # Operations

    def operation_host_start(self, state, host, op_hash):
        if self._left is None:
            self.send("done", layer=PREPARATION)
            self._left = defaultdict(set)
            for each, operations in state.ops.items():
                for key in operations if each in state.active_hosts else ():
                    self._left[where(state, each, key)["layer"]].add((each, key))
        self._settle(state)
        if op_hash not in state.ops[host]:
            return
        self._begun[host, op_hash] = None
        if op_hash != self._task:
            self._task, place = op_hash, where(state, host, op_hash)
            self.send("task", layer=place["layer"], name=place["task"])

    def operation_end(self, state, op_hash):
        self._settle(state)

    def host_disconnect(self, state, host):
        self._settle(state, finally_=True)

    def _settle(self, state, finally_=False):
        """Report the operations that are complete; in the end the others too, which an exception has ended."""
        for host, op_hash in list(self._begun):
            data = state.ops[host][op_hash]
            if data.operation_meta.is_complete() or finally_:
                del self._begun[host, op_hash]
                self.send("result", **self._result(state, host, op_hash, data))
        self._end_layers(state)

    def _result(self, state, host, op_hash, data):
        meta = data.operation_meta
        said = {"notice": self.notices.pop((host.name, op_hash), ""), **where(state, host, op_hash)}
        complaints = self._complaints.of.pop(host.name, [])
        self._done(host, op_hash)
        if meta.is_complete() and meta.did_succeed():
            return said | {"status": "changed" if meta.did_change() else "ok"}
        status = "ignored" if data.global_arguments["_ignore_errors"] else "failed"
        return said | {"status": status, "evidence": self._evidence(meta, complaints)}

    def _evidence(self, meta, complaints):
        """What a failed operation said: the lines of its output, or what pyinfra says where there are none."""
        found = defaultdict(list)
        for line in meta._combined_output or []:
            found[line.buffer_name].append(line.line)
        if not found:
            found["msg"] = [line for line in complaints if not EXECUTED.fullmatch(line)]
        order = ("msg", "stdout", "stderr")
        evidence = {name: "\n".join(found[name]) for name in order if any(found[name])}
        if not evidence and meta.is_complete():
            evidence["msg"] = f"it failed without a word: {(meta._commands or ['?'])[-1]}"
        return [evidence] if evidence else []

    def _done(self, host, op_hash):
        for operations in (self._left or {}).values():
            operations.discard((host, op_hash))

    def _end_layers(self, state):
        for layer, operations in list((self._left or {}).items()):
            if not {host for host, _ in operations} & state.active_hosts:
                del self._left[layer]
                self.send("done", layer=layer)


class Complaints(logging.Handler):
    """Keeps what pyinfra logs as a warning or an error, by host: where it is no output, it is nowhere else."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.of: dict[str, list[str]] = defaultdict(list)

    def emit(self, record):
        host = ctx_host.get()
        if host is not None:
            text = ESCAPES.sub("", record.getMessage())
            self.of[host.name].append(re.sub(rf"^\s*\[{re.escape(host.name)}\]\s*", "", text))
