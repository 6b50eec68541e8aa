from __future__ import annotations

import pytest

from sanso.audit import waivers
from sanso.audit.model import Finding, Target
from sanso.console import Failure
from sanso.ssh import Way

REASON = "reason: A container has no kernel of its own."
UNITS = {"app-shop-redis": "app-shop-redis.service"}
MACHINE = Target("a", Way("192.0.2.1"), "192.0.2.1", UNITS, platform="ubuntu-26.04", container=True, is_machine=True)


@pytest.fixture
def written(tmp_path):
    """written(text): the waivers of a file that holds this."""

    def read(text: str):
        (tmp_path / "waivers.yml").write_text(text)
        return waivers.read(tmp_path / "waivers.yml")

    return read


def test_waiver_covers_what_its_pattern_and_its_words_say(written):
    (waiver,) = written(f"- auditor: lynis\n  finding: NETW-*\n  says: dccp\n  {REASON}\n")
    assert waiver.covers(Finding("lynis", "NETW-3200", "warn", "protocol 'dccp'"))
    assert not waiver.covers(Finding("lynis", "NETW-3200", "warn", "protocol 'sctp'"))
    assert not waiver.covers(Finding("lynis", "USB-1000", "warn", "dccp"))
    assert not waiver.covers(Finding("testssl", "NETW-3200", "warn", "dccp"))


@pytest.mark.parametrize(
    ("where", "applies"),
    [
        ("{container: true}", True),
        ("{container: false}", False),
        ("{machine: true, profile: default}", True),
        ("{profile: strict}", False),
        ("{redis: true}", True),
        ("{redis: false}", False),
        ("{profile: [strict, default]}", True),
        ("{platform: [debian-forky, ubuntu-26.04]}", True),
        ("{platform: debian-forky}", False),
        ("{container: true, platform: debian-forky}", False),
    ],
)
def test_conditions_must_all_hold(written, where, applies):
    (waiver,) = written(f"- auditor: lynis\n  finding: A\n  where: {where}\n  {REASON}\n")
    assert waiver.applies(MACHINE) is applies


@pytest.mark.parametrize("text", ["", "---\n", "[]\n"])
def test_no_waivers_is_no_fault(written, text):
    assert written(text) == []


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("- auditor: lynis\n  finding: A\n", 1, "needs reason"),
        (f"- auditor: lynis\n  {REASON}\n", 1, "needs finding"),
        ("- auditor: lynis\n  finding: A\n  reason: because so\n", 3, "a reason is a sentence"),
        ("- auditor: lynis\n  finding: A\n  reason: ''\n", 3, "reason is a text"),
        (f"- auditor: lynis\n  finding: 5\n  {REASON}\n", 2, "finding is a text"),
        (f"- auditor: lynx\n  finding: A\n  {REASON}\n", 1, "lynx is no auditor; these are: lynis"),
        (f"- auditor: lynis\n  findnig: A\n  {REASON}\n", 2, "no key findnig; do you mean finding?"),
        (f"- auditor: lynis\n  finding: A\n  zzz: A\n  {REASON}\n", 3, "no key zzz; these are: auditor"),
        (f"- auditor: lynis\n  finding: A\n  finding: B\n  {REASON}\n", 3, "stands there twice"),
        (f"- auditor: lynis\n  finding: A\n  where: {{image: a}}\n  {REASON}\n", 3, "no key image"),
        (f"- auditor: lynis\n  finding: A\n  where: {{container: 1}}\n  {REASON}\n", 3, "true or false"),
        (f"- auditor: lynis\n  finding: A\n  where: {{platform: []}}\n  {REASON}\n", 3, "a name, or a list"),
        (f"- auditor: lynis\n  finding: A\n  where: A\n  {REASON}\n", 3, "where is a mapping"),
        (f"- auditor: lynis\n  finding: 'record:lynis'\n  {REASON}\n", 2, "can't be waived"),
        (f"- auditor: lynis\n  finding: A\n  {REASON}\n" * 2, 4, "is waived in line 1 already"),
        ("- A\n", 1, "a waiver is a mapping"),
        ("waivers: []\n", 1, "waivers are a list"),
        ("- {\n", 2, "no YAML"),
    ],
)
def test_bad_waiver_is_named_with_its_line(written, text, line, why):
    with pytest.raises(Failure, match=rf"waivers.yml:{line}: .*") as caught:
        written(text)
    assert why in caught.value.message
    assert caught.value.code == 2


def test_waivers_of_the_project_are_whole():
    assert all(each.reason.endswith(".") for each in waivers.read())
