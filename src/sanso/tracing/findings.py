"""What a trace says beside its proofs: where it ended early, where its time went, and what could be better."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from sanso.tracing.case import Case
from sanso.tracing.proofs import is_lost, plural, problem
from sanso.tracing.spans import CLIENT, MS, TIERS, Span, shape

GAPS, SHORTEST_GAP = 5, MS // 20
OFTEN = 5  # executions of one statement's shape in one request
MANY_ROWS, MANY_TIMES = 1000, 100  # examined, and against those that were of use
LONG_WAIT = 10 * MS

TIER_OF_LOGS = {"nginx": "web", "uwsgi": "app", "app": "app", "mysql": "db"}

# What the kernel's word means where nginx connects to an app's socket.
SOCKET_ERRORS = {
    2: "the socket doesn't exist: app-{app}@current.socket doesn't run",
    13: "nginx may not open the socket: its mode, owner or folder is wrong",
    111: "uWSGI isn't running",
    11: "the socket's queue is full: uWSGI's workers are all at work",
}
# What it means later, by the words of nginx, and which tier it is about.
LATER_ERRORS = {
    "no live upstreams": ("uwsgi", "all workers are at work, and waiting_max requests wait already"),
    "timed out": ("app", "the app didn't answer in time"),
    "prematurely closed": ("uwsgi", "the worker died: it crashed, ran out of memory, or took longer than app_harakiri"),
    "reset by peer": ("uwsgi", "the worker closed the connection without an answer"),
    "Broken pipe": ("uwsgi", "the worker closed the connection before it had read the request"),
    "too big header": ("app", "the app's headers are larger than nginx takes"),
    "invalid": ("uwsgi", "what answered isn't an answer of HTTP"),
}
MYSQL_ERRORS = {
    1040: "MySQL has no connection left: mysql_max_connections, or an app that keeps too many",
    1044: "MySQL doesn't let the app's user into its schema",
    1045: "MySQL has no account for the app's user, or refuses it",
    1049: "the app's schema doesn't exist",
    1698: "MySQL has no account for the app's user, or refuses it",
    2006: "MySQL closed the connection",
    2013: "MySQL went away during the statement",
}
DOWN = (2002, 2003)
DOWN_WHY = {
    2: "MySQL isn't running: its socket isn't there",
    13: "the app may not open MySQL's socket: is its unit in app_mysql_group?",
    111: "MySQL isn't running: nobody listens on its socket",
}


@dataclass(frozen=True)
class End:
    """Where a trace ended before it had gone through, and the command that tells more."""

    tier: str
    said: str
    next: str


@dataclass(frozen=True)
class Gap:
    """Time inside a span that none of those below it covers."""

    ns: int
    tier: str
    said: str


def ended(case: Case, option: str = "") -> End | None:
    """The hop at which the request broke, the deepest one that tells of it."""
    for look in (client_broke, mysql_still_runs, mysql_broke, nginx_broke, app_broke, answer_broke):
        if found := look(case):
            tier, said = found
            return End(tier, said, f"./sanso logs{option} --tier {TIER_OF_LOGS[tier]}")
    return None


def client_broke(case: Case) -> tuple[str, str] | None:
    """The client got nowhere, or no word."""
    error, events = case.exchange.error, case.exchange.events
    where = f"{case.call.host}:{case.call.port} ({case.call.address})"
    if not error or case.exchange.status:
        return None
    if "connected" not in events:
        if isinstance(error, TimeoutError):
            return "nginx", f"nothing answers on {where}: a firewall is in the way, or the server is down"
        return "nginx", f"nothing answers on {where}: {problem(error)}: nginx isn't running"
    if "sent" not in events:
        what = "the TLS handshake" if isinstance(error, ssl.SSLError) or "tls" not in events else "sending"
        return "nginx", f"{what} with {where} failed: {problem(error)}"
    if case.nginx:  # it tells more
        return None
    if isinstance(error, TimeoutError):
        return "nginx", f"{where} took the request, and didn't answer within {case.call.seconds:g} s"
    return "nginx", f"{where} took the request, and closed the connection without an answer"


def mysql_still_runs(case: Case) -> tuple[str, str] | None:
    for span in case.executed:
        if span.attributes.get("mysql.running"):
            return "mysql", f"MySQL still ran {span.name[:60]} after {span.took / MS:.0f} ms"
    return None


def mysql_broke(case: Case) -> tuple[str, str] | None:
    """The app's last dealing with MySQL failed for a reason that isn't the statement's."""
    if not case.asked:
        return None
    last = max(case.asked, key=lambda span: span.start)
    error = str(last.attributes.get("error.type", ""))
    if not error or (last.name != "connect" and not is_lost(last)):
        return None
    message = str(last.attributes.get("error.message", ""))
    number = int(error) if error.isdigit() else 0
    what = "connecting to MySQL" if last.name == "connect" else f"its {last.name}"
    words = f"{error}: {message}" if message and error not in message else message or error
    return "mysql", f"the app got {words} for {what}: {mysql_meaning(number, message)}"


