from __future__ import annotations

import json

import pytest
from releasing import FAILED, NEW, OLD, said

APP = {"name": "faults", "server_names": ["faults.test"]}


@pytest.fixture
def site(machine, programs):
    machine(apps=[APP])
    programs.fake("ssh", said(NEW, FAILED, OLD))


def test_each_release_is_a_line_and_says_what_became_of_it(sanso, site):
    done = sanso("releases")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "faults on sanso",
        "  bbbbbbbbbbbb  2026-11-21 08:00:00  serves     by bob  v2 1111111111 Begin  revision 0001",
        "  cccccccccccc  2026-11-20 08:00:00  failed     by ann  v1 1111111111 Begin  revision 0001",
        "      at 'Migrate the database': KeyError: price",
        "      because: the sale begins",
        "  aaaaaaaaaaaa  2026-11-20 08:00:00             by ann  v1 1111111111 Begin  revision 0001",
        "  next  ./sanso rollback faults",
    ]


def test_server_is_asked_without_a_question(sanso, site, programs):
    sanso("releases", "faults")
    (words,) = programs.called("ssh")
    assert words[-1] == "sudo -n /usr/local/sbin/sanso-app releases faults --json"
    assert "BatchMode=yes" in words


def test_rollback_is_not_offered_where_there_is_nothing_to_go_back_to(sanso, site, programs):
    programs.fake("ssh", said(NEW, FAILED))
    assert "rollback" not in sanso("releases").stdout


def test_run_that_goes_on_is_told(sanso, site, programs):
    programs.fake("ssh", said(NEW, locked={"what": "release cccccccccccc", "who": "ann", "when": "now", "pid": 7}))
    assert "  busy: release cccccccccccc, by ann" in sanso("releases").stdout


def test_other_version_than_the_inventorys_is_told(sanso, machine, programs):
    machine(apps=[APP | {"version": "v1"}])
    programs.fake("ssh", said(NEW, OLD))
    assert (
        "note  the inventory says version v1: the next ./sanso up or deploy releases that" in sanso("releases").stdout
    )


def test_json_holds_what_the_server_says(sanso, site):
    (app,) = json.loads(sanso("releases", "--json").stdout)["apps"]
    assert (app["app"], app["host"], app["current"]) == ("faults", "sanso", "bbbbbbbbbbbb")
    assert app["releases"][1]["said"] == FAILED["said"]


def test_host_that_can_not_be_asked_is_no_verdict(sanso, site, programs):
    programs.fake("ssh", "print('connect: Connection refused', file=sys.stderr); sys.exit(255)")
    done = sanso("releases")
    assert done.exit_code == 3
    assert "no SSH server answers" in done.stderr


def test_server_without_the_app_is_no_verdict(sanso, site, programs):
    programs.fake("ssh", "print('There is no app faults on this server', file=sys.stderr); sys.exit(1)")
    done = sanso("releases")
    assert done.exit_code == 3
    assert "There is no app faults on this server" in done.stderr
    assert done.stderr.splitlines()[-1] == "  next  ./sanso deploy faults"


def test_app_that_there_is_not_is_a_usage_error(sanso, site):
    assert sanso("releases", "shop").exit_code == 2
