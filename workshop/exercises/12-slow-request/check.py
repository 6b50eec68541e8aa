"""A slow request: MySQL reads a whole project to show one group of errors. Rows are counted, not seconds."""

import secrets

import pytest

MOST = 100  # rows, for the page of a group of one


def test_page(lab):
    lab.page()


def test_rows(lab):
    # A group of its own, among all others of the project.
    report = {"type": f"Sample{secrets.token_hex(8)}", "message": "a group of its own"}
    answer = lab.ask("/api/projects/shop/errors", method="POST", body=report)
    lab.expect(201, answer.status)
    fingerprint = lab.ask("/api/projects/shop/errors?limit=1").data["errors"][0]["group"]
    trace = lab.page(f"/projects/shop/groups/{fingerprint}")
    times = sum(span.attributes.get("mysql.rows_examined") or 0 for span in trace.spans if span.tier == "mysql")
    expected = f"the page of a group of few reports, for which MySQL reads at most {MOST} rows"
    lab.expect(expected, f"{times} rows examined by MySQL", times <= MOST)


def test_reports(lab):
    lab.reports_are_kept()


@pytest.mark.lasting
def test_source(lab):
    lab.tables_are_as_migrated()
