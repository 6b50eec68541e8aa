from __future__ import annotations

import pytest

from sanso import audit

each_auditor = pytest.mark.parametrize("auditor", audit.AUDITORS)


@each_auditor
def test_auditor_could_run(outcome):
    assert outcome.not_run == "", outcome.next_step


@each_auditor
def test_figures_meet_their_aims(measures):
    assert measures
    assert [
        f"{each.figure.name}: {each.shown}, aim {each.aim_shown}" for each in measures if each.verdict == "missed"
    ] == []


@each_auditor
def test_figures_are_no_worse_than_recorded(measures):
    assert measures
    assert [
        (each.figure.key, "got worse", each.figure.value, each.recorded) for each in measures if each.verdict == "worse"
    ] == []


@each_auditor
def test_figures_are_recorded(measures):
    assert measures
    unknown = [(each.figure.key, each.figure.value) for each in measures if each.recorded is None]
    assert unknown == [], "./sanso audit --record writes audit/record.yml"


@each_auditor
def test_findings_are_explained(host, outcome):
    found = [each for each in host.unexplained if each.auditor == outcome.auditor and not each.is_of_a_figure]
    assert [f"{each.id}: {each.said} ({each.next})" for each in found] == []


def test_no_waiver_is_stale(judged):
    assert [f"{each.place}: {each}" for each in judged.stale] == []
