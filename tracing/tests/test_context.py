import os

import pytest
from conftest import CALLER_ID, SAMPLED, TRACE_ID

from sanso_tracing.context import new_span_id, parse, sql_comment

HEAD = f"{TRACE_ID}-{CALLER_ID}"


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("fe", False), ("ff", True)]
)
def test_lowest_bit_of_the_flags_says_sampled(flags, sampled):
    assert parse(f"00-{HEAD}-{flags}") == (TRACE_ID, CALLER_ID, sampled)


@pytest.mark.parametrize("traceparent", [f"01-{HEAD}-01", f"01-{HEAD}-01-more", f"fe-{HEAD}-01-", f"cc-{HEAD}-01-a-b"])
def test_later_version_may_say_more(traceparent):
    assert parse(traceparent) == (TRACE_ID, CALLER_ID, True)


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "hello",
        f"00-{HEAD}-01-more",
        f"00-{HEAD}-01-",
        f"01-{HEAD}-01more",
        f"01-{HEAD}-01.more",
        f"ff-{HEAD}-01",
        f"ff-{HEAD}-01-more",
        f"00-{'0' * 32}-{CALLER_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{CALLER_ID}-01",
        f"00-{TRACE_ID}-{CALLER_ID.upper()}-01",
        f"0A-{HEAD}-01",
        f"00-{HEAD}-0A",
        f"00-{HEAD}-1",
        f"00-{HEAD}",
        f"0-{HEAD}-01",
        f"00-{TRACE_ID[1:]}-{CALLER_ID}-01",
        f"00-{TRACE_ID}-{CALLER_ID}0-01",
        f"00-{'g' * 32}-{CALLER_ID}-01",
        "00-" + "\N{ARABIC-INDIC DIGIT ONE}" * 32 + f"-{CALLER_ID}-01",
        f" {SAMPLED}",
        f"{SAMPLED}\n",
        f"{SAMPLED}, {SAMPLED}",
        f"00_{TRACE_ID}_{CALLER_ID}_01",
    ],
)
def test_traceparent_that_is_not_valid_is_none(traceparent):
    assert parse(traceparent) is None


def test_span_id_is_never_zero(monkeypatch):
    numbers = iter([bytes(8), bytes(7) + b"\x01"])
    monkeypatch.setattr(os, "urandom", lambda size: next(numbers))
    assert new_span_id() == "0000000000000001"


def test_comment_names_the_statements_span():
    assert sql_comment(TRACE_ID, CALLER_ID) == f"/*traceparent='00-{TRACE_ID}-{CALLER_ID}-01'*/ "
