"""Puts what each tier noted about a request onto one clock: the spans of its trace."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sanso.tracing.evidence import CouldNotTrace

if TYPE_CHECKING:
    from sanso.tracing.case import Case

TIERS = {"client": "the client", "nginx": "nginx", "uwsgi": "uWSGI", "app": "the app", "mysql": "MySQL"}
SERVER, CLIENT, INTERNAL = 2, 3, 1  # OTLP's kinds of spans
MS = 1_000_000
TICK = 2 * MS  # nginx's times are of 1 ms, at both ends
CLOSE = MS // 4  # what clocks on one computer may differ by
NAME = 120  # characters of a span's name


@dataclass
class Span:
    """Something that a tier did: from start to end, on the server's clock (ns).

    kind: 2 serves a caller, 3 calls a server, 1 is neither; slack: how far off its ends can be (ns).
    """

    id: str
    parent: str
    tier: str
    name: str
    kind: int
    start: int
    end: int
    slack: int = 0
    error: bool = False
    attributes: dict = field(default_factory=dict)

    def __post_init__(self):
        self.name = self.name[:NAME]
        self.attributes = {key: value for key, value in self.attributes.items() if value not in (None, "", "-")}

    @property
    def took(self) -> int:
        return self.end - self.start


def assemble(case: Case) -> list[Span]:
    """The spans of a case. Evidence that can't be understood is said, not guessed."""
    found = []
    for tier, spans_of in {"client": client, "nginx": nginx, "uwsgi": uwsgi, "app": app, "mysql": mysql}.items():
        try:
            found += spans_of(case)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise CouldNotTrace(
                f"what {TIERS[tier]} wrote about trace {case.ids.trace} can't be understood: {what}",
                "is the server built by this checkout? ./sanso up, or ansible-playbook site.yml, does that",
            ) from error
    return found


def client(case: Case) -> list[Span]:
    call, exchange, ids = case.call, case.exchange, case.ids
    at = {event: time + case.clock.offset for event, time in exchange.events.items()}
    found = [
        Span(
            ids.root,
            "",
            "client",
            f"{call.method} {call.target}",
            CLIENT,
            at["start"],
            at["end"],
            error=bool(exchange.error) or exchange.status >= 400,
            attributes={
                "http.request.method": call.method,
                "url.full": call.url,
                "server.address": call.address,
                "server.port": call.port,
                "tls.protocol.version": exchange.tls,
                "http.response.status_code": exchange.status or None,
                "http.response.body.size": exchange.size,
                "sanso.clock.offset_ms": case.clock.offset / MS,
            },
        )
    ]
    for name, begins, ends in (("TCP connect", "start", "connected"), ("TLS handshake", "connected", "tls")):
        if ends in at:
            found.append(Span(ids.derived(name), ids.root, "client", name, INTERNAL, at[begins], at[ends]))
    return found


def nginx(case: Case) -> list[Span]:
    found = []
    for line in case.of("nginx"):
        end = ticks(line["msec"])
        path, _, query = line["uri"].partition("?")
        served = Span(
            line["span_id"],
            line["parent_id"],
            "nginx",
            f"{line['method']} {line['uri']}",
            SERVER,
            end - ticks(line["request_time"]),
            end,
            slack=TICK + case.clock.error,
            error=line["status"] >= 500,
            attributes={
                "http.request.method": line["method"],
                "url.path": path,
                "url.query": query,
                "http.response.status_code": line["status"],
                "http.response.body.size": line["bytes"],
                "network.protocol.version": line["protocol"],
                "client.address": line["remote"],
                "process.pid": line["pid"],
                "nginx.connection": line["connection"],
            },
        )
        found.append(served)
        if tried(line["upstream"]):
            found.append(upstream(case, line, served))
    return found


def upstream(case: Case, line: dict, served: Span) -> Span:
    """nginx's dealings with uWSGI: from its hand-over, which uWSGI was told, or else counted back from the end."""
    took = sum(ticks(each) for each in tried(line["upstream_time"]))
    told = [ticks(each["nginx_msec"]) for each in case.of("uwsgi") if each["parent_id"] == line["span_id"]]
    start = told[0] if told else served.end - took
    statuses = tried(line["upstream_status"])
    return Span(
        case.ids.derived("upstream", line["span_id"]),
        line["span_id"],
        "nginx",
        f"upstream {tried(line['upstream'])[-1]}",
        CLIENT,
        start,
        start + took,
        slack=TICK,
        error=bool(statuses) and statuses[-1] >= "500",
        attributes={
            "network.transport": "unix" if tried(line["upstream"])[-1].startswith("unix:") else "tcp",
            "network.peer.address": line["upstream"],
            "nginx.upstream.status": line["upstream_status"],
            "nginx.upstream.connect_s": line["upstream_connect"],
            "nginx.upstream.header_s": line["upstream_header"],
            "nginx.upstream.response_s": line["upstream_time"],
        },
    )


