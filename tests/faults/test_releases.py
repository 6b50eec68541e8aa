"""A release that is no good never replaces one that is, and the run shows what the app itself said."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from load import Load
from stand_in import appending, bring, let_serve, of_the_tool, pages_only, saying, standing_in


@pytest.fixture(scope="module")
def describe(server, app, play, describe):
    """As everywhere, but of the pages only; such a release serves meanwhile."""
    with standing_in(server, app, play, pages_only(describe())):
        yield lambda: pages_only(describe())


def append(text, path="src/sample_app/__init__.py"):
    def change(source):
        with (source / path).open("a") as file:
            file.write(text)

    return change


def edit(path, old, new):
    def change(source):
        text = (source / path).read_text()
        assert old in text
        (source / path).write_text(text.replace(old, new))

    return change


def without(*names):
    def change(source):
        for name in names:
            (source / name).unlink()

    return change


# What is done to the source, and what the run must show: what an engine says itself, and what it says of the tool's.
BROKEN = {
    "syntax error": (append("\ndef broken(:\n"), "SyntaxError"),
    "no requirements": (
        without("requirements.txt", "pyproject.toml"),
        "one of them says which packages the app needs",
    ),
}
# What is done to a release, and what the tool must show.
TRIED = {
    "wrong callable": (
        "sed -i 's/=sample_app:create_app()/=sample_app:nothing/' uwsgi.ini",
        "callable not found or import error",
    ),
    "failing migration": (saying(migrate="echo out of ideas >&2; exit 7"), "out of ideas"),
    "health never 200": (saying(health_path="/nowhere"), "404 NOT FOUND"),
    "missing dependency": (appending("\nimport not_there\n"), "No module named 'not_there'"),
    "failing build": (saying(build="echo no bundler >&2; exit 3"), "no bundler"),
}


@pytest.fixture
def release(server, app):
    """release() tells which release serves."""
    return lambda: server.host.check_output(f"readlink {app.current}")


@pytest.mark.parametrize("name", BROKEN)
def test_broken_release_leaves_the_last_good_one_serving(server, app, play, description, release, ready, name):
    change, shown = BROKEN[name]
    change(Path(description["source"]))
    before = release()
    done = play("app", apps=[description])
    assert done.failed, done.said
    assert done.says(shown), done.said
    assert release() == before
    assert ready().status == 200
    assert not server.host.service(f"app-{app.name}@candidate.service").is_running


@of_the_tool
@pytest.mark.usefixtures("describe")
@pytest.mark.parametrize("name", TRIED)
def test_release_that_fails_on_the_server_leaves_the_last_good_one_serving(server, app, release, ready, name):
    change, shown = TRIED[name]
    before = release()
    # Of a good release, nothing but the one broken thing differs; 5 s are enough for an app that never gets healthy.
    done = let_serve(server, app, bring(server, app, change), seconds=5)
    assert done.failed, done.stdout
    assert shown in done.stderr, done.stderr
    assert release() == before
    assert ready().status == 200
    assert not server.host.service(f"app-{app.name}@candidate.service").is_running


ONLY_ONCE = """
from pathlib import Path
seen = Path("/srv/faults/shared/seen")
if seen.exists():
    raise RuntimeError("only once")
