"""What must hold for a request that went through the tiers as it should, each with what was seen.

What could not be seen is no proof: it is told as such, and doesn't hold.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sanso.tracing.case import Case
from sanso.tracing.evidence import printable
from sanso.tracing.spans import MS, SERVER, TIERS, Span, timer_zeros

TAIL = 20 * MS  # a server still cleans up, and writes its log, after its caller has the last byte
LOST = range(2000, 3000)  # errors of MySQL's client, not of MySQL: it may never have seen the statement
TRACERESPONSE = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}")


@dataclass(frozen=True)
class Proof:
    name: str
    ok: bool
    said: str


def prove(case: Case) -> list[Proof]:
    """Every rule that has to do with this request."""
    return [proof for rule in RULES if (proof := rule(case))]


def answer_is_of_this_trace(case: Case) -> Proof:
    name = "The answer carries this trace"
    said = printable(case.exchange.headers.get("traceresponse", ""))
    match = TRACERESPONSE.fullmatch(said)
    if not case.exchange.status:
        return Proof(name, False, "there was no answer")
    if not match:
        wrong = (
            f"traceresponse is {said!r:.80}" if said else "no traceresponse: something else than this nginx answered"
        )
        return Proof(name, False, wrong)
    if match["trace"] != case.ids.trace:
        return Proof(name, False, f"it carries another one: {said}")
    if case.nginx and match["span"] != case.nginx["span_id"]:
        return Proof(name, False, f"its span is {match['span']}, nginx's is {case.nginx['span_id']}")
    return Proof(name, True, said)


def answer_is_whole(case: Case) -> Proof | None:
    if not case.exchange.status or not case.exchange.error:
        return None
    return Proof("The answer is whole", False, f"after {case.exchange.size} bytes: {problem(case.exchange.error)}")


def nginx_recorded(case: Case) -> Proof:
    lines = case.of("nginx")
    said = f"pid {lines[0]['pid']}, connection {lines[0]['connection']}" if lines else ""
    return recorded("nginx", lines, said, case.notes("/nginx/"))


def request_is_sampled(case: Case) -> Proof | None:
    """Without the flag, the tiers behind nginx have nothing to write."""
    flags = str(case.nginx.get("flags", ""))
    if not case.upstream or flags == "01":
        return None
    said = f"nginx made the flags {flags!r} of it: nginx_trace_sampling may forbid it, or the secret has changed"
    return Proof("The request was sampled", False, said)


def nobody_else_took_part(case: Case) -> Proof | None:
    if not case.nginx or case.upstream:
        return None
    others = [TIERS[tier] for tier in ("uwsgi", "app", "mysql") if case.of(tier)]
    said = f"it says so, but so has {', '.join(others)}" if others else "nginx answered it itself"
    return Proof("No other tier took part", not others, said)


def uwsgi_recorded(case: Case) -> Proof | None:
    lines = case.of("uwsgi")
    said = f"worker {lines[0]['worker']}, pid {lines[0]['pid']}" if lines else ""
    return recorded("uwsgi", lines, said, case.notes("uwsgi.jsonl")) if case.upstream else None


def app_recorded(case: Case) -> Proof | None:
    if not case.upstream:
        return None
    if not case.app.trace and not case.served:
        return Proof("The app recorded this trace", True, f"not expected: {case.app.name} is described by trace: false")
    if not case.served and case.worker.get("traced") is False:
        return recorded("app", [], "", ": uWSGI says that it isn't traced; ./sanso up builds it as it is described")
    asked = f", {plural(len(case.asked), 'call')} of MySQL" if case.asked else ""
    said = f"{case.served[0].name}{asked}" if case.served else ""
    return recorded("app", case.served, said, case.notes("spans.jsonl"))


def mysql_recorded(case: Case) -> Proof | None:
    """Each statement of the app is known to MySQL, and each that MySQL knows is the app's."""
    if not needs_mysql(case):
        return None
    name = "MySQL recorded this trace"
    if reason := case.seen.get("mysql_problem"):
        return Proof(name, False, f"could not be seen: {reason}")
    if not timer_zeros(case):
        return Proof(name, False, "could not be seen: MySQL's clock is missing, its statements have no place")
    known = {span.parent for span in case.executed}
    asked = [span for span in case.asked if span.name != "connect"]
    lost = [span for span in asked if span.id not in known and not is_lost(span)]
    strange = [span for span in case.executed if span.parent not in {span.id for span in asked}]
    wrong = [f"MySQL doesn't know the app's {span.name} ({span.id})" for span in lost]
    wrong += [f"the app doesn't know MySQL's {span.name[:60]}" for span in strange]
    if wrong:
        return Proof(name, False, "; ".join(wrong))
    return Proof(
        name, True, plural(len(case.executed), "statement") if asked else "no statement: the app asked nothing"
    )


