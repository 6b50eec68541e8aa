"""Background work goes on: the job in hand of a worker, one turn of a job at a time, and what was queued."""

import json
import shlex

import pytest
from evidence import connect_attempt
from stand_in import of_the_tool, standing_in

pytestmark = of_the_tool

# A worker that takes files from a folder as its jobs, and ends the one in hand when it is asked to stop.
WORKER = """
import pathlib, signal, sys, time
folder, asked = pathlib.Path(sys.argv[1]), []
folder.mkdir(exist_ok=True)
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
while not asked:
    for job in folder.glob("*.job"):
        job.rename(job.with_suffix(".begun"))
        time.sleep(3)
        job.with_suffix(".begun").rename(job.with_suffix(".done"))
    time.sleep(0.1)
"""
FOLDER = "/srv/{app.name}/shared/probe"


def wait_for(host, condition, seconds=30, why=""):
    done = host.run(f"timeout {seconds} sh -c {shlex.quote(f'until {condition}; do sleep 0.1; done')}")
    assert done.succeeded, f"not within {seconds} s: {condition}\n{host.run(why).stdout if why else ''}"


def result(host, unit):
    lines = host.check_output(f"systemctl show --property=Result,ExecMainStatus,ActiveState {unit}").splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def busy(server, app, play, describe):
    """The sample app with a Redis, workers and jobs of ours; with its own again at the end."""
    description, folder = describe(), FOLDER.format(app=app)
    command = f"python -c 'exec({json.dumps(WORKER)})' {folder}"
    description |= {
        "redis": True,
        "workers": {"probe": {"command": command, "count": 2, "stop_seconds": 20}},
        "schedule": {
            "probe": {"command": f"echo turn >> {folder}/turns; sleep 2; echo well done", "at": "*-*-* 04:00"},
            "broken": {"command": "echo it is broken >&2; exit 3", "at": "*-*-* 04:00"},
            "endless": {"command": "sleep 600", "at": "*-*-* 04:00", "timeout": 1},
        },
    }
    with standing_in(server, app, play, description):
        yield app
        server.host.check_output(f"systemctl reset-failed 'app-{app.name}-*'; rm -rf {folder}")
    # What the release that serves doesn't have is stopped, and gone.
    left = server.host.check_output(f"systemctl list-units --all --plain --no-legend 'app-{app.name}-*'")
    assert "-probe" not in left, left


# Workers


@pytest.fixture
def in_hand(server, busy):
    """in_hand(name) gives a worker a job, and returns once that has begun."""

    def in_hand(name):
        folder = FOLDER.format(app=busy)
        server.host.check_output(f"touch {folder}/{name}.job")
        wait_for(server.host, f"[ -e {folder}/{name}.begun ]", why=f"journalctl -u 'app-{busy.name}-worker-probe@*'")
        return f"{folder}/{name}.done"

    return in_hand


def test_worker_ends_the_job_in_hand_before_it_is_restarted(server, busy, in_hand):
    done = in_hand("restart")
    server.host.check_output(f"systemctl restart 'app-{busy.name}-worker-probe@*.service'")
    assert server.host.file(done).exists


def test_worker_that_was_killed_comes_back(server, busy, in_hand):
    server.host.check_output(f"systemctl kill --signal=KILL 'app-{busy.name}-worker-probe@*.service'")
    done = in_hand("killed")
    wait_for(server.host, f"[ -e {done} ]")


def test_workers_run_in_the_sandbox_of_the_app(server, busy):
    """All that it says, but how a unit is started and stopped."""
    sandbox = (server.host.check_output(f"cat /srv/{busy.name}/current/sandbox")).split("[Network]")[0]
    names = sorted(
        {line.partition("=")[0] for line in sandbox.splitlines() if "=" in line and not line.startswith("#")}
    )
    shown = [
        server.host.check_output(f"systemctl show --property={','.join(names)} {unit}")
        for unit in (busy.service, f"app-{busy.name}-worker-probe@1.service", f"app-{busy.name}-job-probe.service")
    ]
    assert shown[1:] == shown[:1] * 2


# Jobs


def test_job_says_in_the_journal_what_it_said_and_how_it_ended(server, busy):
    unit = f"app-{busy.name}-job-probe.service"
    server.host.check_output(f"systemctl start {unit}")
    assert result(server.host, unit)["Result"] == "success"
    assert "well done" in server.host.check_output(f"journalctl --sync; journalctl -o cat -u {unit}")


