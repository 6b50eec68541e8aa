"""A release that fails, or is killed at any moment, leaves one that serves; and the next run does what is missing."""

from __future__ import annotations

import itertools
import subprocess

import pytest
from app_server import NEW, OLD, Killed

OTHER = "cccccccccccc"


def test_new_release_serves(server, release, old):
    folder = server.bring(NEW)
    assert release(NEW) == (0, "")
    assert (server.serves, server.served) == ((NEW, NEW), NEW)
    assert not (folder / "wheels").exists()
    assert "candidate" not in server.running


def test_migration_runs_as_the_app_with_its_groups_and_nothing_more(server, release, old):
    folder = server.bring(NEW)
    release(NEW)
    (command,) = (words for words in server.commands if words[0] == "systemd-run")
    assert command[-3:] == ["/bin/sh", "-c", f"migrate {NEW}"]
    assert "--property=User=shop" in command
    assert "--property=SupplementaryGroups=a group" in command
    assert f"--property=EnvironmentFile={folder}/secrets" in command


def test_release_without_a_migration_runs_none(server, release, old):
    server.bring(NEW, migrate="")
    assert release(NEW)[0] == 0
    assert [words for words in server.commands if words[0] == "systemd-run"] == []


def refuse(word, said):
    return lambda server: server.refused.update({word: said})


def bad_as(*instances):
    return lambda server: server.bad.update({NEW: instances})


