"""A request that went through all tiers as it should, as each tier's evidence tells of it; tests break it."""

from __future__ import annotations

from sanso.tracing.case import App, Case, Ids
from sanso.tracing.evidence import Clock
from sanso.tracing.request import Call, Exchange
from sanso.tracing.spans import assemble

MS = 1_000_000
BEGIN = 1_795_301_041_000 * MS  # when the client begins, on the server's clock
IDS = Ids("281c9adbfd07255b1ef3f333bd8581b2", "c90530f0073c31a5")
NGINX, UWSGI, SERVED, FIRST, SECOND = ("1" * 16, "2" * 16, "3" * 16, "4" * 16, "5" * 16)
WORKER = 456
CALL = Call("https://faults.test/slow?a=b", "10.77.0.10")
SOCKET = "unix:/run/app-faults/app.sock"


def evidence(ids: Ids = IDS, begin: int = BEGIN, scale: float = 1) -> dict:
    """What sanso-evidence says. Times in ms from `begin`, which `scale` stretches; with 0 all is in one moment."""

    def at(ms: float) -> int:
        return begin + round(ms * scale * MS)

    def seconds(ms: float) -> str:
        return f"{at(ms) // MS / 1000:.3f}"

    def lasted(ms: float) -> str:
        return f"{ms * scale / 1000:.3f}"

    zero = begin - 3600_000 * MS  # when MySQL's timers were zero
    return {
        "nginx": [
            {
                "time": "2026-11-21T22:44:01+00:00",
                "msec": float(seconds(73)),
                "trace_id": ids.trace,
                "span_id": NGINX,
                "uwsgi_span": UWSGI,
                "parent_id": ids.root,
                "flags": "01",
                "remote": "10.77.0.1",
                "host": "faults.test",
                "method": "GET",
                "uri": "/slow?a=b",
                "protocol": "HTTP/1.1",
                "tls": "TLSv1.3",
                "status": 200,
                "bytes": 1234,
                "request_time": float(lasted(64)),
                "upstream": SOCKET,
                "upstream_status": "200",
                "upstream_connect": "0.000",
                "upstream_header": lasted(62),
                "upstream_time": lasted(62),
                "pid": 123,
                "connection": 45,
                "referer": "",
                "agent": "sanso",
            }
        ],
        "nginx_errors": [],
        "uwsgi": [
            {
                "trace_id": ids.trace,
                "span_id": UWSGI,
                "parent_id": NGINX,
                "flags": "01",
                "nginx_msec": seconds(10),
                "start_us": at(11.5) // 1000,
                "micros": round(60_000 * scale),
                "worker": 1,
                "pid": WORKER,
                "core": 0,
                "status": 200,
                "bytes": 1234,
                "method": "GET",
            }
        ],
        "app": [
            otlp(
                ids,
                otlp_span(ids, SERVED, UWSGI, "GET /slow", 2, at(11.7), at(71.3), http__response__status_code=200),
                db_span(ids, FIRST, "SELECT", at(12), at(40)),
                db_span(ids, SECOND, "SELECT", at(50), at(60)),
            )
        ],
        "mysql": [
            statement(FIRST, 1, at(12.1) - zero, round(27.8 * scale * MS), "SELECT COUNT ( * ) FROM `error`"),
            statement(SECOND, 2, at(50.1) - zero, round(9.8 * scale * MS), "SELECT `id` FROM `error` LIMIT ?"),
        ],
        # The middle one of the readings is right; they are some µs apart.
        "mysql_clock": [[(begin + late) / 1000, (begin - zero) * 1000] for late in (-2000, -1000, 0, 1000, 2000)],
        "mysql_problem": "",
        "mysql_tcp": False,
        "processes": {
            str(WORKER): {
                "unit": "app-faults@current.service",
                "user": "faults",
                "unix": ["/run/app-faults/current.sock", "/var/run/mysqld/mysqld.sock"],
                "tcp": [],
            }
        },
        "notes": [],
        "spent": {"logs": 0.004, "mysql": 0.04, "processes": 0.002},
    }


