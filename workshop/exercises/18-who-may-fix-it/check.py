"""Who may fix it? A report of 8 KiB is refused on its way."""

import json

REPORTS = "/api/projects/lab/errors"


def report(size):
    return json.dumps({"type": "Large", "message": "x" * size}).encode()


def test_report(lab):
    lab.page(REPORTS, status=201, method="POST", data=report(8000), headers=(("Content-Type", "application/json"),))


def test_limit(lab):
    """There still is one: who can send without end fills the disk."""
    answer = lab.ask(REPORTS, method="POST", body=b"x" * 3_000_000, headers={"Content-Type": "application/json"})
    whose = "nginx's page" if "nginx" in answer.text else "not nginx's"  # the app has a limit of its own, behind it
    lab.expect((413, "nginx's page"), (answer.status, whose))
