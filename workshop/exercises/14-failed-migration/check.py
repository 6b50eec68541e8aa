"""A migration that failed halfway: MySQL keeps what it had done, and the release from before serves on."""

import pytest


def test_page(lab):
    lab.page()


def test_report(lab):
    answer = lab.ask("/api/projects/till/errors", method="POST", body={"type": "Sample", "message": "a new report"})
    lab.expect("a new report is answered 201", f"it is answered {answer.status}", answer.status == 201)


def test_reports(lab):
    lab.reports_are_kept()


def test_tables(lab):
    lab.tables_are_as_migrated()


@pytest.mark.lasting
def test_released(lab):
    wanted = ("table note", "column error.looked_at")
    missing = [each for each in wanted if not any(found.startswith(each) for found in lab.schema())]
    lab.expect("what the release was to bring", f"missing: {', '.join(missing)}", not missing)
