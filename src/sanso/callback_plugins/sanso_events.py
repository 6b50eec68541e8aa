"""An Ansible callback that reports a run as events, one JSON object a line, on the file descriptor SANSO_EVENTS.

Ansible's own output stays what it is, for the log and for --verbose: a stdout callback such as ansible.posix.jsonl
would replace it, and says nothing about the items of a loop.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: sanso_events
type: notification
short_description: Events for ./sanso
description: Writes what happens in a run, as JSON lines, to the file descriptor named by the variable SANSO_EVENTS.
"""

# What a failed task has to tell, in the order in which a person wants to read it.
EVIDENCE = ("msg", "assertion", "evidence", "stdout", "stderr", "module_stdout", "module_stderr")


DEBUG = ("debug", "ansible.builtin.debug")


def evidence(result):
    """The words of a failure; what no_log hides, Ansible has already replaced."""
    return {key: result[key] for key in EVIDENCE if result.get(key)}


def is_rescued(task):
    """Tell whether a failure of this task leads into the rescue of a block around it."""
    inner, outer = task, task._parent
    while outer is not None:
        if getattr(outer, "rescue", None) and inner._uuid in [each._uuid for each in outer.block]:
            return True
        inner, outer = outer, outer._parent
    return False


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "sanso_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self.disabled = "SANSO_EVENTS" not in os.environ
        if not self.disabled:
            descriptor = int(os.environ["SANSO_EVENTS"])
            os.set_inheritable(descriptor, False)  # an SSH connection that lives on must not hold it open
            self._out = os.fdopen(descriptor, "w", buffering=1)
        # What the items of the loops that run just now had to tell, by host: Ansible's own callback, which comes first,
        # has dropped them from the result of the whole.
        self._evidence, self._diffs = defaultdict(list), defaultdict(list)

    def _send(self, event, **fields):
        self._out.write(json.dumps({"event": event, **fields}, default=str) + "\n")

    def _send_result(self, status, result, **fields):
        host = result.host.get_name()
        self._send("result", status=status, host=host, task=result.task.get_name(), **fields)
        self._evidence.pop(host, None)
        self._diffs.pop(host, None)

    def _diff(self, result):
        return self._get_diff(result.result["diff"]).strip("\n") if result.result.get("diff") else ""

    def v2_playbook_on_play_start(self, play):
        self._send("play", name=play.get_name())

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._send("task", name=task.get_name())

    def v2_playbook_on_handler_task_start(self, task):
        self._send("task", name=task.get_name())

    def v2_runner_item_on_ok(self, result):
        self._diffs[result.host.get_name()].append(self._diff(result))

    def v2_runner_item_on_failed(self, result):
        found = evidence(result.result) | {"item": self._get_item_label(result.result)}
        self._evidence[result.host.get_name()].append(found)

    def v2_runner_on_ok(self, result):
        diffs = [*self._diffs[result.host.get_name()], self._diff(result)]
        status = "changed" if result.is_changed() else "ok"
        # A task that does nothing but say something does so to be read.
        said = result.result.get("msg", "") if result.task.action in DEBUG else ""
        notice = str(result.result.get("notice", said))
        self._send_result(status, result, diff="\n".join(filter(None, diffs)), notice=notice)

    def v2_runner_on_skipped(self, result):
        self._send_result("skipped", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        found = self._evidence[result.host.get_name()] or [evidence(result.result)]
        status = "ignored" if ignore_errors else "rescued" if is_rescued(result.task) else "failed"
        self._send_result(status, result, evidence=found)

    def v2_runner_on_unreachable(self, result):
        self._send_result("unreachable", result, evidence=[evidence(result.result)])