seen.touch()
"""


@of_the_tool
@pytest.mark.usefixtures("describe")
def test_release_that_answers_as_candidate_only_is_taken_back(server, app, release, ready):
    before = release()
    try:
        done = let_serve(server, app, bring(server, app, f"{appending(ONLY_ONCE)} && {saying(migrate='')}"), seconds=5)
    finally:
        server.host.check_output("rm -f /srv/faults/shared/seen")
    assert done.failed, done.stdout
    assert "only once" in done.stderr
    assert release() == before
    assert ready().status == 200


@of_the_tool
@pytest.mark.usefixtures("describe")
def test_unit_in_which_the_app_does_not_start_is_taken_back(server, app, release, ready):
    """The good release would not come back from the next restart."""
    before, units = release(), f"sha256sum /etc/systemd/system/app-{app.name}*"
    files = server.host.check_output(units)
    # Its migration would run with the same lines, and fail first.
    failing = "sed -i '/^Restart=/i ExecStartPre=/bin/false' unit.service"
    done = let_serve(server, app, bring(server, app, f"{failing} && {saying(migrate='')}"))
    assert done.failed, done.stdout
    assert 'failed at "Release | Try it on a socket of its own"' in done.stderr
    assert f"Release {Path(before).name} keeps serving." in done.stderr
    assert (release(), server.host.check_output(units)) == (before, files)
    server.host.check_output(f"systemctl restart app-{app.name}@current.service")
    assert ready().status == 200


@of_the_tool
def test_release_that_was_current_but_had_not_answered_is_tried_again(server, app, play, description, release):
    """As a run leaves it that is killed between the two."""
    before = release()
    server.host.check_output(f"rm {app.current}/served")
    assert play("app", apps=[description]).changed
    assert server.host.check_output(f"readlink {app.current}/served") == Path(release()).name == Path(before).name


def test_git_reference_that_does_not_exist_changes_nothing(play, description, release):
    before = release()
    source = description["source"]
    for words in (["init", "--quiet"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", source, *words], check=True, capture_output=True)
    done = play("app", apps=[description | {"source": f"file://{source}", "version": "nowhere"}])
    assert done.failed, done.said
    assert done.says("has no branch, tag or commit 'nowhere'"), done.said
    assert release() == before


def test_name_that_no_app_has_is_refused(play, release):
    before = release()
    done = play("app", app_only=["nope"])
    assert done.failed, done.said
    assert done.says("there is no app 'nope'; apps has"), done.said
    assert release() == before


# Nobody is let down


@pytest.fixture
def visitors(server, app):
    """People who ask for a page all the time: each of them gets one, also who comes in the middle of it."""
    with Load(server, app.host_name, app.health_path, clients=4) as found:
        yield
    assert found.failed == Counter(), found.problems


def snapshots_of(server, app):
    return server.host.check_output(f"ls /srv/{app.name}/snapshots 2>/dev/null || true")


def releases(server, app):
    return json.loads(server.host.check_output(f"sanso-app releases {app.name} --json"))


@of_the_tool
@pytest.mark.usefixtures("visitors")
def test_release_and_the_way_back_let_nobody_down(server, app, play, description, release, ready):
    before, generation = release(), f"\nGENERATION = {time.time()}\n"
    venv, snapshots = server.host.check_output(f"readlink -f {app.current}/venv"), snapshots_of(server, app)
    append(generation)(Path(description["source"]))
    assert play("app", apps=[description], app_why="a test").succeeded
    new = release()
    assert new != before
    assert server.host.check_output(f"readlink -f {app.current}/venv") == venv  # its lock file is the same
    assert snapshots_of(server, app) == snapshots  # and it has no new migration
    (noted,) = (each for each in releases(server, app)["releases"] if each["serves"])
    assert "snapshot" not in noted
    server.host.check_output(f"sanso-app rollback {app.name} --why='a test'")
    assert release() == before
    # Neither engine brings back what somebody went back from, and each says so.
    done = play("app", apps=[description])
    assert (done.changed, release()) == (0, before), done.said
    assert done.says("was rolled back, and is not released again"), done.said
    done = play("app", apps=[description], app_again=True)
    assert (done.succeeded, release()) == (True, new), done.said
    assert ready().status == 200
    # What a release is made of says which one it is: the one before comes back from its source, too.
    edit("src/sample_app/__init__.py", generation, "")(Path(description["source"]))
    done = play("app", apps=[description], app_why="another")
    assert (done.succeeded, release()) == (True, before), done.said
    history = server.host.check_output(f"cat /var/log/sanso/{app.name}/releases.jsonl").splitlines()[-4:]
    told = [(line["action"], line["why"]) for line in map(json.loads, history) if "why" in line]
    assert told == [("release", "a test"), ("rollback", "a test"), ("release", "another")]


HOLDER = """
import sys, time
sys.path.insert(0, "/usr/local/lib/sanso")
from sanso_app import app, lock
with lock.held(app.App(sys.argv[1]), "release cafe", "ann", "new prices"):
    time.sleep(600)
