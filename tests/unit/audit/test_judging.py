from __future__ import annotations

import dataclasses
from pathlib import Path

import builder
import pytest
from builder import lynis, report, ssh, suggestion, waiver

from sanso.audit import judge, record
from sanso.audit.model import Figure, Finding, Outcome
from sanso.console import Failure

RECORDED = {"ubuntu-26.04": {"default": {"lynis": 93}}}


def verdicts(judged) -> dict[str, str]:
    return {each.figure.key: each.verdict for host in judged.hosts for each in host.measures}


def test_all_aims_met_and_nothing_found_is_well():
    judged = judge([report(lynis(), ssh())], [], {})
    assert (judged.ok, judged.complete, set(verdicts(judged).values())) == (True, True, {"good"})


def test_finding_needs_a_waiver():
    assert not judge([report(lynis(93, suggestion("A-1")))], [], {}).ok
    assert judge([report(lynis(93, suggestion("A-1")))], [waiver("A-1")], {}).ok


def test_note_needs_no_waiver():
    assert judge([report(lynis(93, suggestion("A-1", severity="note")))], [], {}).ok


def test_figure_that_misses_its_aim_is_a_finding_of_its_own():
    judged = judge([report(lynis(89))], [], {})
    assert verdicts(judged) == {"lynis": "missed"}
    assert [each.id for each in judged.hosts[0].unexplained] == ["aim:lynis"]


def test_missed_aim_can_be_waived():
    exposure = Outcome("systemd-analyze", "259", [Figure("exposure:app-shop", "security app-shop@current", 1.1)])
    judged = judge([report(exposure)], [waiver("aim:exposure:app-shop", "systemd-analyze")], {})
    assert (judged.ok, verdicts(judged)) == (True, {"exposure:app-shop": "waived"})


def test_aim_that_counts_is_met_once_every_finding_is_waived():
    known = [waiver("kex:a", "ssh-audit")]
    assert verdicts(judge([report(ssh("a"))], known, {}))["ssh-audit:warn"] == "waived"
    assert verdicts(judge([report(ssh("a", "b"))], known, {}))["ssh-audit:warn"] == "missed"


@pytest.mark.parametrize(
    ("index", "ok", "verdict", "better"),
    [(92, False, "worse", False), (93, True, "good", False), (95, True, "good", True)],
)
def test_figure_is_held_against_the_record(index, ok, verdict, better):
    judged = judge([report(lynis(index))], [], RECORDED)
    (measure,) = judged.hosts[0].measures
    assert (judged.ok, measure.verdict, measure.better) == (ok, verdict, better)


@pytest.mark.parametrize(("count", "verdict", "better"), [(1, "worse", False), (0, "good", False)])
def test_less_is_better_for_most_figures(count, verdict, better):
    judged = judge([report(ssh(*["a"] * count))], [], {"ubuntu-26.04": {"default": {"ssh-audit:warn": 0}}})
    assert [(each.verdict, each.better) for each in judged.hosts[0].measures][1] == (verdict, better)


def test_worse_figure_can_not_be_waived():
    recorded = {"ubuntu-26.04": {"default": {"ssh-audit:warn": 0}}}
    assert not judge([report(ssh("a"))], [waiver("kex:a", "ssh-audit")], recorded).ok


@pytest.mark.parametrize(
    "target",
    [
        builder.server(),
        dataclasses.replace(builder.MACHINE, platform="debian-forky"),
        dataclasses.replace(builder.MACHINE, profile="strict"),
    ],
    ids=["server of one's own", "other image", "other profile"],
)
def test_record_is_for_one_image_and_profile(target):
    assert judge([report(lynis(91), target=target)], [], RECORDED).ok


# Stale waivers


def test_stale_waiver_fails():
    judged = judge([report(lynis())], [waiver("A-1")], {})
    assert (judged.ok, [str(each) for each in judged.stale]) == (False, ["lynis A-1"])


def test_waiver_for_elsewhere_is_not_stale():
    known = [waiver("A-1", where=(("container", (True,)),))]
    assert judge([report(lynis(), target=builder.server(is_machine=True))], known, {}).ok


def test_waiver_is_not_stale_where_its_auditor_did_not_run():
    assert judge([report(ssh())], [waiver("A-1")], {}).ok
    assert judge([report(Outcome("lynis", not_run="the time was up"))], [waiver("A-1")], {}).ok


def test_waiver_that_one_of_several_hosts_needs_is_not_stale():
    reports = [report(lynis(93, suggestion("A-1"))), report(lynis())]
    assert judge(reports, [waiver("A-1")], {}).ok


def test_waiver_behind_one_that_covers_the_same_is_stale():
    known = [waiver("A-*"), waiver("A-1", line=9)]
    assert [each.line for each in judge([report(lynis(93, suggestion("A-1")))], known, {}).stale] == [9]


def test_stale_waiver_of_the_project_is_no_fault_of_ones_own_server():
    judged = judge([report(lynis(), target=builder.server())], [waiver("A-1")], {})
    assert (judged.ok, len(judged.outdated)) == (True, 1)


def test_stale_waiver_of_ones_own_fails_anywhere():
    known = [waiver("A-1", file=Path("mine.yml"))]
    assert not judge([report(lynis(), target=builder.server())], known, {}).ok


# What did not run


def test_auditor_that_could_not_run_is_no_pass():
    judged = judge([report(lynis(), Outcome("ssh-audit", not_run="refused"))], [], {})
    assert (judged.ok, judged.complete) == (True, False)


def test_auditor_that_is_not_installed_is_no_harm():
    judged = judge([report(lynis(), Outcome("testssl", not_run="not installed", optional=True))], [], {})
    assert (judged.ok, judged.complete) == (True, True)


# The record's file


def test_record_keeps_what_was_not_measured_now(tmp_path):
    file = tmp_path / "audit" / "record.yml"
    record.write(builder.MACHINE, {"lynis": 93, "exposure:nginx": 1.5}, file)
    record.write(builder.MACHINE, {"lynis": 94.0}, file)
    assert record.read(file) == {"ubuntu-26.04": {"default": {"lynis": 94, "exposure:nginx": 1.5}}}
    assert file.read_text().startswith("---\n# ")


def test_missing_record_is_empty(tmp_path):
    assert record.read(tmp_path / "record.yml") == {}


@pytest.mark.parametrize("text", ["[]", "a: 1", "a: {b: {lynis: high}}", "a: {b: {lynis: true}}", "{", "a: {b: [1]}"])
def test_record_that_can_not_be_read_is_told(tmp_path, text):
    (tmp_path / "record.yml").write_text(text)
    with pytest.raises(Failure, match=r"record\.yml can't be read"):
        record.read(tmp_path / "record.yml")


def test_data_is_what_the_guide_says():
    known = [waiver("A-1")]
    data = judge([report(lynis(91, suggestion("A-1")))], known, RECORDED).as_data()
    assert set(data) == {"ok", "complete", "hosts", "stale_waivers"}
    (host,) = data["hosts"]
    assert host["figures"] == [
        {
            "key": "lynis",
            "yardstick": "Lynis 3.1.6 hardening index",
            "figure": 91,
            "shown": "91",
            "aim": "≥ 90",
            "recorded": 93,
            "better": False,
            "verdict": "worse",
        }
    ]
    assert [each["waived"] for each in host["findings"]] == [known[0].reason, None]
    assert Finding(**{key: host["findings"][0][key] for key in ("auditor", "id", "severity", "said", "next")})
