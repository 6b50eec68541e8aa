"""Events of the callback plugin, for the fake ansible-playbook."""

from __future__ import annotations


def play(name: str) -> dict:
    return {"event": "play", "name": name}


def ok(task: str = "Do", host: str = "sanso", **fields) -> dict:
    return {"event": "result", "status": "ok", "host": host, "task": task} | fields


def changed(task: str = "Do", host: str = "sanso", **fields) -> dict:
    return ok(task, host, status="changed", diff="") | fields


def failed(task: str = "Do", host: str = "sanso", status: str = "failed", **evidence) -> dict:
    return ok(task, host, status=status, evidence=[evidence])
