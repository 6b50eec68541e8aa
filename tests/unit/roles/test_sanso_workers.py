"""What runs beside an app's pages follows the release: commands in its sandbox, and the units that it brought along."""

from __future__ import annotations

import subprocess

import pytest

SANDBOX = """# A comment.
[Service]
User=shop
SystemCallFilter=@system-service
SystemCallFilter=~@privileged

[Network]
RestrictAddressFamilies=AF_UNIX AF_INET

[No network]
PrivateNetwork=yes

[Extra]
# Another one.
ReadWritePaths=/srv/media \\
  /srv/more
"""
TIMER = "[Timer]\nOnCalendar=daily\n"


class Systemd:
    """What systemd is told, and what it says."""

    def __init__(self):
        self.told, self.states, self.said = [], {}, {}

    def run(self, *words, **options):
        words = [str(word) for word in words]
        self.told.append(words)
        answer = ""
        if words[:2] == ["systemctl", "show"]:
            state, restarts = self.states.get(words[-1], ("active", 0))
            answer = f"ActiveState={state}\nNRestarts={restarts}\nActiveEnterTimestampMonotonic=1\n"
        elif words[:2] == ["systemctl", "list-units"]:
            answer = "\n".join(self.said.get(words[-1], []))
        code = next((1 for word in words if word in self.said.get("refused", [])), 0)
        return subprocess.CompletedProcess(words, code, answer, "refused" if code else "")

    def verbs(self, verb):
        return [words[2:] for words in self.told if words[:2] == ["systemctl", verb]]


@pytest.fixture
def systemd():
    return Systemd()


