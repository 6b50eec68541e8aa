"""A release that fails, or is killed at any moment, leaves one that serves; and the next run does what is missing."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import pytest

OLD, NEW, HEALTH = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "/readyz"


class Killed(BaseException):
    """As by SIGKILL: nothing of the tool runs after it."""


class Server:
    """A server's commands, as far as the tool uses them: which release runs as which instance, and what it answers."""

    def __init__(self, folder):
        self.home, self.units, self.sockets = folder / "srv", folder / "units", folder / "run"
        self.commands, self.running, self.known = [], {}, ""
        self.bad = {}  # release to the instances that it is no good as
        self.refused = {}  # a command's word to what it says on its standard error
        self.moments = itertools.count(1)
        self.killed_at = self.killed_by = None
        self.units.mkdir()

    def moment(self):
        """A moment in which the tool may be killed."""
        if next(self.moments) == self.killed_at:
            raise Killed

    def release(self, id, unit="a unit", **how):
        """Unpack a release, as an engine does."""
        folder = self.home / "shop/releases" / id
        (folder / "wheels").mkdir(parents=True)
        told = {"migrate": f"migrate {id}", "health_path": HEALTH, **how}
        (folder / "release.json").write_text(json.dumps(told))
        for kind in ("socket", "service"):
            (folder / f"unit.{kind}").write_text(f"{unit}: {kind}")
            (self.units / f"app-shop@.{kind}").write_text(f"{unit}: {kind}")
        return folder

    def run(self, *command, **options):
        words = [str(word) for word in command]
        self.moment()
        if self.killed_by and set(self.killed_by) <= set(words):
            raise Killed
        self.commands.append(words)
        said = next((text for word, text in self.refused.items() if word in words), "")
        if not said and words[0] == "systemctl":
            said = self.systemctl(*words[1:])
        if not said and words[:3] == ["python3", "-m", "venv"]:
            (options["cwd"] / "venv").mkdir(exist_ok=True)
            (options["cwd"] / "venv/whole").unlink(missing_ok=True)
        if not said and Path(words[0]).name == "pip":
            (options["cwd"] / "venv/whole").touch()
        self.moment()
        return subprocess.CompletedProcess(words, 1 if said else 0, "out of the journal", said)

    def systemctl(self, verb, *words):
        instance = words[-1].rpartition("@")[2].partition(".")[0] if words else ""
        if verb == "daemon-reload":
            self.known = (self.units / "app-shop@.service").read_text()
        elif verb in ("stop", "kill"):
            self.running.pop(instance, None)
        elif verb == "restart":
            self.running[instance] = (self.home / "shop" / instance).resolve().name
        return ""

    def ask(self, path, at, host):
        instance = Path(at).stem
        id = self.running.get(instance)
        if id is None or instance in self.bad.get(id, ()):
            return 500, f"no good: {id}"
        return (200 if (path, host) == (HEALTH, "shop.test") else 404), ""

    @property
    def serves(self):
        """What answers nginx, now and after a restart."""
        current = self.home / "shop/current"
        return self.running.get("current"), current.resolve().name if current.is_symlink() else None

    @property
    def served(self):
        """What an engine asks."""
        link = self.home / "shop/current/served"
        return str(link.readlink()) if link.is_symlink() else None


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


@pytest.fixture
def tool(load, server, monkeypatch):
    found = load("roles/uwsgi/files/usr/local/sbin/sanso-app")
    from sanso_app import system, uwsgi  # where the program looks for it

    for name, value in {"HOME": server.home, "UNITS": server.units, "SOCKETS": server.sockets}.items():
        monkeypatch.setattr(system, name, value)
    monkeypatch.setattr(system, "run", server.run)
    monkeypatch.setattr(uwsgi, "ask", server.ask)
    replace = system.replace

    def replace_or_die(path, make):
        server.moment()
        replace(path, make)
        server.moment()

    monkeypatch.setattr(system, "replace", replace_or_die)
    return found


@pytest.fixture
def release(tool, monkeypatch, capsys):
    """release(id) runs the verb: (exit code, what it said)."""

    def release(id, seconds=0, kept=5):
        words = ["release", "shop", id, "--host=shop.test", f"--seconds={seconds}", f"--kept={kept}"]
        monkeypatch.setattr("sys.argv", ["sanso-app", *words])
        code = tool.main()
        return code, capsys.readouterr().err

    return release


@pytest.fixture
def old(server, release):
    """One release serves."""
    server.release(OLD)
    assert release(OLD) == (0, "")
    assert (server.serves, server.served) == ((OLD, OLD), OLD)
    server.commands.clear()


def test_new_release_serves(server, release, old):
    folder = server.release(NEW)
    assert release(NEW) == (0, "")
    assert (server.serves, server.served) == ((NEW, NEW), NEW)
    assert not (folder / "wheels").exists()
    assert "candidate" not in server.running


def test_migration_runs_as_the_app_with_its_groups_and_nothing_more(server, release, old, monkeypatch):
    folder = server.release(NEW)
    release(NEW)
    (command,) = (words for words in server.commands if words[0] == "systemd-run")
    assert command[-3:] == ["/bin/sh", "-c", f"migrate {NEW}"]
    assert "--property=User=shop" in command
    assert "--property=SupplementaryGroups=out of the journal" in command
    assert f"--property=EnvironmentFile={folder}/secrets" in command


def test_release_without_a_migration_runs_none(server, release, old):
    server.release(NEW, migrate="")
    assert release(NEW)[0] == 0
    assert [words for words in server.commands if words[0] == "systemd-run"] == []