def otlp(ids: Ids, *spans: dict) -> dict:
    about = [
        {"key": "service.name", "value": {"stringValue": "faults"}},
        {"key": "process.pid", "value": {"intValue": str(WORKER)}},
    ]
    scope = {"scope": {"name": "sanso_tracing"}, "spans": list(spans)}
    return {"resourceSpans": [{"resource": {"attributes": about}, "scopeSpans": [scope]}]}


def otlp_span(ids: Ids, id: str, parent: str, name: str, kind: int, start: int, end: int, **attributes) -> dict:
    return {
        "traceId": ids.trace,
        "spanId": id,
        "parentSpanId": parent,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(end),
        "attributes": [
            {
                "key": key.replace("__", "."),
                "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value},
            }
            for key, value in attributes.items()
        ],
    }


def db_span(ids: Ids, id: str, name: str, start: int, end: int, **attributes) -> dict:
    known = {
        "db__system__name": "mysql",
        "db__operation__name": name,
        "network__transport": "unix",
        "network__peer__address": "/run/mysqld/mysqld.sock",
        "mysql__connection_id": 11,
    }
    return otlp_span(ids, id, SERVED, name, 3, start, end, **(known | attributes))


def statement(span_id: str, event: int, start_ns: int, took_ns: int, text: str, **changes) -> dict:
    return {
        "thread_id": 50,
        "event_id": event,
        "start_ps": start_ns * 1000,
        "wait_ps": took_ns * 1000,
        "lock_ps": 6_000_000,
        "span_id": span_id,
        "text": text,
        "rows_sent": 1,
        "rows_affected": 0,
        "rows_examined": 90,
        "errno": 0,
        "tmp_tables": 0,
        "tmp_disk_tables": 0,
        "sort_rows": 0,
        "no_index": False,
        "running": False,
        "connection_id": 11,
        "user": "faults",
        "host": "localhost",
        "connection_type": "Socket",
        "client_pid": WORKER,
        "os_thread": 789,
        **changes,
    }


def exchange(**changes) -> Exchange:
    times = {"start": 0, "connected": 4, "tls": 8, "sent": 9, "first_byte": 72, "end": 74}
    known = {
        "events": {event: BEGIN + ms * MS for event, ms in times.items()},
        "status": 200,
        "headers": {"traceresponse": f"00-{IDS.trace}-{NGINX}-01"},
        "size": 1234,
        "tls": "TLSv1.3",
    }
    return Exchange(**(known | changes))


def app_spans(seen: dict) -> list[dict]:
    """The app's spans, to be changed where they are."""
    return seen["app"][0]["resourceSpans"][0]["scopeSpans"][0]["spans"]


def case(edit=lambda seen: None, *, app: App | None = None, jump: int = 0, call: Call = CALL, **changes) -> Case:
    """A case with the evidence that `edit` has broken, and an exchange with these changes."""
    seen = evidence()
    edit(seen)
    described = app or App("faults")
    made = Case(call, exchange(**changes), IDS, Clock(-MS // 10, MS // 10), jump, seen, described)
    made.exchange.events = {name: at - made.clock.offset for name, at in made.exchange.events.items()}
    made.spans = assemble(made)
    return made


def answered_by_nginx(seen: dict):
    """A static file: nobody else takes part."""
    nothing = dict.fromkeys(("upstream", "upstream_status", "upstream_connect", "upstream_header", "upstream_time"), "")
    seen["nginx"][0] |= nothing
    seen |= {"uwsgi": [], "app": [], "mysql": [], "processes": {}}


def without_mysql(seen: dict):
    """The app asks nothing of MySQL."""
    del app_spans(seen)[1:]
    seen["mysql"] = []


def refused(seen: dict, text: str = "", status: int = 502):
    """nginx gets nothing from uWSGI, for the reason that its log of errors gives."""
    seen["nginx"][0] |= {
        "status": status,
        "upstream_status": str(status),
        "upstream_connect": "-",
        "upstream_header": "-",
    }
    seen |= {"uwsgi": [], "app": [], "mysql": [], "processes": {}}
    if text:
        seen["nginx_errors"] = [{"level": "error", "pid": 123, "connection": 45, "text": f"{text}, client: 10.77.0.1"}]