def test_job_has_one_turn_at_a_time(server, busy):
    host, unit, turns = server.host, f"app-{busy.name}-job-probe.service", f"{FOLDER.format(app=busy)}/turns"
    host.check_output(f"rm -f {turns}; for each in 1 2 3; do systemctl start --no-block {unit}; sleep 0.3; done")
    wait_for(host, f"[ $(systemctl show --property=ActiveState --value {unit}) = inactive ]")
    assert host.check_output(f"cat {turns}") == "turn"


def test_job_that_was_due_while_the_server_was_off_is_made_up_for(server, busy):
    host, timer, turns = server.host, f"app-{busy.name}-job-probe.timer", f"{FOLDER.format(app=busy)}/turns"
    host.check_output(
        f"rm -f {turns}; systemctl stop {timer}; touch -d '3 days ago' /var/lib/systemd/timers/stamp-{timer}"
    )
    host.check_output(f"systemctl start {timer}")
    wait_for(host, f"[ -e {turns} ]", why=f"systemctl status {timer}")


@pytest.mark.parametrize(
    ("job", "how"), {"broken": ("exit-code", "3"), "endless": ("timeout", "15")}.items(), ids=["broken", "endless"]
)
def test_job_that_failed_is_seen_until_it_succeeds(server, busy, job, how):
    unit = f"app-{busy.name}-job-{job}.service"
    assert server.host.run(f"systemctl start {unit}").failed
    assert result(server.host, unit) == {"Result": how[0], "ExecMainStatus": how[1], "ActiveState": "failed"}


# Redis


def redis(server, app, words):
    return server.host.check_output(f"redis-cli -s {app.redis_socket} --raw {words}")


def test_what_is_queued_survives_a_killed_redis(server, busy):
    assert redis(server, busy, "rpush sanso-probe one two") == "2"
    server.host.check_output(f"systemctl kill --signal=KILL {busy.redis_unit}")
    wait_for(server.host, f"[ $(redis-cli -s {busy.redis_socket} ping) = PONG ]")
    assert redis(server, busy, "lrange sanso-probe 0 -1").split() == ["one", "two"]
    assert redis(server, busy, "del sanso-probe") == "1"


@pytest.mark.parametrize("user", ["nobody", "www-data", "mysql"])
def test_redis_is_closed_to(server, busy, user):
    assert connect_attempt(server.host, busy.redis_socket, user) == "EACCES"


def test_redis_of_the_package_can_not_be_started(server, busy):
    server.host.run("systemctl start redis-server.service")
    assert not server.host.service("redis-server.service").is_running


# Commands


def run(server, app, words, before=""):
    return server.host.run(f"{before}sanso-app run {app.name} -- {words}")


def test_command_ends_with_its_own_exit_code_and_says_what_it_said(server, app):
    done = run(server, app, "sh -c 'echo out; echo err >&2; exit 7'")
    assert (done.rc, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_command_reads_what_is_piped_into_it(server, app):
    assert run(server, app, "cat", before="echo given | ").stdout == "given\n"


def test_command_has_a_terminal_where_there_is_one(server, app):
    done = server.host.run(f"script --quiet --return --command 'sanso-app run {app.name} -- tty' /dev/null")
    assert (done.rc, "/dev/pts/" in done.stdout) == (0, True), done


def test_command_runs_as_the_app_in_its_release(server, app):
    script = 'echo "$(id -un) $(pwd) $APP_BUILD $(command -v python)"'
    release = server.host.check_output(f"readlink -f {app.current}")
    said = run(server, app, f"sh -c {shlex.quote(script)}").stdout.split()
    assert said == [app.name, f"{release}/app", f"{release}/build", f"{release}/venv/bin/python"]


def test_command_is_kept_from_what_the_app_is_kept_from(server, app):
    own = f"/srv/{app.name}/shared/probe-run"
    script = f"touch {own} && rm {own}; touch /etc/probe-run; ls /home; cat /proc/1/comm"
    done = run(server, app, f"sh -c {shlex.quote(script)}")
    assert [line.rpartition(": ")[2] for line in done.stderr.splitlines()] == [
        "Read-only file system",
        "Permission denied",
        "No such file or directory",
    ], done


def test_command_leaves_nothing_behind(server, app):
    run(server, app, "false")
    assert server.host.check_output(f"systemctl list-units --all --plain --no-legend 'app-{app.name}-run-*'") == ""


def test_command_in_a_release_that_is_not_there_is_refused(server, app):
    done = server.host.run(f"sanso-app run {app.name} --release 0123abcd -- true")
    assert (done.rc, "has no release 0123abcd" in done.stderr) == (1, True), done
