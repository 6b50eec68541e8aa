"""The way back: to a release that has served, and not again to what somebody went back from. And an app's end."""

from __future__ import annotations

import itertools
import json

import pytest
from app_server import NEW, OLD, Killed

MIDDLE, BAD = "cccccccccccc", "dddddddddddd"


@pytest.fixture
def clock(tool, monkeypatch):
    """Each look at the clock is a second later."""
    seconds = itertools.count(10)
    monkeypatch.setattr("sanso_app.system.now", lambda: f"2026-01-01T00:00:{next(seconds)}+00:00")


@pytest.fixture
def three(clock, server, release, old):
    """Three releases that have served, and one that failed; the newest one serves."""
    for id in (MIDDLE, BAD, NEW):
        server.bring(id)
        server.bad = {BAD: ["candidate"]}
        release(id)
    assert server.serves == (NEW, NEW)
    server.commands.clear()


@pytest.mark.usefixtures("three")
def test_one_before_serves_again_and_the_other_is_withdrawn(server, call):
    code, out, said = call("rollback", "shop", "--by=ann", "--why=too slow")
    assert (code, said) == (0, "")
    assert f"release {MIDDLE} serves again" in out
    assert (server.reached, server.serves, server.served) == ("current", (MIDDLE, MIDDLE), MIDDLE)
    assert {"state": "withdrawn", "withdrawn_by": "ann", "withdrawn_why": "too slow"}.items() <= server.record(
        NEW
    ).items()
    assert str((server.home / "releases" / NEW / "withdrawn").readlink()) == NEW
    assert server.record(MIDDLE)["state"] == "served"
    assert [words for words in server.commands if words[0] == "systemd-run"] == []  # nothing is migrated


@pytest.mark.usefixtures("three")
def test_going_back_twice_leads_to_the_one_before_that(server, call):
    call("rollback", "shop")
    assert call("rollback", "shop")[0] == 0
    assert server.serves == (OLD, OLD)
    code, _, said = call("rollback", "shop")
    assert (code, said) == (1, f"shop: no release that has served is older than {OLD}, which serves.\n")


@pytest.mark.usefixtures("three")
def test_beginning_of_an_id_is_enough(server, call):
    assert call("rollback", "shop", OLD[:3])[0] == 0
    assert server.serves == (OLD, OLD)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("id", "said"),
    [
        (
            BAD,
            f"shop can't go back to release {BAD}: it failed, and has never served. "
            f"What can serve again: {MIDDLE}, {OLD}.",
        ),
        ("e", f"shop has no release e. Those that are kept: {NEW}, {BAD}, {MIDDLE}, {OLD}."),
        (NEW, f"shop: release {NEW} serves already."),
    ],
)
def test_what_can_not_serve_is_refused(server, call, id, said):
    assert call("rollback", "shop", id) == (1, "", f"{said}\n")
    assert server.serves == (NEW, NEW)


@pytest.mark.usefixtures("three")
def test_withdrawn_one_is_neither_gone_back_to_nor_released_again(server, call, release):
    call("rollback", "shop", OLD)
    assert "somebody went back from it" in call("rollback", "shop", NEW)[2]
    code, said = release(NEW)
    assert (code, f"release {NEW} was rolled back by" in said) == (1, True)
    assert server.serves == (OLD, OLD)
    assert release(NEW, "--again") == (0, "")
    assert (server.serves, server.record(NEW)["state"]) == ((NEW, NEW), "served")
    assert not (server.home / "releases" / NEW / "withdrawn").is_symlink()


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("instances", [["candidate"], ["current"]])
def test_one_that_does_not_serve_any_more_leaves_the_other(server, call, instances):
    server.bad[MIDDLE] = instances
    code, _, said = call("rollback", "shop")
    assert (code, f"Release {NEW} keeps serving." in said) == (1, True)
    assert (server.serves, server.served) == ((NEW, NEW), NEW)
    assert server.record(NEW)["state"] == "served"
    assert server.record(MIDDLE)["state"] == "served"


@pytest.mark.usefixtures("three")
def test_database_that_can_not_stay_as_it_is_refuses(server, call, monkeypatch):
    monkeypatch.setattr("sanso_app.database.refusal", lambda app, now, target: "It is at revision 2.")
    assert call("rollback", "shop") == (1, "", f"It is at revision 2.\nNothing was changed; release {NEW} serves.\n")
    monkeypatch.setattr("sanso_app.database.go_back", lambda app, now, target: "What came since is lost.")
    code, out, _ = call("rollback", "shop", "--with-database")
    assert (code, "What came since is lost." in out) == (0, True)
    assert server.serves == (MIDDLE, MIDDLE)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("moment", range(1, 80))
def test_rollback_that_is_killed_lets_nobody_down_and_can_be_begun_again(server, call, moment):
    server.moments, server.killed_at = itertools.count(1), moment
    try:
        call("rollback", "shop", OLD)
    except Killed:
        pass
    else:
        return  # it has fewer moments
    assert server.reaches_good
    server.killed_at = None
    call("rollback", "shop", OLD)
    assert (server.reached, server.serves, server.served) == ("current", (OLD, OLD), OLD)


# The list


@pytest.mark.usefixtures("three")
def test_releases_are_listed_the_newest_first(call):
    code, out, _ = call("releases", "shop")
    assert (code, [line[:25].strip() for line in out.splitlines()]) == (
        0,
        [f"* {NEW}  served", f"{BAD}  failed", f"{MIDDLE}  served", f"{OLD}  served"],
    )


@pytest.mark.usefixtures("three")
def test_list_for_programs_says_what_serves(call):
    told = json.loads(call("releases", "shop", "--json")[1])
    assert (told["current"], told["locked"]) == (NEW, None)
    assert [(each["id"], each["state"], each["serves"]) for each in told["releases"]] == [
        (NEW, "served", True),
        (BAD, "failed", False),
        (MIDDLE, "served", False),
        (OLD, "served", False),
    ]


# The end


@pytest.fixture
def data(server):
    server.is_watched = False
    for name in ("shared/shop.db", "snapshots/one.sql.gz"):
        (server.home / name).parent.mkdir()
        (server.home / name).touch()
    (server.units / "app-shopping@.service").touch()  # another's


@pytest.mark.usefixtures("three", "data")
def test_app_that_is_removed_leaves_its_data(server, call):
    assert call("remove", "shop")[0] == 0
    assert server.running == {}
    assert [path.name for path in server.units.iterdir()] == ["app-shopping@.service"]
    assert sorted(path.name for path in server.home.iterdir()) == ["lock", "shared", "snapshots"]
    assert server.history[-1]["action"] == "remove"
    assert ["systemctl", "stop", "app-shop.slice"] in [list(words) for words in server.commands]


@pytest.mark.usefixtures("three", "data")
def test_app_that_is_removed_with_its_data_leaves_nothing_but_its_history(server, call, monkeypatch):
    deleted = []
    monkeypatch.setattr("sanso_app.database.delete", lambda app: deleted.append(app.name))
    assert call("remove", "shop", "--delete-data")[0] == 0
    assert (deleted, server.home.exists()) == (["shop"], False)
    assert ["userdel", "shop"] in server.commands
