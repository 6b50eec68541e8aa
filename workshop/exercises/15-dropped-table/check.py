"""A dropped table: what the backup has of it comes back, and the other tables, which are younger, stay as they are."""


def test_page(lab):
    lab.page()


def test_reports(lab):
    lab.reports_are_kept()


def test_webhooks(lab):
    counted = lab.run("cat /var/lib/sanso-lab/webhooks 2>/dev/null").split() or ["0", "0"]
    columns = "CONCAT_WS('|', project, id, state, receiver, attempts)"
    query = f"SELECT COUNT(*), COALESCE(BIT_XOR(CRC32({columns})), 0) FROM delivery"
    (found,) = lab.mysql(query, lab.app.name)
    lab.expect(f"{counted[0]} webhooks, as they were", f"{found[0]} webhooks", found == counted)


def test_tables(lab):
    lab.tables_are_as_migrated()