def uwsgi(case: Case) -> list[Span]:
    callers = {line["span_id"] for line in case.of("nginx") if tried(line["upstream"])}
    found = []
    for line in case.of("uwsgi"):
        start, caller = int(line["start_us"]) * 1000, line["parent_id"]
        found.append(
            Span(
                line["span_id"],
                case.ids.derived("upstream", caller) if caller in callers else caller,
                "uwsgi",
                f"worker {line['worker']}",
                SERVER,
                start,
                start + int(line["micros"]) * 1000,
                slack=TICK,
                error=int(line["status"]) >= 500,
                attributes={
                    "process.pid": int(line["pid"]),
                    "uwsgi.worker": line["worker"],
                    "uwsgi.core": line["core"],
                    "uwsgi.queue_wait_ms": round((start - ticks(line["nginx_msec"])) / MS, 3),
                    "http.response.status_code": line["status"],
                },
            )
        )
    return found


def app(case: Case) -> list[Span]:
    found = []
    for line in case.of("app"):
        for resource in line["resourceSpans"]:
            process = plain(resource.get("resource", {}).get("attributes", []))
            about = {key: process[key] for key in ("process.pid", "service.name") if key in process}
            for each in (each for scope in resource["scopeSpans"] for each in scope["spans"]):
                if each["traceId"] == case.ids.trace:
                    found.append(app_span(each, about))
    return found


# What instrumentations of OpenTelemetry still call by its old name.
OLD_NAMES = {
    "db.system": "db.system.name",
    "http.method": "http.request.method",
    "http.status_code": "http.response.status_code",
    "http.target": "url.path",
}


def app_span(each: dict, about: dict) -> Span:
    attributes = {OLD_NAMES.get(key, key): value for key, value in plain(each.get("attributes", [])).items()}
    failed = (each.get("status") or {}).get("code") in (2, "STATUS_CODE_ERROR") or "error.type" in attributes
    return Span(
        each["spanId"],
        each.get("parentSpanId", ""),
        "app",
        each["name"],
        int(each["kind"]),
        int(each["startTimeUnixNano"]),
        int(each["endTimeUnixNano"]),
        slack=CLOSE,
        error=failed,
        attributes={**about, **attributes},
    )


def mysql(case: Case) -> list[Span]:
    """Its timers count from its own start, in ps: without their zero on the wall clock, nothing has a place."""
    zeros = timer_zeros(case)
    if not zeros:
        return []
    zero, spread = zeros[len(zeros) // 2], zeros[-1] - zeros[0]
    found = []
    for row in case.of("mysql"):
        start = zero + int(row["start_ps"]) // 1000
        found.append(
            Span(
                case.ids.derived("mysql", row["thread_id"], row["event_id"]),
                row["span_id"],
                "mysql",
                shape(row["text"]) or "statement",
                SERVER,
                start,
                start + int(row["wait_ps"] or 0) // 1000,
                slack=CLOSE + spread,
                error=bool(row["errno"]),
                attributes={
                    "db.system.name": "mysql",
                    "db.query.text": shape(row["text"]),
                    "db.response.returned_rows": row["rows_sent"],
                    "mysql.rows_affected": row["rows_affected"],
                    "mysql.rows_examined": row["rows_examined"],
                    "mysql.lock_us": round(int(row["lock_ps"] or 0) / 1e6, 1),
                    "mysql.errno": row["errno"] or None,
                    "mysql.no_index": row["no_index"],
                    "mysql.tmp_tables": row["tmp_tables"],
                    "mysql.tmp_disk_tables": row["tmp_disk_tables"],
                    "mysql.sort_rows": row["sort_rows"],
                    "mysql.running": row["running"],
                    "mysql.connection_id": row["connection_id"],
                    "mysql.connection_type": row["connection_type"],
                    "mysql.user": row["user"],
                    "mysql.client_pid": row["client_pid"],
                    "mysql.os_thread": row["os_thread"],
                },
            )
        )
    return found


def timer_zeros(case: Case) -> list[int]:
    """When (ns) MySQL's timers were zero, by each reading, in order."""
    return sorted(round(float(wall) * 1000) - int(timer) // 1000 for wall, timer in case.of("mysql_clock"))


def ordered(spans: list[Span]) -> list[tuple[Span, int]]:
    """Each span with its depth, callers before those they call, by their start. One without a caller is a root."""
    known = {span.id for span in spans}
    below: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start):
        below.setdefault(span.parent if span.parent in known else "", []).append(span)
    found: list[tuple[Span, int]] = []
    seen: set[int] = set()
    # The second: those that call each other in a circle.
    todo = [(span, 0) for span in [*below.get("", []), *spans]][::-1]
    while todo:
        span, depth = todo.pop()
        if id(span) not in seen:
            seen.add(id(span))
            found.append((span, depth))
            todo += [(each, depth + 1) for each in reversed(below.get(span.id, []))]
    return found


def plain(attributes: list[dict]) -> dict:
    """OTLP's attributes as a dict."""
    found = {}
    for each in attributes:
        ((kind, value),) = each["value"].items()
        if kind == "arrayValue":
            value = ", ".join(str(word) for item in value.get("values", []) for word in item.values())
        found[each["key"]] = int(value) if kind == "intValue" else value
    return found


def tried(text: str) -> list[str]:
    """nginx's list of what it tried, without what it didn't: `a, b`, and ` : ` after an internal redirect."""
    return [each for each in re.split(r", | : ", text) if each not in ("", "-")]


def ticks(seconds) -> int:
    """nginx's seconds, which tick in ms, as ns."""
    return round(float(seconds) * 1000) * MS


def shape(text: str) -> str:
    """A statement without comments, on one line."""
    return " ".join(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).split())
