"""Finds why a request fails: looks at it from here and from inside the server, and names one cause and what mends it.

What is known: `client` (a visitor's view), `program` (the server's own, in one round trip); what it means: `causes`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from sanso import sent
from sanso.doctor import client
from sanso.doctor.causes import Case, Finding, diagnose
from sanso.doctor.client import Seen
from sanso.ssh import Way
from sanso.tracing.request import Call
from sanso.tracing.sites import app_of, begin

__all__ = ["Diagnosis", "Finding", "Patient", "examine"]

PATIENCE = 3.0  # s for the requests from here, until the server is asked too
MARGIN = 1.0  # s: nginx's log of errors tells whole ones
MODULES = ("sanso.digest.server", "sanso.doctor.program")


@dataclass(frozen=True)
class Patient:
    """A server, as its inventory describes it. runs: whether a machine on this computer does, None for a server."""

    name: str
    way: Way
    settings: Mapping
    ca: Path | None = None
    option: str = ""
    several: bool = False
    runs: bool | None = None

    @property
    def apps(self) -> Sequence[Mapping]:
        return [app for app in self.settings.get("apps", []) if app.get("server_names")]

    def app_of(self, url: str) -> Mapping | None:
        call = Call(url, "")
        return app_of(self.apps, call.host, call.target)

    @property
    def healths(self) -> list[str]:
        """Where each app says how it is. Any name will do where all names of a domain are the app's."""
        names = [app["server_names"][0].replace("*", "sanso-doctor") + begin(app) for app in self.apps]
        return [f"https://{name}{app.get('health_path', '/')}" for name, app in zip(names, self.apps, strict=True)]


@dataclass(frozen=True)
class Diagnosis:
    """Of one URL. shut: why the server itself could not be asked; next_step: what to do about that."""

    url: str
    seen: Seen
    app: Mapping
    findings: list[Finding]
    shut: str = ""
    next_step: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_healthy(self) -> bool:
        return not self.findings and not self.shut


def examine(patient: Patient, urls: Sequence[str]) -> list[Diagnosis]:
    """Look at each URL; the server is asked once, meanwhile if that takes long."""
    trace, began = secrets.token_hex(16), time.monotonic()
    with ThreadPoolExecutor(max_workers=len(urls)) as pool:
        looks = {url: pool.submit(client.look, url, patient.way.address, patient.ca, trace) for url in urls}
        wait(looks.values(), timeout=PATIENCE)
        asked = question(patient, urls, trace) | {"since": time.monotonic() - began + MARGIN}
        answer = Answer() if patient.runs is False else Answer.of(patient, asked)
        seen = {url: look.result() for url, look in looks.items()}
    return [diagnosed(patient, seen[url], answer) for url in urls]


@dataclass(frozen=True)
class Answer:
    """What the server said, or why it said nothing. ahead: by how many seconds its clock is."""

    server: Mapping = field(default_factory=dict)
    ahead: float = 0.0
    shut: str = ""
    next_step: str = ""

    @classmethod
    def of(cls, patient: Patient, asked: dict) -> Answer:
        began = time.time()
        try:
            server = sent.ask(patient.name, patient.way, MODULES, asked)
        except sent.Unanswered as error:
            return cls(shut=error.sentence, next_step=error.next_step)
        # When between these two it was asked there, nobody knows: so much is no error.
        return cls(server, server["time"] - min(max(server["time"], began), time.time()))


def question(patient: Patient, urls: Sequence[str], trace: str) -> dict:
    """What the server's program is asked, about the apps of these URLs."""
    calls = [Call(url, "") for url in urls]
    apps = {app["name"]: (app, call.host) for call in calls if (app := patient.app_of(call.url))}
    return {
        "apps": [
            {
                "name": name,
                "host": host,
                "health_path": app.get("health_path", "/"),
                "database": app.get("database", "mysql"),
            }
            for name, (app, host) in apps.items()
        ],
        "port": calls[0].port,
        "trace": trace,
    }


def diagnosed(patient: Patient, seen: Seen, answer: Answer) -> Diagnosis:
    case = Case(
        seen=seen,
        server=answer.server,
        app=patient.app_of(seen.url) or {},
        settings=patient.settings,
        host=patient.name,
        names=[name for app in patient.apps for name in app["server_names"]],
        option=patient.option,
        several=patient.several,
        shut=answer.shut,
        runs=patient.runs,
        ahead=answer.ahead,
    )
    problems = answer.server.get("problems") or {}
    return Diagnosis(seen.url, seen, case.app, diagnose(case), answer.shut, answer.next_step, problems)
