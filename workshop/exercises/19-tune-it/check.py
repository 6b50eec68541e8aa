"""Tune it: a score against this machine's untouched stack, behind gates."""

import json

from measure import measure

HONEST = {"innodb_flush_log_at_trx_commit": "1", "sync_binlog": "1"}


def test_page(lab):
    lab.page()


def test_writes(lab):
    """What was acknowledged is on the disk, whatever dies then."""
    settings = dict(lab.mysql(f"SHOW GLOBAL VARIABLES WHERE variable_name IN {tuple(HONEST)}"))
    lab.expect(HONEST, settings)


def test_sandboxes(lab):
    """Each unit may still do no more than it needs, as systemd counts."""
    most = {name: sandbox.exposure for name, sandbox in lab.server.sandboxes.items()}
    found = {}
    for name, sandbox in lab.server.sandboxes.items():
        said = lab.run("systemd-analyze security --no-pager %s | tail -n 1", sandbox.unit)
        found[name] = float(said.split(": ")[-1].split()[0])
    lab.expect(f"at most {most}", found, all(found[name] <= most[name] for name in most))


def test_score(lab):
    now = measure(lab.server.address, lab.name)
    lab.expect("every request is answered as it should be", now["problems"] or "it is", not now["problems"])
    stored = {row[0] for row in lab.mysql(f"SELECT message FROM faults.error WHERE project = '{now['project']}'")}
    missing = sorted(set(now["acknowledged"]) - stored)
    lab.expect("every report that was acknowledged is stored", f"missing: {missing[:3]}", not missing)
    file = lab.folder / "untouched.json"
    untouched = json.loads(file.read_text()) if file.exists() else now
    lab.tell(
        f"score {now['rate'] / untouched['rate']:.2f}: {now['rate']:.0f} requests a second, "
        f"{untouched['rate']:.0f} by the untouched stack"
    )
