"""A trace as a page: one HTML file that asks the network for nothing, and trusts nothing that it shows."""

from __future__ import annotations

import heapq
import http
import itertools
import json
import math
from collections import defaultdict
from pathlib import Path

from markupsafe import Markup

from sanso.html import template

TEMPLATE = Path(__file__).with_name("page.html.j2")
TIERS = {
    "client": ("client", "this computer"),
    "nginx": ("nginx", "web server"),
    "uwsgi": ("uWSGI", "app server"),
    "app": ("app", "application"),
    "mysql": ("MySQL", "database"),
}
QUEUE = "queue"
CLIENT = 3  # OTLP's kind of a span that asks another tier
KINDS = {1: "internal", 2: "server", CLIENT: "client", 4: "producer", 5: "consumer"}
MOST_TICKS = 6
LONG = 44  # characters of a value that gets a line of its own

# What a reader calls an attribute. The key itself is always shown beside it.
LABELS = {
    "client.address": "Client's address",
    "db.namespace": "Schema",
    "db.operation.name": "Operation",
    "db.query.text": "Statement",
    "db.response.returned_rows": "Rows returned",
    "db.response.status_code": "Error number",
    "db.system.name": "Database system",
    "error.message": "Error, in words",
    "error.type": "Error",
    "http.request.method": "Method",
    "http.response.body.size": "Bytes answered",
    "http.response.status_code": "Status",
    "http.route": "Route",
    "mysql.client_pid": "Client's process id",
    "mysql.connection_id": "Connection",
    "mysql.connection_type": "Kind of connection",
    "mysql.errno": "Error number",
    "mysql.lock_us": "Waited for locks, µs",
    "mysql.no_index": "Used no index",
    "mysql.os_thread": "Thread of the system",
    "mysql.rows_affected": "Rows changed",
    "mysql.rows_examined": "Rows examined",
    "mysql.running": "Still running",
    "mysql.sort_rows": "Rows sorted",
    "mysql.tmp_disk_tables": "Temporary tables on disk",
    "mysql.tmp_tables": "Temporary tables",
    "mysql.user": "User",
    "network.peer.address": "Other end",
    "network.peer.port": "Other end's port",
    "network.protocol.version": "Protocol",
    "network.transport": "Transport",
    "nginx.connection": "Connection",
    "nginx.upstream.connect_s": "Connected after, s",
    "nginx.upstream.header_s": "Header came after, s",
    "nginx.upstream.response_s": "Answer ended after, s",
    "nginx.upstream.status": "Upstream's status",
    "process.pid": "Process id",
    "sanso.clock.offset_ms": "Server's clock, ms ahead",
    "server.address": "Server's address",
    "server.port": "Server's port",
    "service.name": "App",
    "tls.protocol.version": "TLS",
    "url.full": "URL",
    "url.path": "Path",
    "url.query": "Query",
    "user_agent.original": "Client's program",
    "uwsgi.core": "Core",
    "uwsgi.queue_wait_ms": "Waited in line, ms",
    "uwsgi.worker": "Worker",
}


def render(data: dict) -> str:
    """The page of what Trace.as_data() gives. The same data makes the same bytes, and they are valid UTF-8."""
    end = max([data["duration_ms"] or 0, *map(end_of, data["spans"])])
    waited = wait_in_queue(data)
    own = own_times(data["spans"], waited)
    tiers = picture(data, own)
    return template(TEMPLATE, ms=milliseconds, percent=percent).render(
        trace=data,
        reason=reason(data["status"]),
        failed=[proof for proof in data["proofs"] if not proof["ok"]],
        proofs=sorted(data["proofs"], key=lambda proof: proof["ok"]),
        tiers=tiers,
        busiest=max(tiers, key=lambda tier: tier["own"]),
        names={tier["id"]: tier["name"] for tier in tiers},
        shares=shares(own),
        spans=[row(span, end, waited) for span in data["spans"]],
        waited=waited,
        axis=axis(end),
        spent=data["spent_ms"] or {},
        json=embedded(data),
    )


# Untrusted text


def embedded(data: dict) -> Markup:
    """JSON for a <script>, whose text ends at </script> and changes its meaning at <!--, whatever JSON says."""
    text = json.dumps(data)  # ASCII only: neither U+2028 nor half a surrogate pair is left
    return Markup(text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"))


# Numbers


def milliseconds(number: float) -> str:
    return f"{number:,.3f}".replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "\N{MINUS SIGN}")


def percent(share: float) -> str:
    text = "< 1%" if 0 < share < 0.01 else f"{share:.0%}"
    return text.replace("%", "\N{NO-BREAK SPACE}%")


def axis(end: float) -> dict:
    """Round steps of 1, 2 or 5, and where they stand on an axis that is `end` ms long."""
    rough = (end or 1) / MOST_TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in (1, 2, 5, 10) if nice * power >= rough * 0.999)
    ticks = [{"at": 100 * index * step / (end or 1), "label": f"{index * step:g}"} for index in range(MOST_TICKS + 1)]
    return {"step": 100 * step / (end or 1), "ticks": [tick for tick in ticks if tick["at"] <= 92]}