def spans_nest(case: Case) -> Proof:
    known = {span.id: span for span in case.spans}
    wrong, tails = [], []
    for span in case.spans:
        if span.id == case.ids.root:
            continue
        if not (caller := known.get(span.parent)):
            wrong.append(f"the caller of {label(span)} is missing")
            continue
        slack = max(span.slack, caller.slack)
        early, late = caller.start - span.start, span.end - caller.end
        if early > slack:
            wrong.append(f"{label(span)} starts {ms(early)} ms before {label(caller)}")
        if late > slack + (TAIL if span.kind == SERVER else 0):
            wrong.append(f"{label(span)} ends {ms(late)} ms after {label(caller)}")
        elif late > slack:
            tails.append(f"{TIERS[span.tier]} outlasts its caller by {ms(late)} ms")
    often = Counter(span.id for span in case.spans)
    wrong += [f"{number} spans are called {each}" for each, number in often.items() if number > 1]
    slack = max((span.slack for span in case.spans), default=0)
    said = [plural(len(case.spans), "span"), f"± {ms(slack)} ms", *sorted(set(tails))]
    return Proof("Every span lies inside its caller's", not wrong, "; ".join(wrong) if wrong else ", ".join(said))


def clocks_keep_step(case: Case) -> Proof:
    name = "The clocks are known"
    if case.jump:
        return Proof(name, False, f"the server's was set by {case.jump / MS:+.3f} ms while the request was on its way")
    said = f"the server's is {case.clock.offset / MS:+.3f} ms off (± {ms(case.clock.error)} ms)"
    zeros = timer_zeros(case)
    if zeros:
        said += f", MySQL's timer ± {(zeros[-1] - zeros[0]) / 1000:.0f} µs"
    return Proof(name, True, said)


def app_ran_in_the_worker(case: Case) -> Proof | None:
    if not case.upstream or (not case.app.trace and not case.served):
        return None
    name = "The app ran in the worker that uWSGI names"
    if not case.worker or not case.served:
        return Proof(name, False, f"could not be seen: {TIERS['app' if case.worker else 'uwsgi']} wrote nothing")
    pids = {span.attributes.get("process.pid") for span in case.served}
    if pids != {case.worker["pid"]}:
        return Proof(name, False, f"the app ran in {listed(pids)}, uWSGI names {case.worker['pid']}")
    return Proof(name, True, f"worker {case.worker['worker']}, pid {case.worker['pid']}")


def worker_is_of_the_unit(case: Case) -> Proof | None:
    if not case.upstream:
        return None
    name = f"That worker is of {case.app.unit}"
    if not case.process:
        why = "it had ended" if case.worker else "uWSGI wrote nothing"
        return Proof(name, False, f"could not be seen: {why}")
    right = case.process["unit"] == case.app.unit and case.process.get("user") == case.app.name
    return Proof(name, right, f"pid {case.worker['pid']} is of {case.process['unit']}, user {case.process.get('user')}")


def socket_is_the_apps(case: Case) -> Proof | None:
    if not case.upstream:
        return None
    return Proof("nginx handed it over through the app's own socket", case.upstream == case.app.socket, case.upstream)


def client_of_mysql_is_the_worker(case: Case) -> Proof | None:
    if not case.executed:
        return None
    name = "MySQL's client was that worker"
    if not case.worker:
        return Proof(name, False, "could not be seen: uWSGI wrote nothing")
    pids = {span.attributes.get("mysql.client_pid") for span in case.executed if not is_closed(span)}
    if None in pids:
        return Proof(name, False, "could not be seen: a connection names no process")
    if wrong := pids - {case.worker["pid"]}:
        return Proof(name, False, f"MySQL served {listed(wrong)}, uWSGI names {case.worker['pid']}")
    if not pids:  # the app's spans hold each statement, and they are the worker's
        return Proof(name, True, f"pid {case.worker['pid']}, by the app's word: its connection was closed since")
    return Proof(name, True, f"pid {case.worker['pid']}")