def mysql_meaning(number: int, message: str) -> str:
    if number in DOWN:
        found = re.search(r"[Ee]rrno (\d+)|\((\d+)\)\s*\"?'?\)?$", message)
        return DOWN_WHY.get(int(found[1] or found[2]) if found else 0, "MySQL isn't running, or can't be reached")
    return MYSQL_ERRORS.get(number, "MySQL refused it")


def nginx_broke(case: Case) -> tuple[str, str] | None:
    """nginx's own error log tells why it got nothing, or not all, from uWSGI."""
    serious = [each for each in case.of("nginx_errors") if each.get("level") in ("error", "crit", "alert", "emerg")]
    for each in serious:
        text = str(each.get("text", "")).partition(", client:")[0]
        if "upstream" in text and case.upstream:
            return upstream_broke(case, text)
    line = case.nginx
    if not line:
        return None
    if case.upstream and line["status"] >= 500 and str(line["upstream_header"]).rpartition(" ")[2] in ("", "-"):
        return (
            "uwsgi",
            f"nginx got no answer from {case.upstream} ({line['status']}), and its log of errors doesn't say why",
        )
    if not case.upstream and line["status"] >= 500:
        why = f": {serious[0]['text']}" if serious else ""
        return "nginx", f"nginx answered {line['status']} itself{why}"
    return None


def upstream_broke(case: Case, text: str) -> tuple[str, str]:
    said = f"nginx got {short(text)} on {case.upstream}"
    if match := re.search(r"connect\(\).*failed \((\d+):", text):
        meaning = SOCKET_ERRORS.get(int(match[1]), "uWSGI can't be reached")
        return "uwsgi", f"{said}: {meaning.format(app=case.app.name)}"
    for words, (tier, meaning) in LATER_ERRORS.items():
        if words in text:
            return tier, f"{said}: {meaning}"
    return "uwsgi", said


def short(text: str) -> str:
    """nginx's sentence without what the next words say again: the socket, and that it is upstream."""
    text = re.sub(r" to unix:\S+", "", text)
    return re.sub(
        r" while (connecting to|reading response header from|reading|sending (?:request )?to) upstream$", "", text
    )


def app_broke(case: Case) -> tuple[str, str] | None:
    """The app itself answered that it failed, or raised something."""
    for span in case.served:
        status, error = span.attributes.get("http.response.status_code", 0), span.attributes.get("error.type", "")
        if int(status or 0) < 500 and (not error or str(error).isdigit()):
            continue
        why = f": {error}" if error and str(error) != str(status) else ""
        failed = [each for each in case.asked if each.attributes.get("error.type")]
        after = (
            f", after MySQL's error {failed[-1].attributes['error.type']} for its {failed[-1].name}" if failed else ""
        )
        return "app", f"the app answered {status or 'nothing'}{why}{after}"
    if case.upstream and not case.served and case.nginx["status"] >= 500:
        return "app", f"the app answered {case.nginx['status']}, and wrote nothing about this trace"
    return None


