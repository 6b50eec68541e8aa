"""All that is known about one traced request, before it is put together and judged."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from sanso.tracing.evidence import Clock
from sanso.tracing.request import Call, Exchange
from sanso.tracing.spans import CLIENT, SERVER, Span, ticks, tried

# What nginx's log calls an app: its socket (which had another name on servers of before), or the group of its sockets,
# which are one, where that could not take the request.
APP_SOCKET = re.compile(r"unix:/run/app-(?P<app>[^/]+)/(?:app|current)\.sock|app_(?P<full>.+)")


@dataclass(frozen=True)
class Ids:
    """Those that the client makes: of the trace, and of its own span."""

    trace: str = field(default_factory=lambda: secrets.token_hex(16))
    root: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace}-{self.root}-01"

    def derived(self, *words) -> str:
        """The id of a span that nobody gave one."""
        return hashlib.sha256("|".join(map(str, (self.trace, *words))).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class App:
    """Of an app's description, what its traces are judged by; the defaults are those of the role app."""

    name: str
    database: str = "mysql"
    network: bool = False
    trace: bool = True

    @classmethod
    def of(cls, description: Mapping) -> App:
        """From a description as it stands in an inventory."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in description.items() if name in known})

    @property
    def socket(self) -> str:
        """By the link to it, as nginx names it."""
        return f"unix:/run/app-{self.name}/app.sock"

    @property
    def unit(self) -> str:
        return f"app-{self.name}@current.service"


@dataclass
class Case:
    """jump: by how much (ns) the server's clock ran away from this computer's meanwhile; seen: the evidence."""

    call: Call
    exchange: Exchange
    ids: Ids
    clock: Clock
    jump: int = 0
    seen: dict = field(default_factory=dict)
    described: App | None = None
    spans: list[Span] = field(default_factory=list)

    def of(self, tier: str) -> list[dict]:
        """What a tier wrote."""
        return self.seen.get(tier) or []

    @property
    def nginx(self) -> dict:
        """nginx's line, or {}."""
        return self.of("nginx")[0] if self.of("nginx") else {}

    @property
    def upstream(self) -> str:
        """To whom nginx handed the request over, the last one if it tried several; empty if it answered itself."""
        asked = tried(str(self.nginx.get("upstream", "")))
        return asked[-1] if asked else ""

    @property
    def app(self) -> App:
        """The described app, or else the one that nginx's upstream names."""
        match = APP_SOCKET.fullmatch(self.upstream)
        name = (match["app"] or match["full"]) if match else ""
        return self.described or App(name, trace=self.worker.get("traced", True))

    @property
    def worker(self) -> dict:
        """uWSGI's line, or {}."""
        return self.of("uwsgi")[0] if self.of("uwsgi") else {}

    @property
    def process(self) -> dict:
        """The worker's process as the kernel showed it, or {} if it could not be seen."""
        found = (self.seen.get("processes") or {}).get(str(self.worker.get("pid"))) or {}
        return found if found.get("unit") else {}

    @property
    def served(self) -> list[Span]:
        """The app's own spans of the request: one, as it should be."""
        return [span for span in self.spans if span.tier == "app" and span.kind == SERVER]

    @property
    def asked(self) -> list[Span]:
        """The app's spans of its dealings with MySQL."""
        return [
            span
            for span in self.spans
            if span.tier == "app" and span.kind == CLIENT and span.attributes.get("db.system.name") == "mysql"
        ]

    @property
    def executed(self) -> list[Span]:
        """The statements that MySQL kept."""
        return [span for span in self.spans if span.tier == "mysql"]

    @property
    def queue_wait(self) -> int | None:
        """Nanoseconds from nginx's hand to the worker that took it, which it spent in the socket's queue."""
        if not self.worker:
            return None
        return max(0, int(self.worker["start_us"]) * 1000 - ticks(self.worker["nginx_msec"]))

    def notes(self, *words: str) -> str:
        """What kept the evidence from being read, where it has to do with one of these words."""
        said = [note for note in self.seen.get("notes") or [] if any(word in note for word in words)]
        return f" ({'; '.join(said)})" if said else ""
