"""W3C Trace Context: which trace a request belongs to, and how its statements name theirs.

https://www.w3.org/TR/trace-context/
"""

import os
import re
from typing import NamedTuple

TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})"
    r"-(?!0{32})(?P<trace_id>[0-9a-f]{32})"
    r"-(?!0{16})(?P<span_id>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})"
    r"(?P<tail>-.*)?"
)
SAMPLED = 0x01
# Where the digit stands that has this flag, in every version, and those that have it.
FLAG, HAS_FLAG = slice(54, 55), frozenset("13579bdf")


class TraceContext(NamedTuple):
    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16 of them: the caller's span
    sampled: bool


def may_be_sampled(traceparent: str) -> bool:
    """Tell whether it is worth to be parsed: most requests aren't sampled, and this is all that they cost."""
    return traceparent[FLAG] in HAS_FLAG


def parse(traceparent: str) -> TraceContext | None:
    """Read the header `traceparent`; None if it isn't valid."""
    match = TRACEPARENT.fullmatch(traceparent)
    if match is None or (match["tail"] is not None and match["version"] == "00"):  # later versions may say more
        return None
    return TraceContext(match["trace_id"], match["span_id"], bool(int(match["flags"], 16) & SAMPLED))


def new_span_id() -> str:
    span_id = os.urandom(8).hex()  # never a seeded generator: forked workers would make the same ids
    return span_id if int(span_id, 16) else new_span_id()  # all zero is invalid


def sql_comment(trace_id: str, span_id: str) -> str:
    """What stands in front of a statement: MySQL's performance_schema cuts long statements off at their end."""
    return f"/*traceparent='00-{trace_id}-{span_id}-01'*/ "