def answer_broke(case: Case) -> tuple[str, str] | None:
    if not case.exchange.error:
        return None
    if case.exchange.status:
        return "nginx", f"the answer broke off after {case.exchange.size} bytes: {problem(case.exchange.error)}"
    return (
        "nginx",
        f"nginx took the request ({case.nginx.get('status')}), but no answer came: {problem(case.exchange.error)}",
    )


def gaps(spans: list[Span]) -> list[Gap]:
    """The longest stretches of the spans that none below them covers."""
    below: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start):
        below.setdefault(span.parent, []).append(span)
    found = [gap for span in spans if span.id in below for gap in gaps_of(span, below[span.id])]
    return sorted((gap for gap in found if gap.ns >= SHORTEST_GAP), key=lambda gap: -gap.ns)[:GAPS]


def gaps_of(span: Span, below: list[Span]) -> Iterator[Gap]:
    covered, last = span.start, None
    for each in below:
        where = f"between {called(last, span)} and {called(each, span)}" if last else f"before {called(each, span)}"
        yield Gap(min(each.start, span.end) - covered, span.tier, f"{whose(span)}: {where}")
        if each.end > covered:
            covered, last = each.end, each
    yield Gap(span.end - covered, span.tier, f"{whose(span)}: after {called(last or below[-1], span)}, until its end")


def whose(span: Span) -> str:
    tier = TIERS[span.tier].removeprefix("the ")
    return f"{tier}'s {span.name[:40]}" if span.tier == "app" and span.kind == CLIENT else tier


def called(span: Span, caller: Span) -> str:
    """A span in the words of its caller: by its tier where that is another one."""
    if span.tier != caller.tier:
        return TIERS[span.tier]
    return "uWSGI" if span.tier == "nginx" else span.name[:40]


def hints(case: Case) -> list[str]:
    """What makes this request slower than it need be, though nothing is wrong."""
    return [*often(case), *many_rows(case), *temporary_tables(case), *waits(case)]


def often(case: Case) -> Iterator[str]:
    shapes: dict[str, list[Span]] = {}
    for span in case.executed:
        shapes.setdefault(span.attributes.get("db.query.text", ""), []).append(span)
    for text, spans in shapes.items():
        if text and len(spans) >= OFTEN:
            took = sum(span.took for span in spans) / MS
            yield (
                f"{cut(text)} was executed {len(spans)} times ({took:.1f} ms together): "
                "one statement for all of them, with a JOIN or an IN (…), saves the others"
            )


def many_rows(case: Case) -> Iterator[str]:
    told = set()
    for span in case.executed:
        examined = span.attributes.get("mysql.rows_examined") or 0
        counts = (span.attributes.get(key) or 0 for key in ("db.response.returned_rows", "mysql.rows_affected"))
        used, no_index = max(counts), span.attributes.get("mysql.no_index")
        if examined < MANY_ROWS or span.name in told:
            continue
        if no_index or examined >= MANY_TIMES * max(used, 1):
            told.add(span.name)
            how = " without an index" if no_index else ""
            rows = f"{examined} rows{how} for {plural(used, 'row')}"
            yield f"{cut(span.name)} examined {rows}: EXPLAIN shows which index is missing"


def temporary_tables(case: Case) -> Iterator[str]:
    told = {span.name: span.attributes.get("mysql.tmp_disk_tables") for span in case.executed}
    for name, tables in told.items():
        if tables:
            yield f"{cut(name)} put {plural(tables, 'temporary table')} on disk: sort or group fewer or shorter columns"


def waits(case: Case) -> Iterator[str]:
    wait = case.queue_wait or 0
    if wait >= LONG_WAIT:
        yield f"it waited {wait / MS:.1f} ms in the socket for a free worker: more `processes`, or shorter requests"
    for span in case.asked:
        if span.name == "connect" and span.took >= LONG_WAIT:
            yield f"connecting to MySQL took {span.took / MS:.1f} ms: an app that keeps its connections saves it"


def cut(text: str) -> str:
    text = shape(text)
    return text if len(text) <= 80 else f"{text[:79]}…"
