from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sanso.doctor import Diagnosis, client
from sanso.doctor.causes import Finding
from sanso.doctor.client import Reply, Seen
from sanso.verbs import doctor

APPS = [{"name": "faults", "server_names": ["faults.test"], "health_path": "/readyz"}]
WELL = Reply("10.77.0.10", "answered", 200)
CAUSE = Finding("mysql", "database", "MySQL isn't running", "./sanso ssh -- sudo x", ("answered 503",), ("disk",))
SYMPTOM = Finding("health", "app", "faults isn't well", "mend it", (), ("mysql",))
OTHER = Finding("unit", "system", "fail2ban.service has failed", "restart it")


@pytest.fixture
def found(monkeypatch):
    """found(finding, …, shut=…) is what comes of each URL; found.asked are they."""

    def found(*findings, shut=""):
        def examine(patient, urls):
            found.asked, found.patient = urls, patient
            seen = [Seen(url, "faults.test", 443, ["10.77.0.10"], ["10.77.0.10"], "", WELL) for url in urls]
            return [Diagnosis(each.url, each, APPS[0], list(findings), shut, "ssh there") for each in seen]

        monkeypatch.setattr(doctor, "examine", examine)

    found()
    return found


def test_app_is_asked_for_its_health_where_no_url_is_given(sanso, machine, found):
    machine(apps=APPS)
    done = sanso("doctor")
    assert (done.exit_code, found.asked) == (0, ["https://faults.test/readyz"])
    assert done.stdout.splitlines() == [
        "✓ https://faults.test/readyz is well: client → TLS → nginx → socket → uWSGI → app → MySQL  answered 200"
    ]


def test_cause_comes_with_what_was_seen_and_what_mends_it(sanso, machine, found):
    machine(apps=APPS)
    found(CAUSE, SYMPTOM, OTHER)
    done = sanso("doctor")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "https://faults.test/readyz  on sanso",
        "    answered 503",
        "✗ MySQL isn't running",
        "  also  fail2ban.service has failed",
        "  fix   ./sanso ssh -- sudo x",
    ]


def test_json_holds_the_cause_and_the_others(sanso, machine, found):
    machine(apps=APPS)
    found(CAUSE, SYMPTOM)
    (request,) = json.loads(sanso("doctor", "--json").stdout)["requests"]
    assert (request["healthy"], request["cause"]["kind"], len(request["others"])) == (False, "mysql", 1)
    assert set(request["cause"]) == {"kind", "tier", "cause", "fix", "evidence"}


def test_server_that_can_not_be_looked_at_is_no_verdict(sanso, machine, found):
    machine(apps=APPS)
    found(shut="sanso@10.77.0.10 doesn't accept your SSH key")
    done = sanso("doctor")
    assert done.exit_code == 3
    assert done.stdout.splitlines()[-2:] == [
        "✗ sanso could not be looked at: sanso@10.77.0.10 doesn't accept your SSH key",
        "  next  ssh there",
    ]


def test_cause_that_can_be_told_from_here_is_a_verdict_without_the_server(sanso, machine, found):
    machine(apps=APPS)
    found(replace(CAUSE, kind="dns"), shut="no SSH")
    assert sanso("doctor").exit_code == 1


def test_url_without_a_scheme_is_asked_for_over_https(sanso, machine, found):
    machine(apps=APPS)
    sanso("doctor", "faults.test/cart")
    assert found.asked == ["https://faults.test/cart"]


def test_url_that_is_none_is_refused(sanso, machine, found):
    machine(apps=APPS)
    assert sanso("doctor", "ftp://faults.test/").exit_code == 2


def test_inventory_without_a_served_name_can_not_be_looked_at(sanso, machine):
    machine(apps=[{"name": "faults", "server_names": []}])
    assert sanso("doctor").exit_code == 3


def test_what_a_server_says_does_nothing_to_a_terminal(sanso, machine, found):
    machine(apps=APPS)
    found(replace(CAUSE, cause="\x1b[2Jcleared", evidence=("\x1b[2J",)))
    done = sanso("doctor")
    assert "\x1b" not in done.stdout
    assert "✗ \\x1b[2Jcleared" in done.stdout


@pytest.fixture
def visited(monkeypatch):
    """Each URL is answered like this, whoever serves it."""

    def look(url, address, ca, trace):
        return Seen(url, "faults.test", 443, [address], [address], "", WELL)

    monkeypatch.setattr(client, "look", look)


def test_machine_that_is_off_is_not_asked(sanso, machine, programs, visited):
    machine(apps=APPS, runs=False)
    done = sanso("doctor")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-2:] == ["✗ the machine sanso doesn't run", "  fix   ./sanso up"]
    assert not programs.called("ssh")


def test_one_connection_asks_for_all_apps(sanso, machine, programs, visited):
    machine(apps=[*APPS, {"name": "shop", "server_names": ["*.shop.test"]}])
    programs.fake("ssh", "print('Permission denied', file=sys.stderr); sys.exit(255)")
    done = sanso("doctor")
    assert (done.exit_code, len(programs.called("ssh"))) == (3, 1)
    assert "doesn't accept your SSH key" in done.stdout
