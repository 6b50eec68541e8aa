from datetime import UTC, datetime, timedelta

import pytest

from sample_app.models import MAX_ID, fingerprint, id_at, time_of

NOON = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)


def test_an_id_holds_its_time_to_the_microsecond():
    assert time_of(id_at(NOON)) == NOON


def test_a_later_error_has_a_smaller_id():
    assert id_at(NOON + timedelta(microseconds=1)) == id_at(NOON) - 1


@pytest.mark.parametrize("year", [1970, 2026, 2231])
def test_an_id_fits_the_column_and_has_19_digits(year):
    id = id_at(datetime(year, 1, 1, tzinfo=UTC))
    assert id <= MAX_ID
    assert len(str(id)) == 19


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("KeyError", "'a'", ["shop.py:1 in pay"]), ("KeyError", "'b'", ["shop.py:1 in pay", "main.py:9 in run"])),
        (("KeyError", "'a'", ["shop.py:1 in pay"]), ("KeyError", "'a'", ["shop.py:27 in pay"])),
        (("Timeout", "order 4", []), ("Timeout", "order 17", [])),
        (("Segfault", "at 0x7ffe12", []), ("Segfault", "at 0xdeadbeef", [])),
        (
            ("Gone", "job 3f2a1b4c-0d9e-4a5b-8c7d-0123456789ab", []),
            ("Gone", "job abcdefab-cdef-4abc-9def-abcdefabcdef", []),
        ),
    ],
    ids=["message-with-backtrace", "line", "number", "address", "uuid"],
)
def test_errors_of_one_cause_are_one_group(one, other):
    assert fingerprint(*one) == fingerprint(*other)


@pytest.mark.parametrize(
    "other",
    [
        ("ValueError", "'a'", ["shop.py:1 in pay"]),
        ("KeyError", "'a'", ["shop.py:1 in refund"]),
        ("KeyError", "'a'", []),
    ],
    ids=["type", "call", "no-backtrace"],
)
def test_errors_of_different_causes_are_different_groups(other):
    assert fingerprint("KeyError", "'a'", ["shop.py:1 in pay"]) != fingerprint(*other)