"""


@contextlib.contextmanager
def busy(server, app):
    """Another run holds the app's lock."""
    unit = "sanso-faults-lock"
    server.host.check_output(f"systemd-run --quiet --collect --unit={unit} python3 -Bc %s {app.name}", HOLDER)
    try:
        until = time.monotonic() + 30
        while not releases(server, app)["locked"]:
            assert time.monotonic() < until, server.host.check_output(f"journalctl -u {unit}")
            time.sleep(0.2)
        yield
    finally:
        server.host.check_output(f"systemctl kill --signal=KILL {unit}; systemctl stop {unit} 2>&1 || true")


@pytest.fixture(scope="module")
def brought(server, app, play, describe):
    """A good release that waits on the server, beside the one that serves: the words that let each of them serve."""
    described, before = describe(), server.host.check_output(f"readlink {app.current}")
    append(f"\nGENERATION = {time.time()}\n")(Path(described["source"]))
    with busy(server, app):
        done = play("app", apps=[described])
    assert done.failed, done.said
    assert done.says("ann began to release cafe it at"), done.said
    assert done.says("because: new prices. Nothing was changed."), done.said
    assert server.host.check_output(f"readlink {app.current}") == before
    (archive,) = server.host.check_output(f"ls /srv/{app.name}/incoming/*.tar.gz").split()
    ids = (Path(archive).name.removesuffix(".tar.gz"), Path(before).name)
    yield {id: f"release {app.name} {id} --host={app.host_name} --seconds=60 --kept=5" for id in ids}
    server.host.check_output(f"sanso-app release {app.name} {Path(before).name}")
    assert server.host.check_output(f"readlink {app.current}") == before


@of_the_tool
@pytest.mark.usefixtures("brought")
def test_second_run_is_refused_while_another_one_works():
    """As `brought` sees; and what was killed is named by the next run, which takes its lock."""


# The tool, which is killed before or after it has written a file or run a command for the nth time.
DYING = """
import os, signal, sys
sys.path.insert(0, "/usr/local/lib/sanso")
from sanso_app import cli, system
when, what, number = sys.argv[1], sys.argv[2].split(), int(sys.argv[3])
seen = 0

def dying(do, named):
    def did(*words, **options):
        global seen
        seen += set(what) <= set(named(words))
        fits = seen == number and set(what) <= set(named(words))
        if fits and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = do(*words, **options)
        if fits:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return did

system.run = dying(system.run, lambda words: [str(word) for word in words])
system.replace = dying(system.replace, lambda words: [words[0].name])
sys.argv[1:4] = []
sys.exit(cli.main())
"""
MOMENTS = [
    ("after", "--unit=app-faults-migration", 1),
    ("after", "restart app-faults@candidate.service", 1),
    ("after", "app.sock", 1),
    ("after", "current", 1),
    ("before", "restart app-faults@current.service", 1),
    ("after", "restart app-faults@current.service", 1),
    ("before", "app.sock", 2),
    ("after", "app.sock", 2),
    ("after", "stop app-faults@candidate.service", 1),
    ("before", "served", 1),
]


@of_the_tool
@pytest.mark.usefixtures("visitors")
@pytest.mark.parametrize(("when", "what", "number"), MOMENTS)
def test_run_that_is_killed_lets_nobody_down_and_the_next_one_settles_it(
    server, app, brought, release, ready, when, what, number
):
    """From the one of two releases that serves to the other."""
    ((new, there),) = ((id, words) for id, words in brought.items() if id != Path(release()).name)
    run = server.host.run(f"python3 -Bc %s {when} %s {number} {there}", DYING, what)
    assert run.rc in (-9, 137, 255), f"{run.stdout}{run.stderr}"
    assert ready().status == 200
    done = server.host.run(f"sanso-app {there}")
    assert done.succeeded, done.stderr
    assert "was killed before it was done" in done.stdout
    assert Path(release()).name == new
    assert server.host.check_output(f"readlink /run/app-{app.name}/app.sock") == "current.sock"
    assert not server.host.service(f"app-{app.name}@candidate.service").is_running


# A full disk


