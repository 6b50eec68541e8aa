"""A trace as lines for a terminal or a log: each line is a list of (text, style), and a style is only a word.

Styles: a tier's name, "good", "bad", "bold", "dim", or nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from typing import TYPE_CHECKING

from sanso.tracing.spans import MS, TIERS, Span, ordered

if TYPE_CHECKING:
    from sanso.tracing import Trace

Line = list[tuple[str, str]]

# Whose tiers they are, by where an app runs; the client is who asks.
OWNED = {
    "vm": tuple(TIERS),
    "container": ("client", "uwsgi", "app"),  # the image; the ingress and the database are the platform's
    "paas": ("client", "app"),  # the code
}

NARROW, WIDE = 80, 200
ROWS = 60  # spans that are shown; of more, the longest ones
TIER, TIME = 7, 9  # columns
EVIDENCE = {110: 44, 140: 56}  # columns of the evidence, from this width on
WORTH_A_WORD = 100  # µs of waiting for locks
ASCII = str.maketrans("█…→✓✗µ±", "#~>+xu~")


def report(trace: Trace, width: int = 100) -> list[Line]:
    """All that there is to say about a trace; what matters most is last."""
    return [*body(trace, width), *endings(trace)]


def body(trace: Trace, width: int, mine: Collection[str] = tuple(TIERS)) -> list[Line]:
    return [title(trace), *picture(trace, width, mine), *times(trace), *judgement(trace)]


def as_ascii(lines: list[Line]) -> list[Line]:
    """For where nothing else can be shown."""
    return [
        [(text.translate(ASCII).encode("ascii", "replace").decode(), style) for text, style in line] for line in lines
    ]


def as_text(lines: list[Line]) -> str:
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def title(trace: Trace) -> Line:
    status = str(trace.status or "no answer")
    return [
        (f"{trace.method} {trace.url} → ", "bold"),
        (status, "bad" if trace.ended or not trace.status else "bold"),
        (f"  trace {trace.trace_id}", "dim"),
    ]


def picture(trace: Trace, width: int, mine: Collection[str] = tuple(TIERS)) -> list[Line]:
    """The waterfall: a row for each span, with a bar where there was time for it. What isn't mine is greyed out."""
    width = max(NARROW, min(WIDE, width))
    evidence = max((columns for needed, columns in EVIDENCE.items() if width >= needed), default=0)
    left = width - TIER - 2 * TIME - 2 - (evidence + 2 if evidence else 0)
    name = max(26, left * 2 // 5)
    bars = left - name - 1
    begin, end = min(span.start for span in trace.spans), max(span.end for span in trace.spans)
    rows, left_out = chosen(ordered(trace.spans))
    header = pad("tier", TIER) + pad("span", name) + f"{'at ms':>{TIME}}{'took ms':>{TIME}}"
    lines: list[Line] = [[(header, "dim")]]
    for span, depth in rows:
        line = [
            (pad(span.tier, TIER), span.tier),
            (pad(" " * min(depth, 10) + span.name, name), "bad" if span.error else ""),
            (f"{(span.start - begin) / MS:{TIME}.3f}{span.took / MS:{TIME}.3f}  ", ""),
            (bar(span, begin, end, bars), span.tier),
            (f"  {cut(evidence_of(span), evidence)}" if evidence else "", "dim"),
        ]
        lines.append(line if span.tier in mine else [(text, "dim") for text, _ in line[:-1]] + [("  not yours", "dim")])
    if left_out:
        lines.append([(f"… and {left_out} shorter spans, which --json and --html have", "dim")])
    return lines


def chosen(rows: list[tuple[Span, int]]) -> tuple[list[tuple[Span, int]], int]:
    """The rows that are shown, and how many aren't."""
    longest = {id(span) for span, _ in sorted(rows, key=lambda row: -row[0].took)[:ROWS]}
    return [row for row in rows if id(row[0]) in longest], max(0, len(rows) - ROWS)


def bar(span: Span, begin: int, end: int, width: int) -> str:
    whole = max(1, end - begin)
    first = min(width - 1, (span.start - begin) * width // whole)
    last = max(first + 1, min(width, round((span.end - begin) * width / whole)))
    return " " * first + "█" * (last - first) + " " * (width - last)


def evidence_of(span: Span) -> str:
    """What its tier says of a span, in a few words."""
    has = span.attributes.get
    if span.tier == "client":
        return has("tls.protocol.version", "")
    if span.tier == "nginx":
        if span.kind == 2:
            return f"pid {has('process.pid')}, connection {has('nginx.connection')}"
        return f"connect {has('nginx.upstream.connect_s', '-')} s, header {has('nginx.upstream.header_s', '-')} s"
    if span.tier == "uwsgi":
        return f"pid {has('process.pid')}, queue {max(0, has('uwsgi.queue_wait_ms')):.1f} ms"
    if span.tier == "app" and span.kind == 3:
        failed = f", error {has('error.type')}" if has("error.type") else ""
        return f"connection {has('mysql.connection_id', '-')} over {has('network.transport', '-')}{failed}"
    if span.tier == "app":
        return f"pid {has('process.pid')}" + (f", {has('error.type')}" if has("error.type") else "")
    if has("mysql.errno"):
        return f"error {has('mysql.errno')}"
    seek = ", no index" if has("mysql.no_index") else ""
    lock = f", locked {locked / 1000:.1f} ms" if (locked := has("mysql.lock_us", 0)) >= WORTH_A_WORD else ""
    kind = has("mysql.connection_type", "closed")
    return f"connection {has('mysql.connection_id', '-')} ({kind}), examined {has('mysql.rows_examined')}{seek}{lock}"


def times(trace: Trace) -> list[Line]:
    lines: list[Line] = []
    if trace.queue_wait is not None:
        lines.append([(f"waited in the socket's queue  {trace.queue_wait / MS:.3f} ms", "")])
    if trace.gaps:
        said = "; ".join(f"{gap.ns / MS:.3f} ms {gap.said}" for gap in trace.gaps)
        lines.append([(f"largest gaps  {said}", "")])
    clock = f"{trace.clock.offset / MS:+.3f} ms (± {trace.clock.error / MS:.3f} ms)"
    mysql = "" if trace.mysql_spread is None else f"; MySQL's timer ± {trace.mysql_spread / 1000:.0f} µs"
    return [*lines, [(f"clock  server's minus this computer's {clock}{mysql}", "")]]


def judgement(trace: Trace) -> list[Line]:
    lines: list[Line] = [
        [("✓ " if proof.ok else "✗ ", "good" if proof.ok else "bad"), (proof.name, ""), (f"  {proof.said}", "dim")]
        for proof in trace.proofs
    ]
    return lines + [[("! ", "bold"), (hint, "")] for hint in trace.hints]


def endings(trace: Trace) -> list[Line]:
    """The last lines: the verdict, and where to go from there."""
    if trace.ok:
        return [[("✓ ", "good"), (verdict(trace), "bold")]]
    return [[("✗ ", "bad"), (verdict(trace), "bold")], [("  next  ", "dim"), (trace.next_step, "")]]


def verdict(trace: Trace) -> str:
    if trace.ended:
        return f"The trace ended at {TIERS[trace.ended.tier]}: {trace.ended.said}"
    failed = [proof.name for proof in trace.proofs if not proof.ok]
    took = f"{trace.status} in {trace.duration / MS:.1f} ms"
    if failed:
        return f"{took}, but {len(failed)} of {len(trace.proofs)} proofs failed: {'; '.join(failed)}"
    tiers = list(dict.fromkeys(span.tier for span in trace.spans))
    return f"{took} through {' → '.join(tiers)}; all {len(trace.proofs)} proofs hold"


def cells(text: str) -> int:
    """How many columns of a terminal it takes."""
    return sum(
        2 if unicodedata.east_asian_width(each) in "WF" else 0 if unicodedata.combining(each) else 1 for each in text
    )


def cut(text: str, width: int) -> str:
    if cells(text) <= width:
        return text
    while cells(text) > width - 1:
        text = text[:-1]
    return f"{text}…"


def pad(text: str, width: int) -> str:
    """Cut, or filled up, to a column; one cell is always free."""
    text = cut(text, width - 1)
    return text + " " * (width - cells(text))
