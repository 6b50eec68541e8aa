"""A release tells that a secret changed, and not which it is."""

import pytest


@pytest.fixture(scope="module")
def slow_digest(load):
    return load("roles/app/filter_plugins/slow_digest.py").FilterModule().filters()["slow_digest"]


def test_same_secrets_are_the_same_in_any_order(slow_digest):
    assert slow_digest({"A": "1", "B": "2"}, "shop") == slow_digest({"B": "2", "A": "1"}, "shop")


@pytest.mark.parametrize(
    ("secrets", "salt"),
    [({"A": "2"}, "shop"), ({"B": "1"}, "shop"), ({"A": "1", "B": ""}, "shop"), ({"A": "1"}, "other")],
    ids=["value", "name", "one more", "app"],
)
def test_other_secrets_are_another(slow_digest, secrets, salt):
    assert slow_digest(secrets, salt) != slow_digest({"A": "1"}, "shop")


def test_no_secrets_are_nothing(slow_digest):
    assert slow_digest({}, "shop") == ""
