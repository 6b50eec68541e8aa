"""Follows one request through every tier, by what each tier wrote about it.

Needs the standard library alone, so that Ansible and the tests of the tiers use it as the command line does:

    call = Call("https://faults.test/", "10.77.0.10")
    trace = follow(way, call, ca=path, app=description)
    trace.ok, trace.as_data(), trace.text(), trace.otlp()

Units: inside, times are ns since 1970 on the server's clock; in as_data() they are ms, as its keys say.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sanso.ssh import Way
from sanso.tracing import findings, otlp, proofs, waterfall
from sanso.tracing.case import App, Case, Ids
from sanso.tracing.evidence import PINGS_AT_LEAST, Clock, CouldNotTrace, Evidence
from sanso.tracing.findings import End, Gap
from sanso.tracing.proofs import Proof
from sanso.tracing.request import Call, Exchange, context, now, send
from sanso.tracing.sites import refuse_untraced, site_of
from sanso.tracing.spans import MS, Span, assemble, ordered, timer_zeros

__all__ = ["App", "Call", "CouldNotTrace", "Evidence", "Trace", "follow", "refuse_untraced", "site_of"]

WAIT = 2.0  # seconds for the tiers to write what they have seen
DRIFT = 0.001  # that clocks may run apart by while one of them is being corrected: twice what NTP does


@dataclass(frozen=True)
class Trace:
    """A request, put together and judged. Times in ns; spans in the order of tiers."""

    trace_id: str
    url: str
    method: str
    app: str
    status: int
    duration: int
    spans: list[Span]
    proofs: list[Proof]
    ended: End | None
    hints: list[str]
    gaps: list[Gap]
    clock: Clock
    mysql_spread: int | None
    queue_wait: int | None
    spent: dict[str, int] = field(default_factory=dict)
    option: str = ""  # how ./sanso is told the inventory

    @property
    def ok(self) -> bool:
        return not self.ended and all(proof.ok for proof in self.proofs)

    @property
    def next_step(self) -> str:
        """The command that goes on from here; empty where nothing is wrong."""
        if self.ok:
            return ""
        return self.ended.next if self.ended else f"./sanso check{self.option}"

    @property
    def verdict(self) -> str:
        """What came of it, in a sentence."""
        return waterfall.verdict(self)

    def as_data(self) -> dict:
        """As JSON has it, and the page."""
        begin = min(span.start for span in self.spans)
        return {
            "trace_id": self.trace_id,
            "url": self.url,
            "method": self.method,
            "app": self.app,
            "status": self.status,
            "ok": self.ok,
            "ended": asdict(self.ended) if self.ended else None,
            "clock": {
                "offset_ms": in_ms(self.clock.offset),
                "error_ms": in_ms(self.clock.error),
                "mysql_spread_us": None if self.mysql_spread is None else self.mysql_spread / 1000,
            },
            "duration_ms": in_ms(self.duration),
            "queue_wait_ms": None if self.queue_wait is None else in_ms(self.queue_wait),
            "spans": [
                {
                    "id": span.id,
                    "parent": span.parent,
                    "tier": span.tier,
                    "name": span.name,
                    "kind": span.kind,
                    "start_ms": in_ms(span.start - begin),
                    "duration_ms": in_ms(span.took),
                    "depth": depth,
                    "error": span.error,
                    "attributes": span.attributes,
                }
                for span, depth in ordered(self.spans)
            ],
            "gaps": [{"ms": in_ms(gap.ns), "tier": gap.tier, "said": gap.said} for gap in self.gaps],
            "proofs": [asdict(proof) for proof in self.proofs],
            "hints": self.hints,
            "spent_ms": {name: in_ms(ns) for name, ns in self.spent.items()},
        }

    def otlp(self) -> dict:
        """As OTLP/JSON, for tools that show traces."""
        return otlp.export(self.trace_id, self.spans, self.app)

    def text(self, width: int = 100, ascii: bool = False) -> str:
        """For a log, or a terminal without colours."""
        lines = waterfall.report(self, width)
        return waterfall.as_text(waterfall.as_ascii(lines) if ascii else lines)


def follow(
    way: Way,
    call: Call,
    *,
    ca: Path | str | None = None,
    app: Mapping | None = None,
    evidence: Evidence | None = None,
    option: str = "",
) -> Trace:
    """Send a call with a trace of its own, and collect what each tier of the server wrote about it.

    way: how SSH gets to the server; ca: the file of the CA that signed its certificate; app: the description of the app
    that it is for, as the inventory has it; evidence: a link that is open already (one serves many traces).
    Raises CouldNotTrace where nothing can be told.
    """
    with contextlib.ExitStack() as stack:
        link = evidence or stack.enter_context(Evidence(way, option=option))
        before = link.clock()
        ids = Ids()
        headers = {"traceparent": ids.traceparent}
        if call.secure:  # over plain HTTP, anybody on the way could read it
            headers |= link.headers()
        tls = trusted(ca)
        began = now()
        exchange = send(call, tls, headers)
        sent = now()
        refuse_certificate(call, exchange, ca)
        after = link.clock(PINGS_AT_LEAST)
        clock, jump = between(before, after, now() - began)
        described = App.of(app) if app else None
        asked = now()
        seen = link.trace(ids.trace, WAIT) if "sent" in exchange.events else {}
        collected = now()
    case = Case(call, exchange, ids, clock, jump, seen, described)
    refuse_silence(case, option)
    return judged(case, option, {"request": sent - began, "collect": collected - asked})


def judged(case: Case, option: str = "", spent: dict[str, int] | None = None) -> Trace:
    """Put a case together, and judge it."""
    case.spans = assemble(case)
    zeros = timer_zeros(case)
    return Trace(
        trace_id=case.ids.trace,
        url=case.call.url,
        method=case.call.method,
        app=case.app.name,
        status=case.exchange.status,
        duration=case.exchange.events["end"] - case.exchange.events["start"],
        spans=case.spans,
        proofs=proofs.prove(case),
        ended=findings.ended(case, option),
        hints=findings.hints(case),
        gaps=findings.gaps(case.spans),
        clock=case.clock,
        mysql_spread=zeros[-1] - zeros[0] if zeros else None,
        queue_wait=case.queue_wait,
        spent=spent or {},
        option=option,
    )


def between(before: Clock, after: Clock, passed: int) -> tuple[Clock, int]:
    """The clock while a request was on its way, from readings before and after it; and by how much it was set (ns).

    Clocks that run apart evenly make the error larger. More than that is a clock that was set: no reading is right for
    all of the request then.
    """
    apart = after.offset - before.offset
    error = max(before.error, after.error)
    if abs(apart) > before.error + after.error + MS + passed * DRIFT:
        return before, apart
    return Clock((before.offset + after.offset) // 2, error + abs(apart) // 2), 0


@functools.lru_cache(maxsize=4)
def _context(ca, changed: int) -> ssl.SSLContext:
    """Reading all CAs of this computer takes longer than many a request."""
    return context(ca)


def trusted(ca) -> ssl.SSLContext:
    try:
        return _context(ca, Path(ca).stat().st_mtime_ns if ca else 0)
    except (OSError, ssl.SSLError) as error:
        raise CouldNotTrace(f"{ca} can't be read as the file of a CA: {error}", "./sanso up makes it anew") from error


def refuse_certificate(call: Call, exchange: Exchange, ca):
    """A server that can't show who it is may be anybody: what it says is no evidence."""
    if isinstance(exchange.error, ssl.SSLCertVerificationError):
        against = f"{ca} and this computer's CAs" if ca else "this computer's CAs"
        raise CouldNotTrace(
            f"the certificate of {call.host}:{call.port} was refused: {exchange.error.verify_message}"
            f" (trusted are {against})",
            "is the file that of the CA that signed it? openssl s_client -connect "
            f"{call.address}:{call.port} -servername {call.host} shows the certificate",
        ) from exchange.error


def refuse_silence(case: Case, option: str):
    """nginx answered, but its log has no line of it: then nothing can be told of the tiers behind it."""
    if not case.nginx and "traceresponse" in case.exchange.headers:
        trace = case.ids.trace
        raise CouldNotTrace(
            f"nginx answered {case.exchange.status}, but its access log has no line of trace {trace}{case.notes('')}",
            f"./sanso check{option} --tier web tells what is wrong with its log",
        )


def in_ms(ns: int) -> float:
    return round(ns / MS, 6)
