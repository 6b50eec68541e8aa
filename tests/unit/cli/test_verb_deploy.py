from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_events import changed, failed, ok, play
from releasing import NEW, OLD, said

from sanso import building, page, project

FAULTS = {"name": "faults", "server_names": ["faults.test"]}
SHOP = {"name": "shop", "server_names": ["shop.test"], "version": "v1"}


@pytest.fixture
def site(machine, programs, monkeypatch):
    """site(app, …): a machine that serves these, each with two releases."""
    monkeypatch.setattr(building, "known_as", lambda name: "10.77.0.10")
    monkeypatch.setattr(page, "fetch", lambda name, address, ca: page.Answer(200, name, "the body"))
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    programs.fake_playbook(play("App"), changed("Release | Let it serve"))

    def describe(*apps):
        machine(apps=list(apps or [FAULTS]))
        programs.fake("ssh", said(NEW, OLD))

    describe()
    return describe


def values(programs):
    """What Ansible was told beside the inventory."""
    (words,) = programs.called("ansible-playbook")
    assert words[:2] == ["playbooks/app.yml", "-e"]
    return json.loads(words[2])


def test_only_app_needs_no_name(sanso, site, programs):
    assert sanso("deploy").exit_code == 0
    assert values(programs) == {"app_by": "ann"}


def test_app_that_is_named_is_the_only_one_that_is_touched(sanso, site, programs):
    site(FAULTS, SHOP)
    assert sanso("deploy", "shop").exit_code == 0
    assert values(programs)["app_only"] == ["shop"]


def test_without_a_name_all_are_released(sanso, site, programs):
    site(FAULTS, SHOP)
    done = sanso("deploy")
    assert "app_only" not in values(programs)
    assert "✓ faults: release" in done.stdout
    assert "✓ shop: release" in done.stdout


def test_version_reason_and_again_reach_ansible(sanso, site, programs):
    sanso("deploy", "--version", "v2", "--again", "--why", "the sale begins")
    wanted = {"app_only": ["faults"], "app_versions": {"faults": "v2"}, "app_again": True, "app_why": "the sale begins"}
    assert values(programs) == {"app_by": "ann", **wanted}


def test_command_is_shown_as_a_person_can_type_it(sanso, site, monkeypatch):
    monkeypatch.chdir(project.ROOT)
    assert """\n$ ansible-playbook playbooks/app.yml -e '{"app_by": "ann"}'\n""" in "\n" + sanso("deploy").stdout


def test_words_after_two_dashes_reach_ansible(sanso, site, programs):
    sanso("deploy", "--", "--ask-become-pass")
    assert programs.called("ansible-playbook")[0][-1] == "--ask-become-pass"


@pytest.mark.parametrize("words", [["nothing"], ["--version", "v2"]])
def test_app_that_is_not_clear_is_a_usage_error_with_those_there_are(sanso, site, programs, words):
    site(FAULTS, SHOP)
    done = sanso("deploy", *words)
    assert done.exit_code == 2
    assert "faults, shop" in done.stderr
    assert not programs.called("ansible-playbook")


def test_output_tells_the_layer_the_release_and_the_page(sanso, site):
    lines = sanso("deploy").stdout.splitlines()
    assert [line for line in lines if line.startswith("✓ App") and line.endswith("1 changed")]
    assert "✓ faults: release bbbbbbbbbbbb serves  v2 1111111111 Begin" in lines
    assert '✓ https://faults.test/ answers 200 "faults.test"' in lines
    assert lines[-1] == "1 task changed something. https://faults.test/"


def test_page_of_another_app_is_not_asked_for(sanso, site):
    site(FAULTS, SHOP)
    assert "faults.test" not in sanso("deploy", "shop").stdout


def test_release_that_fails_is_a_failure_with_the_apps_own_words(sanso, site, programs):
    event = failed("Release | Say why it doesn't serve", msg="KeyError: price\nRelease aaaaaaaaaaaa keeps serving.")
    programs.fake_playbook(play("App"), event, code=2)
    done = sanso("deploy")
    assert done.exit_code == 1
    assert "KeyError: price" in done.stderr
    assert "Release aaaaaaaaaaaa keeps serving." in done.stderr


@pytest.mark.parametrize(
    ("app", "wanted"),
    [
        (SHOP, "for shop the inventory says version v1: the next ./sanso up or deploy releases that."),
        (
            FAULTS,
            "for faults the inventory says no version, which is HEAD: the next ./sanso up or deploy releases that.",
        ),
    ],
)
def test_version_that_the_inventory_does_not_say_is_told(sanso, site, tmp_path, app, wanted):
    site(app)
    (tmp_path / "apps.yml").write_text("---\napps:\n")
    done = sanso("deploy", "--version", "v2", "-i", str(tmp_path))
    assert f"  note  {wanted}" in done.stdout
    assert f"To keep v2, write it there: {tmp_path}/apps.yml:2" in done.stdout


@pytest.mark.parametrize("words", [[], ["--version", "v1"]])
def test_version_that_the_inventory_says_needs_no_word(sanso, site, words):
    site(SHOP)
    assert "note" not in sanso("deploy", *words).stdout


def test_plan_only_checks_and_asks_no_page(sanso, site, programs):
    programs.fake_playbook(play("App"), changed("Release | Say what would be released", diff="-old\n+new"))
    done = sanso("deploy", "--plan", "--version", "v2")
    assert programs.called("ansible-playbook")[0][-2:] == ["--check", "--diff"]
    assert done.stdout.splitlines()[-1].endswith("do it: ./sanso deploy --version v2")
    assert "serves" not in done.stdout


def test_json_is_alone_on_stdout(sanso, site):
    done = sanso("deploy", "--json")
    data = json.loads(done.stdout)
    assert data["apps"]["faults"]["sanso"]["id"] == "bbbbbbbbbbbb"
    assert (data["changed"], data["urls"]) == (1, ["https://faults.test/"])
    assert "✓ App" in done.stderr


def test_failure_with_json_is_json(sanso, site, programs):
    programs.fake_playbook(play("App"), failed("Release | Try it", msg="no"), code=2)
    assert json.loads(sanso("deploy", "--json").stdout)["error"].startswith("App failed on sanso")


def test_run_after_which_nothing_serves_is_a_failure(sanso, site, programs):
    programs.fake("ssh", said(OLD))
    done = sanso("deploy")
    assert done.exit_code == 1
    assert "no release serves on sanso" in done.stderr


def test_second_run_at_the_same_time_is_told_of_the_first(sanso, site, programs):
    with project.alone("deploy"):
        done = sanso("deploy")
    assert done.exit_code == 1
    assert "./sanso deploy of" in done.stderr
    assert not programs.called("ansible-playbook")


def test_inventory_without_apps_is_a_failure(sanso, server, programs):
    done = sanso("deploy")
    assert done.exit_code == 1
    assert "the inventory has no apps" in done.stderr


def test_other_engine_gets_the_same_in_a_file(sanso, site, programs):
    programs.fake_pyinfra(ok(layer="App"), {"event": "done", "layer": "App"})
    assert sanso("deploy", "--engine", "pyinfra", "--version", "v2").exit_code == 0
    (words,) = programs.called("pyinfra")
    assert words[3:5] == ["deploys/layer_app.py", "--data"]
    told = json.loads(Path(words[5].removeprefix("variables=")).read_text())
    assert told == {"app_by": "ann", "app_only": ["faults"], "app_versions": {"faults": "v2"}}
