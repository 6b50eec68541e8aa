from __future__ import annotations

import json

import pytest
from cli_events import changed, failed, play
from releasing import NEW, OLD, said

from sanso import building, page


@pytest.fixture
def site(machine, programs, monkeypatch):
    """A machine whose app was just rolled back."""
    monkeypatch.setattr(building, "known_as", lambda name: "10.77.0.10")
    monkeypatch.setattr(page, "fetch", lambda name, address, ca: page.Answer(200, "faults", "the body"))
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    programs.fake_playbook(play("Rollback"), changed("Release | Go back"))
    programs.fake("ssh", said(NEW | {"serves": False, "state": "withdrawn"}, OLD | {"serves": True}))

    def describe(*names):
        machine(apps=[{"name": name, "server_names": [f"{name}.test"]} for name in names])

    describe("faults")
    return describe


def values(programs):
    (words,) = programs.called("ansible-playbook")
    assert words[:2] == ["playbooks/rollback.yml", "-e"]
    return json.loads(words[2])


def test_only_app_needs_no_name_and_the_release_before_none(sanso, site, programs):
    assert sanso("rollback").exit_code == 0
    assert values(programs) == {"app": "faults", "app_by": "ann"}


@pytest.mark.parametrize("words", [["faults", "aaaa"], ["aaaa"]])
def test_release_may_be_named_alone_where_there_is_one_app(sanso, site, programs, words):
    sanso("rollback", *words)
    assert values(programs)["release"] == "aaaa"


def test_database_goes_back_only_if_that_is_said(sanso, site, programs):
    sanso("rollback", "--with-database", "--why", "wrong prices")
    assert values(programs) | {"with_database": True, "app_why": "wrong prices"} == values(programs)


@pytest.mark.parametrize("words", [[], ["aaaa"]])
def test_app_that_is_not_clear_is_a_usage_error(sanso, site, programs, words):
    site("faults", "shop")
    assert sanso("rollback", *words).exit_code == 2
    assert not programs.called("ansible-playbook")


def test_output_tells_what_serves_and_what_the_inventory_would_do(sanso, site):
    out = sanso("rollback").stdout
    assert "✓ faults: release aaaaaaaaaaaa serves  v1 1111111111 Begin" in out
    assert "note  the inventory still describes the release that was withdrawn" in out
    assert out.splitlines()[-1] == "1 task changed something. https://faults.test/"


def test_refusal_is_a_failure_with_its_reason(sanso, site, programs):
    why = "The database is at revision 0002, and release aaaaaaaaaaaa works with 0001."
    programs.fake_playbook(play("Rollback"), failed("Release | Go back", msg=why), code=2)
    done = sanso("rollback")
    assert done.exit_code == 1
    assert why in done.stderr
    assert done.stderr.splitlines()[-1] == "  next  ./sanso releases faults"


def test_json_is_alone_on_stdout(sanso, site):
    assert json.loads(sanso("rollback", "--json").stdout)["apps"]["faults"]["sanso"]["id"] == "aaaaaaaaaaaa"