@pytest.fixture
def shop(load, tmp_path, monkeypatch, systemd):
    """The app `shop`, on a server of its own."""
    load("roles/uwsgi/files/usr/local/sbin/sanso-app")
    from sanso_app import app, system  # where the program looks for it

    for name in ("HOME", "UNITS", "SOCKETS"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(system, name, tmp_path / name)
    monkeypatch.setattr(system, "run", systemd.run)
    return app.App("shop")


@pytest.fixture
def workers(shop):
    from sanso_app import workers

    return workers


@pytest.fixture
def sandbox(shop):
    from sanso_app import sandbox

    return sandbox


@pytest.fixture
def release(shop):
    """release(id, units, current=…) unpacks a release that brings these units along."""

    def release(id, units=None, *, started=(), current=False):
        folder = shop.home / "releases" / id
        (folder / "units").mkdir(parents=True)
        for name, text in (units or {}).items():
            (folder / "units" / name).write_text(text)
        (folder / "units/started").write_text("\n".join(["app-shop@current.service", *started]))
        (folder / "sandbox").write_text(SANDBOX)
        if current:
            (shop.home / "current").unlink(missing_ok=True)
            (shop.home / "current").symlink_to(folder)
        return folder

    return release


@pytest.fixture
def units():
    """The names of the unit files that are there."""
    from sanso_app import system

    return lambda: {file.name for file in system.UNITS.iterdir()}


# Commands


def properties(words):
    return [word.removeprefix("--property=") for word in words if word.startswith("--property=")]


def test_command_gets_the_lines_of_the_release_s_sandbox(sandbox, release):
    folder = release("aaaa")
    assert properties(sandbox.command("shop", folder, ["true"], unit="x")) == [
        f"EnvironmentFile={folder}/environment",
        f"EnvironmentFile={folder}/secrets",
        "User=shop",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged",
        "PrivateNetwork=yes",
        "ReadWritePaths=/srv/media    /srv/more",
    ]


def test_command_may_use_the_network_where_it_is_told_so(sandbox, release):
    found = properties(sandbox.command("shop", release("aaaa"), ["true"], unit="x", network=True))
    assert "RestrictAddressFamilies=AF_UNIX AF_INET" in found
    assert "PrivateNetwork=yes" not in found


def test_command_may_write_where_it_is_told_so(sandbox, release):
    words = sandbox.command("shop", release("aaaa"), ["true"], unit="x", writable=["/srv/shop/build"])
    assert properties(words)[-1] == "ReadWritePaths=/srv/shop/build"


def test_words_reach_the_command_as_they_are(sandbox, release):
    """systemd would fill in variables of its own."""
    words = sandbox.command("shop", release("aaaa"), ["sh", "-c", "echo $HOME ${X} 100%"], unit="x")
    assert words[-3:] == ["sh", "-c", "echo $$HOME $${X} 100%"]


@pytest.mark.parametrize(("tty", "way"), [(True, "--pty"), (False, "--pipe")])
def test_command_is_waited_for(sandbox, release, tty, way):
    words = sandbox.command("shop", release("aaaa"), ["true"], unit="x", tty=tty)
    assert {"--wait", "--collect", way} <= set(words)


def test_release_of_an_earlier_version_is_run_as_its_user(sandbox, release):
    folder = release("aaaa")
    (folder / "sandbox").unlink()
    assert "User=shop" in properties(sandbox.command("shop", folder, ["true"], unit="x"))


# Units


def test_units_of_a_release_are_those_of_the_server(shop, workers, release, units):
    workers.know(shop, release("aaaa", {"app-shop-worker-mail@.service": "mail", "app-shop.slice": "slice"}))
    assert units() == {"app-shop-worker-mail@.service", "app-shop.slice"}


def test_units_of_the_release_that_serves_stay_while_another_is_tried(shop, workers, release, units):
    workers.know(shop, release("aaaa", {"app-shop-worker-mail@.service": "mail"}, current=True))
    workers.know(shop, release("bbbb", {"app-shop-job-tidy.service": "tidy"}))
    assert units() == {"app-shop-worker-mail@.service", "app-shop-job-tidy.service"}


def test_units_that_no_release_has_are_stopped_and_gone(shop, workers, release, units, systemd):
    name = "app-shop-worker-mail@.service"
    workers.know(shop, release("aaaa", {name: "mail"}))
    systemd.said["app-shop-worker-mail@*.service"] = ["app-shop-worker-mail@1.service loaded active running"]
    release("bbbb", current=True)
    workers.restart(shop)
    assert units() == set()
    assert systemd.verbs("disable") == [["--now", "app-shop-worker-mail@1.service"]]


def test_units_of_other_apps_are_left_alone(shop, workers, release, units):
    from sanso_app import system

    for name in ("app-shop2-worker-mail@.service", "app-shopping@.service", "app-shop@.service"):
        (system.UNITS / name).touch()
    release("aaaa", current=True)
    workers.restart(shop)
    assert units() == {"app-shop2-worker-mail@.service", "app-shopping@.service", "app-shop@.service"}


def test_time_that_systemd_can_not_read_is_refused(shop, workers, release, systemd):
    systemd.said["refused"] = ["daily"]
    with pytest.raises(workers.Failed, match="'daily' is no calendar event"):
        workers.know(shop, release("aaaa", {"app-shop-job-tidy.timer": TIMER}))


def test_redis_runs_before_a_release_is_tried(shop, workers, release, systemd):
    workers.know(shop, release("aaaa", {"app-shop-redis.service": "redis"}))
    assert systemd.verbs("start") == [["app-shop-redis.service"]]


def test_redis_whose_unit_has_changed_is_started_anew(shop, workers, release, systemd):
    from sanso_app import system

    (system.SOCKETS / "app-shop-redis").mkdir()
    (system.SOCKETS / "app-shop-redis/redis.sock").touch()
    workers.know(shop, release("aaaa", {"app-shop-redis.service": "redis"}))
    assert systemd.verbs("restart") == [["app-shop-redis.service"]]


# Workers


def test_workers_are_restarted_all_at_once(shop, workers, release, systemd):
    two = ["app-shop-worker-mail@1.service", "app-shop-worker-mail@2.service"]
    release("aaaa", {"app-shop-worker-mail@.service": "mail"}, started=two, current=True)
    workers.restart(shop)
    assert (systemd.verbs("enable"), systemd.verbs("restart")) == ([two], [two])


def test_workers_beyond_their_number_are_stopped(shop, workers, release, systemd):
    one, two = "app-shop-worker-mail@1.service", "app-shop-worker-mail@2.service"
    systemd.said["app-shop-worker-mail@*.service"] = [f"{each} loaded active running" for each in (one, two)]
    release("aaaa", {"app-shop-worker-mail@.service": "mail"}, started=[one], current=True)
    workers.restart(shop)
    assert systemd.verbs("disable") == [["--now", two]]


@pytest.mark.parametrize("state", [("failed", 0), ("activating", 1), ("active", 1)])
def test_worker_that_does_not_stay_up_is_told(shop, workers, release, systemd, state):
    one = "app-shop-worker-mail@1.service"
    systemd.states[one] = state
    release("aaaa", {"app-shop-worker-mail@.service": "mail"}, started=[one], current=True)
    with pytest.raises(workers.Failed, match=f"{one} does not stay up"):
        workers.restart(shop)


def test_timers_are_restarted_and_jobs_are_not(shop, workers, release, systemd):
    units = {"app-shop-job-tidy.timer": TIMER, "app-shop-job-tidy.service": "tidy"}
    release("aaaa", units, started=["app-shop-job-tidy.timer"], current=True)
    workers.restart(shop)
    assert systemd.verbs("restart") == [["app-shop-job-tidy.timer"]]