def mysql_took_it_over_its_socket(case: Case) -> Proof | None:
    if not case.executed:
        return None
    name = f"MySQL took it over its socket, as {case.app.name}"
    tcp = case.seen.get("mysql_tcp")
    wrong, ways = [], set()
    for span in case.executed:
        kind, user = (span.attributes.get(f"mysql.{key}") for key in ("connection_type", "user"))
        if is_closed(span):
            wrong += closed(case, span)
            ways.add("its connection was closed since; MySQL has no other door")
            continue
        if kind != "Socket" and (kind != "SSL/TLS" or tcp is not False):
            wrong.append(f"its connection is of the type {kind or 'unknown'}")
        if user != case.app.name:
            wrong.append(f"the user is {user or 'unknown'}")
        ways.add(f"connection {span.attributes.get('mysql.connection_id')} ({kind})")
    return Proof(name, not wrong, ", ".join(dict.fromkeys(wrong)) if wrong else ", ".join(sorted(ways)))


def no_tcp(case: Case) -> Proof | None:
    if not case.upstream:
        return None
    wrong, said = [], ["nginx's upstream is a Unix socket"]
    if not case.upstream.startswith("unix:"):
        wrong.append(f"nginx's upstream is {case.upstream}")
    if not case.process:
        wrong.append("could not be seen: the worker's sockets")
    elif case.app.network:
        said.append("the worker may use the network (network: true)")
    elif owned := case.process.get("tcp"):
        wrong.append(f"the worker has {', '.join(owned)}")
    elif owned is None:
        wrong.append("could not be seen: the worker's sockets")
    else:
        said.append("the worker has no TCP connection")
    ways = {span.attributes.get("network.transport") for span in case.asked} - {None}
    if ways - {"unix"}:
        wrong.append(f"the app reached MySQL over {listed(ways)}")
    if needs_mysql(case):
        listens = case.seen.get("mysql_tcp") if not case.seen.get("mysql_problem") else None
        if listens is not False:
            wrong.append("MySQL listens on TCP" if listens else "could not be seen: whether MySQL listens on TCP")
        said.append("MySQL doesn't listen on it")
    return Proof("No TCP between the tiers", not wrong, "; ".join(wrong) if wrong else ", ".join(said))


RULES: tuple[Callable[[Case], Proof | None], ...] = (
    answer_is_of_this_trace,
    answer_is_whole,
    nginx_recorded,
    request_is_sampled,
    nobody_else_took_part,
    uwsgi_recorded,
    app_recorded,
    mysql_recorded,
    spans_nest,
    clocks_keep_step,
    app_ran_in_the_worker,
    worker_is_of_the_unit,
    socket_is_the_apps,
    client_of_mysql_is_the_worker,
    mysql_took_it_over_its_socket,
    no_tcp,
)


def recorded(tier: str, records: list, said: str, notes: str) -> Proof:
    """Exactly once: nothing may be lost, and nothing may pass for this request that isn't it."""
    name = f"{TIERS[tier].replace('the ', 'The ')} recorded this trace"
    if len(records) == 1:
        return Proof(name, True, said)
    return Proof(name, False, (f"{len(records)} times" if records else "it wrote nothing about it") + notes)


def needs_mysql(case: Case) -> bool:
    """Tell whether MySQL has a part in what this app does. One that isn't traced keeps its statements to itself."""
    if case.asked or case.of("mysql"):
        return True
    return bool(case.upstream and case.described and case.described.database == "mysql" and case.described.trace)


def is_lost(span: Span) -> bool:
    """Tell whether a statement of the app ended in its client's own error."""
    error = str(span.attributes.get("error.type", ""))
    return error.isdigit() and int(error) in LOST


def is_closed(span: Span) -> bool:
    """Tell whether MySQL has forgotten who asked: it does when a connection is closed."""
    return not any(span.attributes.get(f"mysql.{key}") for key in ("connection_type", "user", "client_pid"))


def closed(case: Case, span: Span) -> list[str]:
    """What speaks against the socket where MySQL itself can't tell any more: it has one, and the app went to it."""
    callers = [each for each in case.asked if each.id == span.parent]
    if case.seen.get("mysql_tcp") is not False or not callers:
        return ["could not be seen: its connection was closed since"]
    ways = {each.attributes.get("network.transport") for each in callers}
    return [] if ways == {"unix"} else [f"the app went over {listed(ways)}"]


def label(span: Span) -> str:
    return f"{TIERS[span.tier]}'s {span.name[:40]}"


def problem(error: Exception) -> str:
    """An error in words; its own, where it has any."""
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def ms(ns: int) -> str:
    return f"{ns / MS:.3f}"


def plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def listed(values) -> str:
    return ", ".join(sorted(map(str, values)))