# What breaks, the step it breaks, and what the run says.
FAILURES = {
    "archive": (refuse("tar", "unexpected end of file"), "Unpack it", "unexpected end of file"),
    "venv": (
        refuse("venv", "no ensurepip"),
        "Install its dependencies from the wheels that came along",
        "no ensurepip",
    ),
    "units": (refuse("daemon-reload", "no bus"), "Know its units", "no bus"),
    "migration": (refuse(f"migrate {NEW}", "out of ideas"), "Migrate the database", "out of ideas"),
    "candidate": (bad_as("candidate"), "Try it on a socket of its own", f"its last answer:\nno good: {NEW}"),
    "current": (bad_as("current"), "Serve it", f"its last answer:\nno good: {NEW}"),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.usefixtures("old")
def test_release_that_fails_says_where_and_why_and_the_one_before_serves(server, release, name):
    break_it, step, said = FAILURES[name]
    folder = server.bring(NEW)
    break_it(server)
    code, text = release(NEW)
    assert code == 1
    assert text.startswith(f'shop: release {NEW} failed at "Release | {step}".\n')
    assert said in text
    stays = "" if name == "archive" else f" The failed one stays in {folder}."
    if name != "units":  # then they can't be had back either
        assert text.endswith(f"Release {OLD} keeps serving.{stays}\n")
    assert (folder.exists(), list((server.home / "releases").glob(".*"))) == (bool(stays), [])
    assert (server.serves, server.served) == ((OLD, OLD), OLD)
    assert "candidate" not in server.running


@pytest.mark.parametrize("name", ["migration", "candidate", "current"])
def test_first_release_that_fails_leaves_none(server, release, name):
    break_it, _, said = FAILURES[name]
    folder = server.bring(NEW)
    break_it(server)
    code, text = release(NEW)
    assert (code, said in text) == (1, True)
    assert text.endswith(f"No release serves yet. The failed one stays in {folder}.\n")
    assert (server.serves, server.served) == ((None, None), None)


@pytest.mark.parametrize("instance", ["candidate", "current"])
@pytest.mark.usefixtures("old")
def test_units_are_those_of_the_release_that_serves(server, release, instance):
    """Units with which an app does not start would keep the good release from starting again."""
    server.bring(NEW, unit="a bad unit")
    bad_as(instance)(server)
    assert release(NEW)[0] == 1
    assert ((server.units / "app-shop@.service").read_text(), server.known) == ("a unit: service",) * 2


def test_one_before_that_does_not_serve_any_more_is_said(server, release, old):
    server.bring(NEW)
    server.is_watched = False
    server.bad = {NEW: ["current"], OLD: ["current"]}
    code, text = release(NEW)
    assert code == 1
    assert f"Release {OLD}, which served before, does not any more: shop did not answer 200" in text
    assert "serves, as candidate" in text
    assert server.reaches_good
    assert server.served is None  # so that the next run tries again


MOMENTS = 120  # in which a run may be killed: at least as many as it has

BREAKS = {
    "good": lambda server: None,
    "bad as the candidate": bad_as("candidate"),
    "bad as the current one": bad_as("current"),
}


@pytest.mark.parametrize("again", [NEW, OLD])
@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("moment", range(1, MOMENTS))
@pytest.mark.usefixtures("old")
def test_run_that_is_killed_is_made_good_by_the_next(server, release, how, moment, again):
    server.bring(NEW)
    BREAKS[how](server)
    server.moments, server.killed_at = itertools.count(1), moment
    try:
        release(NEW)
    except Killed:
        pass
    else:
        return  # it has fewer moments
    # What the next start would run is whole.
    assert (server.home / "current/venv/installed").exists()
    assert server.reaches_good
    # Whoever asks then is told a release that runs, or that one is wanted.
    assert server.served in (None, server.running["current"])
    server.killed_at = None
    if server.served == again:
        return
    code, _ = release(again)
    good = OLD if again == OLD or how != "good" else NEW
    assert code == (0 if good == again else 1)
    assert (server.serves, server.served) == ((good, good), good)


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.usefixtures("old")
def test_all_moments_of_a_run_are_tried(server, release, how):
    server.bring(NEW)
    BREAKS[how](server)
    server.moments = itertools.count(1)
    release(NEW)
    assert next(server.moments) <= MOMENTS


@pytest.fixture
def linked(server, release, old):
    """A run was killed when the new release had become the current one, and nobody had told systemd yet."""
    server.bring(NEW)
    server.killed_by = ["restart", "app-shop@current.service"]
    with pytest.raises(Killed):
        release(NEW)
    server.killed_by = None
    server.commands.clear()
    assert (server.reached, server.running) == ("candidate", {"candidate": NEW, "current": OLD})
    assert (server.serves, server.served) == ((NEW, NEW), None)


@pytest.mark.usefixtures("linked")
def test_current_one_is_not_installed_again_though_it_has_never_answered(server, release):
    """The next start would run a part of it."""
    assert release(NEW) == (0, "")
    assert [words for words in server.commands if "venv" in words] == []


@pytest.mark.usefixtures("linked")
def test_what_a_killed_run_had_wanted_serves_before_anything_else_is_tried(server, release):
    server.bring(OTHER)
    server.bad[OTHER] = ["candidate"]
    assert release(OTHER)[0] == 1
    assert (server.reached, server.serves, server.served) == ("current", (NEW, NEW), NEW)
    assert "candidate" not in server.running


@pytest.mark.usefixtures("linked")
def test_one_that_serves_as_the_candidate_alone_goes_when_the_one_before_does(server, release):
    bad_as("current")(server)
    assert release(NEW)[0] == 1
    assert (server.reached, server.serves, server.served) == ("current", (OLD, OLD), OLD)


@pytest.mark.usefixtures("linked")
def test_candidate_serves_on_where_nothing_takes_over_from_it(server, release):
    server.bad = {NEW: ["current"], OLD: ["current"]}
    code, said = release(NEW)
    assert code == 1
    assert "left its candidate serving, and no release takes over from it" in said
    assert server.reached == "candidate"


def test_release_that_serves_is_not_installed_again(server, release, old):
    """Its workers would lose what they have not loaded yet."""
    assert release(OLD) == (0, "")
    assert [words for words in server.commands if "venv" in words] == []
    assert (server.serves, server.served) == ((OLD, OLD), OLD)


def test_release_that_served_once_is_used_as_it_is(server, release, old):
    server.bring(NEW)
    release(NEW)
    server.commands.clear()
    server.bring(OLD, files={"app/x.py": "changed by hand"})
    assert release(OLD) == (0, "")
    assert [words for words in server.commands if words[0] in ("tar", "python3")] == []
    assert server.serves == (OLD, OLD)


def test_release_that_failed_once_is_unpacked_anew(server, release, old):
    """Whoever studied it may have changed it."""
    folder = server.bring(NEW)
    bad_as("candidate")(server)
    release(NEW)
    (folder / "app/x.py").write_text("tried")
    server.bad.clear()
    server.bring(NEW)
    assert release(NEW) == (0, "")
    assert (folder / "app/x.py").read_text() == ""
    assert server.record(NEW)["state"] == "served"
    assert "step" not in server.record(NEW)


@pytest.fixture
def clock(tool, monkeypatch):
    """Each look at the clock is a second later."""
    seconds = itertools.count(10)
    monkeypatch.setattr("sanso_app.system.now", lambda: f"2026-01-01T00:00:{next(seconds)}+00:00")


@pytest.mark.usefixtures("clock")
def test_oldest_releases_go_and_the_one_that_serves_stays(server, release):
    ids = [str(number) * 12 for number in range(5)]
    for id in ids:
        server.bring(id)
        assert release(id, kept=2)[0] == 0
    assert sorted(path.name for path in (server.home / "releases").iterdir()) == ids[2:]


@pytest.mark.usefixtures("clock", "old")
def test_two_that_failed_stay_for_study_and_take_no_other_s_place(server, release):
    ids = [str(number) * 12 for number in range(4)]
    for id in ids:
        server.bring(id)
        server.bad[id] = ["candidate"]
        assert release(id, kept=1)[0] == 1
    server.bring(NEW)
    assert release(NEW, kept=1)[0] == 0
    assert sorted(path.name for path in (server.home / "releases").iterdir()) == [*ids[2:], OLD, NEW]


@pytest.fixture
def legacy(server):
    """A release of an earlier version: no link, no units, nothing said of itself; nginx reaches it directly."""
    folder = server.home / "releases" / OLD
    (folder / "venv").mkdir(parents=True)
    (server.home / "current").symlink_to(folder)
    server.running["current"] = OLD
    server.is_watched = True
    yield
    assert server.wrong == []


@pytest.mark.usefixtures("legacy")
def test_release_of_before_there_were_such_links_keeps_serving(server, release):
    server.bring(NEW)
    bad_as("candidate")(server)
    code, text = release(NEW)
    assert (code, f"Release {OLD} keeps serving." in text) == (1, True)
    assert server.serves == (OLD, OLD)


@pytest.mark.usefixtures("legacy")
def test_release_of_before_there_were_such_links_lets_nobody_down_when_the_first_new_one_comes(server, release):
    server.bring(NEW)
    assert release(NEW) == (0, "")
    assert (server.reached, server.serves) == ("current", (NEW, NEW))


# What is reached, and by whom


def test_those_who_wait_for_the_current_one_are_served_before_it_changes(server, release, old):
    server.bring(NEW)
    server.queue = {"current": [3, 1], "candidate": [1]}
    assert release(NEW, seconds=5) == (0, "")
    told = [words[-1] if words[0] == "nsenter" else " ".join(words[1:]) for words in server.commands]
    asked = [place for place, words in enumerate(told) if words.endswith("/current.sock")]
    assert len(asked) == 3
    assert asked[-1] < told.index("restart app-shop@current.service")
    assert server.queue == {"current": [], "candidate": []}


def test_one_that_comes_while_the_candidate_stops_is_served(server, release, old, monkeypatch):
    """systemd starts the service again, for what lies in its socket."""
    server.bring(NEW)
    stop, woken = server.systemctl, iter([True])

    def systemctl(verb, *words):
        said = stop(verb, *words)
        if (verb, words) == ("stop", ("app-shop@candidate.service",)) and next(woken, False):
            server.running["candidate"] = NEW
        return said

    monkeypatch.setattr(server, "systemctl", systemctl)
    assert release(NEW, seconds=5) == (0, "")
    stops = [words for words in server.commands if words[1:] == ["stop", "app-shop@candidate.service"]]
    assert len(stops) == 2
    assert "candidate" not in server.running


def test_candidate_whose_workers_hang_keeps_no_run_for_ever(server, release, old, monkeypatch):
    server.bring(NEW)
    monkeypatch.setattr(server, "queue", {"candidate": [1] * 10**6})
    assert release(NEW, seconds=0) == (0, "")


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize(("names", "is_made_anew"), [("app.sock", True), ("current.sock", False)])
def test_socket_whose_unit_changed_is_made_anew_once_nobody_comes_to_it(server, release, names, is_made_anew):
    """nginx may not have heard of the link yet, on a server of an earlier version."""
    (server.sites / "sites.conf").write_text(f"uwsgi_pass unix:{server.sockets}/app-shop/{names};")
    (server.sockets / "app-shop/current.sock").touch()
    subprocess.run(["touch", "--date=@1", server.sockets / "app-shop/current.sock"], check=True)
    server.bring(NEW, unit="another unit")
    assert release(NEW) == (0, "")
    stopped = ["systemctl", "stop", "app-shop@current.socket", "app-shop@current.service"]
    assert (stopped in server.commands) == is_made_anew


# What runs beside the pages


@pytest.mark.usefixtures("old")
def test_worker_that_does_not_start_is_said_and_tried_again(server, release, monkeypatch):
    """The pages are served; but an engine hears that something is missing."""
    from sanso_app.system import Failed

    def restart(app):
        raise Failed("app-shop-worker-mail does not stay up.")

    server.bring(NEW)
    monkeypatch.setattr("sanso_app.workers.restart", restart)
    said = f"shop: release {NEW} serves, but not all runs beside it: app-shop-worker-mail does not stay up.\n"
    assert release(NEW) == (1, said)
    assert (server.serves, server.served) == ((NEW, NEW), None)


@pytest.mark.usefixtures("linked")
def test_what_runs_beside_the_pages_is_settled_too(server, release, monkeypatch):
    known = []
    monkeypatch.setattr("sanso_app.workers.restart", lambda app: known.append(app.linked("current").name))
    server.bring(OTHER)
    server.bad[OTHER] = ["candidate"]
    release(OTHER)
    assert known == [NEW]