def wait_in_queue(data: dict) -> dict | None:
    """When the request waited in uWSGI's listen queue: just before uWSGI took it."""
    worker = next((span for span in data["spans"] if span["tier"] == "uwsgi"), None)
    if not data["queue_wait_ms"] or not worker:
        return None
    start = max(0, worker["start_ms"] - data["queue_wait_ms"])
    return {
        "span": worker["id"],
        "depth": worker["depth"],
        "start": start,
        "end": worker["start_ms"],
        "ms": data["queue_wait_ms"],
    }


def end_of(span: dict) -> float:
    return span["start_ms"] + span["duration_ms"]


def own_times(spans: list[dict], waited: dict | None) -> dict[str, float]:
    """How long each tier itself was at it: every moment belongs to the deepest span that runs then."""
    stretches = [(span["start_ms"], end_of(span), span["depth"], span["tier"]) for span in spans]
    if waited:
        stretches.append((waited["start"], waited["end"], waited["depth"], QUEUE))
    stretches.sort()
    moments = sorted({moment for start, end, _, _ in stretches for moment in (start, end)})
    own, running, following = defaultdict(float), [], iter(stretches)
    coming = next(following, None)
    for now, until in itertools.pairwise(moments):
        while coming and coming[0] <= now:
            start, end, depth, tier = coming
            heapq.heappush(running, (-depth, -start, end, tier))
            coming = next(following, None)
        while running and running[0][2] <= now:
            heapq.heappop(running)
        if running:
            own[running[0][3]] += until - now
    return own


# The picture of the tiers


def picture(data: dict, own: dict[str, float]) -> list[dict]:
    order, total = list(TIERS), sum(own.values()) or 1
    ended = data["ended"]["tier"] if data["ended"] else None
    broken = order.index(ended) if ended in TIERS else len(order)
    tiers = []
    for index, tier in enumerate(order):
        name, role = TIERS[tier]
        took_part = any(span["tier"] == tier for span in data["spans"])
        if index == broken:
            state, words = "broken", "✗ broke here"
        elif took_part:
            state, words = "there", "✓ took part"
        else:
            # One that was passed on the way may have had no time to write.
            state, words = "absent", "not reached" if index > broken else "left no record" if ended else "took no part"
        tiers.append(
            {
                "id": tier,
                "name": data["app"] or name if tier == "app" else name,
                "role": role,
                "state": state,
                "words": words,
                "took_part": took_part,
                "own": own.get(tier, 0),
                "share": own.get(tier, 0) / total,
                "hop": hop(tier, data),
                # A tier that broke without a span of its own was never reached: it is the way to it that broke.
                "hop_state": state if not took_part else "there",
            }
        )
    return tiers


def hop(tier: str, data: dict) -> tuple[str, str]:
    """What lies between a tier and the one before it: its kind and its address, as far as the spans tell."""
    spans = data["spans"]
    if tier == "nginx":
        caller = [span for span in spans if span["tier"] == "client"]
        version = first(caller, "tls.protocol.version").removeprefix("TLSv")
        kind = f"TLS {version}".strip() if data["url"].startswith("https:") else "TCP, no TLS"
        return kind, first(caller, "server.address")
    if tier == "uwsgi":
        return socket([span for span in spans if span["tier"] == "nginx"])
    if tier == "mysql":
        return socket([span for span in spans if span["attributes"].get("db.system.name") == "mysql"])
    return ("WSGI", "") if tier == "app" else ("", "")


def socket(spans: list[dict]) -> tuple[str, str]:
    """Of the spans that ask the tier behind, where they reach it."""
    address = first([span for span in spans if span["kind"] == CLIENT], "network.peer.address").removeprefix("unix:")
    if not address:
        return "", ""
    return "Unix socket" if address.startswith("/") else "TCP", address


def first(spans: list[dict], key: str) -> str:
    return next((str(span["attributes"][key]) for span in spans if span["attributes"].get(key)), "")


def shares(own: dict[str, float]) -> list[dict]:
    """The parts of the whole time, in the order in which a request passes them."""
    total, at, parts = sum(own.values()) or 1, 0.0, []
    for tier in (*list(TIERS)[:2], QUEUE, *list(TIERS)[2:]):
        if share := own.get(tier, 0) / total:
            parts.append({"tier": tier, "at": 100 * at, "share": 100 * share})
            at += share
    return parts


# The waterfall


def row(span: dict, end: float, waited: dict | None) -> dict:
    of_end = 100 / (end or 1)
    waits = waited if waited and waited["span"] == span["id"] else None
    return span | {
        "kind": KINDS.get(span["kind"], str(span["kind"])),
        "end_ms": end_of(span),
        "at": span["start_ms"] * of_end,
        "share": span["duration_ms"] * of_end,
        "waits": waits,
        "wait_at": waits["start"] * of_end if waits else 0,
        "wait_share": (waits["end"] - waits["start"]) * of_end if waits else 0,
        "evidence": [evidence(key, value) for key, value in span["attributes"].items()],
    }


def evidence(key: str, value) -> dict:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {"key": key, "label": LABELS.get(key, ""), "value": text, "long": len(text) > LONG or "\n" in text}


def reason(status) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
