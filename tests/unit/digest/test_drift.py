"""What an engine would change and what a server finds of itself become one list of findings."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from sanso import drift
from sanso.digest import origin
from sanso.drift import ByAnsible, ByPyinfra, Change, Finding
from sanso.inventory import Host, Inventory

APPS = [{"name": "shop_1"}, {"name": "static", "database": "none"}]
HOST = Host("web1", {"web", "app", "db"}, {"apps": APPS})
DESCRIBED = Inventory(Path("/srv/inventory"), {"web1": HOST})


def thing(kind, key, was="a", found="b", mend=""):
    return {"kind": kind, "key": key, "was": was, "found": found, "mend": mend}


def of(kind, key, **more):
    return drift.of_look(DESCRIBED, HOST, thing(kind, key, **more))


# What an engine would change


def test_ansible_tells_its_changes_by_events():
    result = {"event": "result", "host": "web1", "task": "nginx : Settings | Render them", "diff": "-a\n+b"}
    events = [{"event": "play", "name": "OS"}, result | {"status": "ok"}, {"event": "play", "name": "Python and nginx"}]
    events += [{"event": "task", "name": "x"}, result | {"status": "changed"}]
    assert ByAnsible.changes(events, "") == [Change("Python and nginx", "web1", "Settings | Render them", "-a\n+b")]


def test_pyinfra_tells_its_changes_by_its_plan_and_their_diffs_by_events():
    name = {"names": ["OS | Settings | Render them"], "hosts_with_conditional_change": []}
    plan = [
        name | {"hosts_with_change": ["web1"]},
        {**name, "names": ["OS | Packages | Install"], "hosts_with_change": []},
    ]
    told = {"event": "diff", "layer": "OS", "host": "web1", "task": "Settings | Render them"}
    events = [told | {"diff": "-a"}, told | {"diff": "+b"}, told | {"host": "web2", "diff": "+c"}]
    assert ByPyinfra.changes(events, json.dumps({"plan": plan})) == [
        Change("OS", "web1", "Settings | Render them", "-a\n+b")
    ]


def test_pyinfra_only_looks():
    assert "--dry" in ByPyinfra.command(DESCRIBED)
    assert "-y" not in ByPyinfra.command(DESCRIBED)


def test_ansible_only_looks():
    assert {"--check", "--diff"} <= {*ByAnsible.command(DESCRIBED)}


def test_engines_look_at_the_layers_that_are_built():
    built = [origin.Layer("os"), origin.Layer("web")]
    assert ByPyinfra.command(DESCRIBED, built)[-2:] == ["deploys/layer_os.py", "deploys/layer_web.py"]
    command = ByAnsible.command(DESCRIBED, built)
    assert command[-4:] == ["playbooks/os.yml", "playbooks/web.yml", "--check", "--diff"]


@pytest.mark.parametrize("layer", origin.layers(), ids=lambda layer: layer.name)
def test_every_layer_that_is_named_has_its_playbook(layer):
    (finding,) = drift.together(DESCRIBED, [Change(drift.titles()[layer], "web1", "x")], [])
    assert finding.next == f"ansible-playbook -i /srv/inventory playbooks/{layer.name}.yml"
    assert finding.rerun


def test_change_of_no_layer_is_mended_by_all_of_them():
    (finding,) = drift.together(DESCRIBED, [Change("Other operations", "web1", "x")], [])
    assert finding.next == "./sanso up -i /srv/inventory"


# Both looks


def test_what_both_looks_see_is_said_once_with_what_was_seen():
    seen = of("unit", "nginx.service", was="active", found="inactive")
    (finding,) = drift.together(
        DESCRIBED, [Change("Python and nginx", "web1", "Service | Start, now and at boot")], [seen]
    )
    assert "-inactive\n+active" in finding.diff
    assert finding.rerun


def test_diff_of_the_engine_wins():
    seen = of("unit", "nginx.service")
    change = Change("Python and nginx", "web1", "Service | Start, now and at boot", "its own")
    (finding,) = drift.together(DESCRIBED, [change], [seen])
    assert finding.diff == "its own"


def test_tasks_of_one_name_in_two_layers_are_two():
    changes = [Change(layer, "web1", "Packages | Install") for layer in ("OS", "MySQL")]
    assert [each.layer for each in drift.together(DESCRIBED, changes, [])] == ["OS", "MySQL"]


# What a server finds


@pytest.mark.parametrize(
    ("kind", "key", "layer"),
    [
        ("unit", "nginx.service", "Python and nginx"),
        ("unit", "cron.service", ""),
        ("unit file", "mysql.service", "MySQL"),
        ("sysctl", "kernel.kptr_restrict", "OS"),
        ("firewall", "inet sanso_firewall", "OS"),
        ("mysql", "max_connections", "MySQL"),
        ("mysql", "max_connections (SET PERSIST)", "MySQL"),
        ("mysql account", '"hand"@"%"', "MySQL"),
        ("daemon", "ssh", "OS"),
        ("release", "shop_1", "App"),
        ("file", "/etc/hosts.allow", ""),
    ],
)
def test_finding_names_its_layer(kind, key, layer):
    finding, _ = of(kind, key)
    assert (finding.host, finding.layer, finding.what) == ("web1", layer, f"{kind} {key}")


def test_finding_shows_what_is_and_what_should_be():
    """As an engine shows what it would change."""
    finding, _ = of("sysctl", "vm.swappiness", was="10", found="60")
    assert finding.diff.splitlines()[3:] == ["-60", "+10"]


def test_command_that_mends_reaches_the_server_whole():
    finding, _ = of("mysql", "x", mend="sudo mysql -e 'SET GLOBAL x = 1'")
    words = shlex.split(finding.next)
    assert words[-2:] == ["--", "sudo mysql -e 'SET GLOBAL x = 1'"]
    assert words[:2] == ["./sanso", "ssh"]


def test_what_nothing_describes_is_for_somebody_to_decide():
    finding, _ = of("mysql account", '"hand"@"%"')
    assert finding.next == drift.DECIDE
    assert not finding.rerun


@pytest.mark.parametrize("path", ["/etc/issue", "/etc/nginx/nginx.conf", "/etc/login.defs"])
def test_file_that_an_engine_compares_is_its_business(path):
    assert of("file", path) is None


def test_accounts_are_those_of_apps_with_a_database_and_of_who_reads_traces():
    found = drift.grants(HOST)
    assert found.keys() == {'"shop_1"@"localhost"', '"sanso-trace"@"localhost"'}
    assert found['"shop_1"@"localhost"'] == [r"GRANT ALL PRIVILEGES ON `shop\_1`.* TO `shop_1`@`localhost`"]
    assert len(found['"sanso-trace"@"localhost"']) == 4


def test_database_is_asked_where_there_is_one(monkeypatch):
    asked = []
    monkeypatch.setattr(
        drift.digest, "ask", lambda name, way, program, request: asked.append(request) or {"found": [], "failed": {}}
    )
    drift.look(HOST)
    drift.look(Host("web2", {"web"}, {}))
    assert asked == [{"mysql": drift.grants(HOST)}, {}]


def test_look_with_a_hole_is_none(monkeypatch):
    monkeypatch.setattr(drift.digest, "ask", lambda *words: {"found": [], "failed": {"firewall": "nft: it is broken"}})
    with pytest.raises(drift.CouldNotDigest, match="firewall: nft: it is broken"):
        drift.look(HOST)


def test_finding_is_data():
    assert Finding("web1", "OS", "x", "", "y").rerun is False
