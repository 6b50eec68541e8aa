"""A killed database, whose data somebody moved aside: MySQL recovers every report that was acknowledged."""


def test_page(lab):
    lab.mysql("SELECT 1")  # or the app would wait for it, as long as a restart takes
    lab.page()


def test_reports(lab):
    acknowledged = lab.run("cat /var/lib/sanso-lab/acknowledged 2>/dev/null").split()
    ids = ", ".join(acknowledged) or "0"
    rows = lab.mysql(f"SELECT id FROM error WHERE project = 'shop' AND id IN ({ids})", lab.app.name)
    found = f"{len(rows)} of them"
    lab.expect(f"all {len(acknowledged)} reports that were answered 201", found, len(rows) == len(acknowledged))


def test_report(lab):
    lab.mysql("SELECT 1")
    report = {"type": "Sample", "message": "a new report"}
    answer = lab.ask("/api/projects/till/errors", method="POST", body=report, seconds=30)
    lab.expect("a new report is answered 201", f"it is answered {answer.status}", answer.status == 201)