def refuse(word, said):
    return lambda server: server.refused.update({word: said})


def bad_as(*instances):
    return lambda server: server.bad.update({NEW: instances})


# What breaks, the step it breaks, and what the run says.
FAILURES = {
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
    folder = server.release(NEW)
    break_it(server)
    code, text = release(NEW)
    assert code == 1
    assert text.startswith(f'shop: release {NEW} failed at "Release | {step}".\n')
    assert said in text
    if name != "units":  # then they can't be had back either
        assert text.endswith(f"Release {OLD} keeps serving. The failed one stays in {folder}.\n")
    assert (server.serves, server.served) == ((OLD, OLD), OLD)
    assert "candidate" not in server.running


@pytest.mark.parametrize("name", ["migration", "candidate", "current"])
def test_first_release_that_fails_leaves_none(server, release, name):
    break_it, _, said = FAILURES[name]
    folder = server.release(NEW)
    break_it(server)
    code, text = release(NEW)
    assert (code, said in text) == (1, True)
    assert text.endswith(f"No release serves yet. The failed one stays in {folder}.\n")
    assert (server.serves, server.served) == ((None, None), None)


@pytest.mark.parametrize("instance", ["candidate", "current"])
@pytest.mark.usefixtures("old")
def test_units_are_those_of_the_release_that_serves(server, release, instance):
    """Units with which an app does not start would keep the good release from starting again."""
    server.release(NEW, unit="a bad unit")
    bad_as(instance)(server)
    assert release(NEW)[0] == 1
    assert ((server.units / "app-shop@.service").read_text(), server.known) == ("a unit: service",) * 2


def test_one_before_that_does_not_serve_any_more_is_said(server, release, old):
    server.release(NEW)
    server.bad = {NEW: ["current"], OLD: ["current"]}
    code, text = release(NEW)
    assert code == 1
    assert f"Release {OLD}, which served before, does not any more: shop did not answer 200" in text
    assert server.served is None  # so that the next run tries again


MOMENTS = 54  # in which a run may be killed: at least as many as it has

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
    server.release(NEW)
    BREAKS[how](server)
    server.moments, server.killed_at = itertools.count(1), moment
    try:
        release(NEW)
    except Killed:
        pass
    else:
        return  # it has fewer moments
    # What the next start would run is whole.
    assert (server.home / "shop/current/venv/whole").exists()
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
    server.release(NEW)
    BREAKS[how](server)
    server.moments = itertools.count(1)
    release(NEW)
    assert next(server.moments) <= MOMENTS


@pytest.fixture
def linked(server, release, old):
    """A run was killed when the new release had become the current one, and nobody had told systemd yet."""
    server.release(NEW)
    server.killed_by = ["restart", "app-shop@current.service"]
    with pytest.raises(Killed):
        release(NEW)
    server.killed_by = None
    server.commands.clear()
    assert (server.serves, server.served) == ((OLD, NEW), None)


@pytest.mark.usefixtures("linked")
def test_current_one_is_not_installed_again_though_it_has_never_answered(server, release):
    """The next start would run a part of it."""
    assert release(NEW) == (0, "")
    assert [words for words in server.commands if "venv" in words] == []


@pytest.mark.usefixtures("linked")
def test_current_one_that_is_no_good_any_more_goes_before_it_serves(server, release):
    bad_as("candidate")(server)
    assert release(NEW)[0] == 1
    assert (server.serves, server.served) == ((OLD, OLD), OLD)


@pytest.mark.usefixtures("old")
def test_release_that_is_a_part_only_says_that_it_never_served(server, release):
    server.release(NEW)
    assert release(NEW)[0] == 0
    server.killed_by = ["--clear"]
    with pytest.raises(Killed):
        release(OLD)
    assert not (server.home / "shop/releases" / OLD / "served").is_symlink()


def test_release_that_serves_is_not_installed_again(server, release, old):
    """Its workers would lose what they have not loaded yet."""
    assert release(OLD) == (0, "")
    assert [words for words in server.commands if "venv" in words] == []
    assert (server.serves, server.served) == ((OLD, OLD), OLD)


def test_release_that_served_once_is_installed_again(server, release, old):
    """Whoever brings it back has unpacked it anew."""
    server.release(NEW)
    release(NEW)
    server.commands.clear()
    assert release(OLD) == (0, "")
    assert [words for words in server.commands if "--clear" in words] != []
    assert server.serves == (OLD, OLD)


def test_oldest_releases_go_and_the_one_that_serves_stays(server, release):
    ids = [str(number) * 12 for number in range(5)]
    for age, id in enumerate(ids):
        server.release(id)
        assert release(id, kept=2)[0] == 0
        folder = server.home / "shop/releases" / id
        subprocess.run(["touch", "--date", f"@{1000 + age}", folder], check=True)
    assert sorted(path.name for path in (server.home / "shop/releases").iterdir()) == ids[2:]


def test_release_of_before_there_were_such_links_keeps_serving(server, release):
    """One that an earlier version installed: no link, no units, nothing said of itself."""
    folder = server.home / "shop/releases" / OLD
    (folder / "venv").mkdir(parents=True)
    (server.home / "shop/current").symlink_to(folder)
    server.running["current"] = OLD
    server.release(NEW)
    bad_as("candidate")(server)
    code, text = release(NEW)
    assert (code, f"Release {OLD} keeps serving." in text) == (1, True)
    assert server.serves == (OLD, OLD)
