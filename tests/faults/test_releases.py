"""A release that is no good never replaces one that is, and the run shows what the app itself said."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from pathlib import Path

import client
import pytest


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


# What is done to the source, what is said of it, and what the run must show.
BROKEN = {
    "syntax error": (append("\ndef broken(:\n"), {}, "SyntaxError"),
    "wrong callable": (None, {"wsgi": "sample_app:nothing"}, "callable not found or import error"),
    "failing migration": (None, {"migrate": "echo out of ideas >&2; exit 7"}, "out of ideas"),
    "health never 200": (None, {"health_path": "/nowhere"}, "404 NOT FOUND"),
    "missing dependency": (append("\nimport not_there\n"), {}, "No module named 'not_there'"),
    "failing build": (None, {"build": "echo no bundler >&2; exit 3"}, "no bundler"),
    "no requirements": (lambda source: (source / "requirements.txt").unlink(), {}, "requirements"),
}


@pytest.fixture
def release(server, app):
    """release() tells which release serves."""
    return lambda: server.host.check_output(f"readlink {app.current}")


@pytest.mark.parametrize("name", BROKEN)
def test_broken_release_leaves_the_last_good_one_serving(server, app, play, description, release, ready, name):
    change, said, shown = BROKEN[name]
    if change:
        change(Path(description["source"]))
    before = release()
    # Of a good app, nothing but the one broken thing differs; 5 s are enough for an app that never gets healthy.
    done = play("app", apps=[description | said], app_health_seconds=5)
    assert done.failed, done.said
    assert shown in done.said
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


def test_release_that_answers_as_candidate_only_is_taken_back(server, play, description, release, ready):
    append(ONLY_ONCE)(Path(description["source"]))
    before = release()
    try:
        done = play("app", apps=[description | {"migrate": ""}], app_health_seconds=5)
    finally:
        server.host.check_output("rm -f /srv/faults/shared/seen")
    assert done.failed, done.said
    assert "only once" in done.said
    assert release() == before
    assert ready().status == 200


def test_unit_in_which_the_app_does_not_start_is_taken_back(server, app, play, description, release, ready):
    """The good release would not come back from the next restart."""
    before = release()
    done = play("app", apps=[description | {"extra_unit": "ExecStartPre=/bin/false\n"}])
    assert done.failed, done.said
    assert 'failed at "Release | Try it on a socket of its own"' in done.said
    assert f"Release {Path(before).name} keeps serving." in done.said
    server.host.check_output(f"systemctl restart app-{app.name}@current.service")
    assert ready().status == 200
    # The source is a copy, the description the same: nothing is left to be done.
    assert play("app", apps=[description]).changed == 0


def test_release_that_was_current_but_had_not_answered_is_tried_again(server, app, play, description, release):
    """As a run leaves it that is killed between the two."""
    before = release()
    server.host.check_output(f"rm {app.current}/served")
    assert play("app", apps=[description]).changed
    assert server.host.check_output(f"readlink {app.current}/served") == Path(release()).name == Path(before).name


def test_good_release_replaces_the_one_before_and_the_one_before_that_comes_back(play, description, release, ready):
    before = release()
    append('\nGENERATION = "next"\n')(Path(description["source"]))
    assert play("app", apps=[description]).succeeded
    assert release() != before
    assert ready().status == 200
    edit("src/sample_app/__init__.py", '\nGENERATION = "next"\n', "")(Path(description["source"]))
    assert play("app", apps=[description]).succeeded
    assert release() == before


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


class Visitors:
    """People who ask for a page all the time, each on a new connection. failed: what else than a page they got."""

    def __init__(self, server, app):
        self.failed, self.served = [], 0
        self._ask = lambda: client.request(server, app.host_name, app.health_path, seconds=30)
        self._gone = threading.Event()
        self._threads = [threading.Thread(target=self._visit) for _ in range(4)]

    def _visit(self):
        while not self._gone.is_set():
            try:
                answer = self._ask()
            except OSError as error:
                self.failed.append(error)
            else:
                self.served += 1
                if answer.status != 200:
                    self.failed.append(answer)
            self._gone.wait(0.05)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._gone.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def visitors(server, app):
    with Visitors(server, app) as found:
        yield found
    assert found.served
    assert found.failed == []


def releases(server, app):
    return json.loads(server.host.check_output(f"sanso-app releases {app.name} --json"))


@pytest.mark.usefixtures("visitors")
def test_release_and_the_way_back_let_nobody_down(server, app, play, description, release, ready):
    before = release()
    venv = server.host.check_output(f"readlink -f {app.current}/venv")
    append(f"\nGENERATION = {time.time()}\n")(Path(description["source"]))
    assert play("app", apps=[description], app_why="a test").succeeded
    new = release()
    assert new != before
    assert server.host.check_output(f"readlink -f {app.current}/venv") == venv  # its lock file is the same
    server.host.check_output(f"sanso-app rollback {app.name} --why='a test'")
    assert release() == before
    # Neither engine brings back what somebody went back from, and each says so.
    done = play("app", apps=[description])
    assert (done.changed, release()) == (0, before), done.said
    assert done.says("was rolled back, and is not released again"), done.said
    done = play("app", apps=[description], app_again=True)
    assert (done.succeeded, release()) == (True, new), done.said
    assert ready().status == 200
    server.host.check_output(f"sanso-app rollback {app.name} --why='a test'")
    assert release() == before
    history = server.host.check_output(f"cat /var/log/sanso/{app.name}/releases.jsonl").splitlines()[-4:]
    told = [(line["action"], line["why"]) for line in map(json.loads, history) if "why" in line]
    assert told == [("release", "a test"), ("rollback", "a test"), ("rollback", "a test")]


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
    """A good release that waits on the server: the words that let it serve, and those that go back."""
    described, before = describe(), server.host.check_output(f"readlink {app.current}")
    append(f"\nGENERATION = {time.time()}\n")(Path(described["source"]))
    with busy(server, app):
        done = play("app", apps=[described])
    assert done.failed, done.said
    assert done.says("ann began to release cafe it at"), done.said
    assert done.says("because: new prices. Nothing was changed."), done.said
    assert server.host.check_output(f"readlink {app.current}") == before
    (archive,) = server.host.check_output(f"ls /srv/{app.name}/incoming/*.tar.gz").split()
    release = f"release {app.name} %s --host={app.host_name} --seconds=60 --kept=5"
    yield release % Path(archive).name.removesuffix(".tar.gz"), release % Path(before).name
    assert server.host.check_output(f"readlink {app.current}") == before


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


@pytest.mark.usefixtures("visitors")
@pytest.mark.parametrize(("when", "what", "number"), MOMENTS)
def test_run_that_is_killed_lets_nobody_down_and_the_next_one_settles_it(
    server, app, brought, release, ready, when, what, number
):
    there, back = brought
    run = server.host.run(f"python3 -Bc %s {when} %s {number} {there}", DYING, what)
    assert run.rc in (-9, 137, 255), f"{run.stdout}{run.stderr}"
    assert ready().status == 200
    done = server.host.run(f"sanso-app {there}")
    assert done.succeeded, done.stderr
    assert "was killed before it was done" in done.stdout
    assert Path(release()).name in there
    assert server.host.check_output(f"readlink /run/app-{app.name}/app.sock") == "current.sock"
    assert not server.host.service(f"app-{app.name}@candidate.service").is_running
    done = server.host.run(f"sanso-app {back}")
    assert done.succeeded, done.stderr
    assert Path(release()).name in back


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


@pytest.mark.parametrize("left", [1, 32], indirect=True)
def test_full_disk_is_said_and_leaves_nothing_half(server, app, play, description, release, ready, left):
    """There is no room for the archive; or there is, for it packs well, but not for what it unpacks to."""
    before, kept = release(), {each["id"] for each in releases(server, app)["releases"]}
    with (Path(description["source"]) / "src/sample_app/big.bin").open("wb") as file:
        file.truncate(90 * 1024 * 1024)
    done = play("app", apps=[description])
    assert done.failed, done.said
    assert done.says("No space left on device"), done.said
    assert done.says(f"Release {Path(before).name} keeps serving.") or left == 1, done.said
    assert (release(), ready().status) == (before, 200)
    assert server.host.run(f"find /srv/{app.name}/incoming -size +0 -name '*.part' -o -name '.*'").stdout == ""
    assert set(server.host.check_output(f"ls -A /srv/{app.name}/releases").split()) == kept
    assert releases(server, app)["locked"] is None
    if left == 1:
        return
    # And there is room again for one that fits.
    (Path(description["source"]) / "src/sample_app/big.bin").unlink()
    append('\nGENERATION = "small"\n')(Path(description["source"]))
    done = play("app", apps=[description])
    assert done.succeeded, done.said
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


@pytest.mark.usefixtures("visitors")
def test_app_that_comes_and_goes_touches_no_other_and_leaves_its_data(server, app, play, plain, release):
    run = server.host.check_output
    described = next(each for each in server.settings["apps"] if each["name"] == app.name)
    assert play("app", apps=[described]).succeeded  # whatever served before
    workers = run(f"systemctl show --property=MainPID,ExecMainStartTimestampMonotonic {app.service}")
    done = play("app", apps=[described, plain])
    assert done.succeeded, done.said
    assert run("sanso-app get /run/app-plain/current.sock / plain.test").endswith("plain")
    run("touch /srv/plain/shared/kept")
    for data, left in (("keep", ["lock", "shared"]), ("delete", [])):
        gone = {"apps": [described], "apps_removed": [{"name": "plain", "data": data}]}
        done = play("app", **gone)
        assert (done.succeeded, done.changed) == (True, 1), done.said
        assert server.host.run("ls /srv/plain").stdout.split() == left
        assert run("ls /etc/systemd/system /run | grep app-plain || true") == ""
        assert play("app", **gone).changed == 0
    assert server.host.run("id plain").failed
    assert run(f"systemctl show --property=MainPID,ExecMainStartTimestampMonotonic {app.service}") == workers