@pytest.fixture
def left(request, server, app):
    """How many MB are left on a disk on which all lies that the app has."""
    run, home = server.host.check_output, f"/srv/{app.name}"
    unit = f"app-{app.name}@current.service"
    run(f"cp -a {home} /root/faults-kept")
    size = int(run(f"du -sk {home}").split()[0]) + request.param * 1024
    run(
        f"systemctl stop {unit} && mount -t tmpfs -o size={size}k,mode=0751 tmpfs {home} && "
        f"chgrp {app.name} {home} && cp -a /root/faults-kept/. {home} && systemctl start {unit}"
    )
    yield request.param
    run(f"systemctl stop {unit} && umount {home} && systemctl start {unit} && rm -r /root/faults-kept")


def is_as_before(server, app, release, before, kept):
    """Nothing is left of what there was no room for."""
    assert release() == before
    assert server.host.run(f"find /srv/{app.name}/incoming -size +0 -name '*.part' -o -name '.*'").stdout == ""
    assert set(server.host.check_output(f"ls -A /srv/{app.name}/releases").split()) == kept
    assert releases(server, app)["locked"] is None


BIG = "app/src/sample_app/big.bin"


@of_the_tool
@pytest.mark.parametrize("left", [1], indirect=True)
def test_disk_without_room_for_the_archive_is_said(server, app, play, description, release, ready, left):
    before, kept = release(), {each["id"] for each in releases(server, app)["releases"]}
    with Path(description["source"], BIG.removeprefix("app/")).open("wb") as file:
        file.write(random.randbytes(4 * 1024 * 1024))  # which packs badly
    done = play("app", apps=[description])
    assert done.failed, done.said
    assert done.says("No space left on device"), done.said
    assert ready().status == 200
    is_as_before(server, app, release, before, kept)


@of_the_tool
@pytest.mark.usefixtures("describe")
@pytest.mark.parametrize("left", [32], indirect=True)
def test_full_disk_is_said_and_leaves_nothing_half(server, app, release, ready, left):
    """There is room for the archive, which packs well, but not for what it unpacks to."""
    before, kept = release(), {each["id"] for each in releases(server, app)["releases"]}
    done = let_serve(server, app, bring(server, app, f"truncate --size=90M {BIG}"))
    assert done.failed, done.stdout
    assert "No space left on device" in done.stderr
    assert f"Release {Path(before).name} keeps serving." in done.stderr
    assert ready().status == 200
    is_as_before(server, app, release, before, kept)
    # And there is room again for one that fits.
    done = let_serve(server, app, bring(server, app, appending('\nGENERATION = "small"\n')))
    assert done.succeeded, done.stderr
    server.host.check_output(f"sanso-app rollback {app.name}")
    assert release() == before


# An app that is no more


@pytest.fixture
def plain(tmp_path):
    """A WSGI app of one file."""
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "plain.py").write_text(
        "def application(environ, start):\n    start('200 OK', [])\n    return [b'plain']\n"
    )
    return {
        "name": "plain",
        "source": str(tmp_path),
        "wsgi": "plain:application",
        "database": "none",
        "trace": False,
    } | {"server_names": ["plain.test"]}


@pytest.mark.one_app
@pytest.mark.usefixtures("visitors")
def test_app_that_comes_and_goes_touches_no_other_and_leaves_its_data(server, app, play, plain, description):
    """By either engine: test_delivery.py has more of it, of a machine with several apps."""
    run = server.host.check_output
    workers = run(f"systemctl show --property=MainPID,ExecMainStartTimestampMonotonic {app.service}")
    done = play("app", apps=[description, plain])
    assert done.succeeded, done.said
    assert run("sanso-app get /run/app-plain/current.sock / plain.test").endswith("plain")
    run("touch /srv/plain/shared/kept")
    for data, left in (("keep", ["lock", "shared"]), ("delete", [])):
        gone = {"apps": [description], "apps_removed": [{"name": "plain", "data": data}]}
        done = play("app", **gone)
        assert (done.succeeded, done.changed) == (True, 1), done.said
        assert server.host.run("ls /srv/plain").stdout.split() == left
        assert run("ls /etc/systemd/system /run | grep app-plain || true") == ""
    assert play("app", **gone).changed == 0
    assert server.host.run("id plain").failed
    assert run(f"systemctl show --property=MainPID,ExecMainStartTimestampMonotonic {app.service}") == workers
