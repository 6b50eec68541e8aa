from __future__ import annotations

import json

import pytest

from sanso.inventory import Host
from sanso.verbs import status

APPS = [{"name": "faults"}]
ALL_RUNS = "print('active\\nactive\\nactive\\n20261121')"


def test_all_runs(sanso, machine, programs):
    machine(apps=APPS)
    programs.fake("ssh", ALL_RUNS)
    done = sanso("status")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "✓ sanso  10.77.0.10, machine of ubuntu-26.04",
        "    web  nginx.service  active",
        "    app  app-faults@current.service  active, release 20261121",
        "    db   mysql.service  active",
        "  next  ./sanso check",
    ]


def test_one_connection_answers_all(sanso, machine, programs):
    machine(apps=APPS)
    programs.fake("ssh", ALL_RUNS)
    sanso("status")
    assert len(programs.called("ssh")) == 1


def test_unit_that_is_down_is_named_with_its_logs(sanso, machine, programs):
    machine(apps=APPS)
    programs.fake("ssh", "print('active\\nactive\\nfailed\\n20261121')")
    done = sanso("status")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-1] == "  next  ./sanso logs --tier db"


@pytest.mark.parametrize(("exists", "runs", "problem"), [(False, False, "doesn't exist"), (True, False, "doesn't run")])
def test_machine_that_is_down_is_not_asked(sanso, machine, programs, exists, runs, problem):
    machine(exists=exists, runs=runs)
    done = sanso("status")
    assert done.exit_code == 1
    assert f"✗ sanso: {problem}" in done.stdout
    assert done.stdout.splitlines()[-1] == "  next  ./sanso up"
    assert not programs.called("ssh")


def test_server_that_can_not_be_asked_is_no_verdict(sanso, server, programs):
    programs.fake("ssh", "print('connect: Connection refused', file=sys.stderr); sys.exit(255)")
    done = sanso("status")
    assert done.exit_code == 3
    assert "no SSH server answers" in done.stdout


def test_answer_that_is_cut_off_is_no_verdict(sanso, machine, programs):
    machine(apps=APPS)
    programs.fake("ssh", "print('active')")
    assert sanso("status").exit_code == 3


def test_json_holds_what_is_shown(sanso, machine, programs):
    machine(apps=APPS)
    programs.fake("ssh", ALL_RUNS)
    (host,) = json.loads(sanso("status", "--json").stdout)["hosts"]
    assert host["units"]["app"] == {"app-faults@current.service": "active"}
    assert host["releases"] == {"faults": "20261121"}
    assert (host["asked"], host["problem"]) == (True, "")


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"web"}, {"web": ["nginx.service"]}),
        ({"db"}, {"db": ["mysql.service"]}),
        ({"app"}, {"app": ["app-faults@current.service"]}),
    ],
)
def test_host_is_asked_for_the_units_of_its_tiers(groups, expected):
    assert status.units(Host("a", groups, {"apps": APPS})) == expected


# What runs beside the pages

BUSY = [{"name": "faults", "redis": True, "workers": {"mail": {"count": 2}}, "schedule": {"tidy": {"at": "daily"}}}]
WELL = "ActiveState=inactive Result=success ExecMainStatus=0 ExecMainExitTimestamp=@1795300000"


def answers(job, worker="active"):
    return f"print('\\n'.join(['active'] * 3 + ['{worker}'] + ['active'] * 3 + ['20261121', '{job}']))"


def test_workers_timers_and_redis_are_asked_too(sanso, machine, programs):
    machine(apps=BUSY)
    programs.fake("ssh", answers(WELL))
    done = sanso("status")
    assert done.exit_code == 0, done.stdout
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("    app")] == [
        "app-faults@current.service",
        "app-faults-redis.service",
        "app-faults-worker-mail@1.service",
        "app-faults-worker-mail@2.service",
        "app-faults-job-tidy.timer",
    ]


def test_worker_that_is_down_is_named(sanso, machine, programs):
    machine(apps=BUSY)
    programs.fake("ssh", answers(WELL, worker="activating"))
    done = sanso("status")
    assert (done.exit_code, "app-faults-worker-mail@1.service doesn't run" in done.stdout) == (1, True)


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        (WELL, 0, ": done"),
        ("ActiveState=inactive Result=success ExecMainStatus=0 ExecMainExitTimestamp=", 0, "no turn since"),
        ("ActiveState=activating Result=success ExecMainStatus=0 ExecMainExitTimestamp=", 0, "runs now"),
        ("ActiveState=failed Result=exit-code ExecMainStatus=3 ExecMainExitTimestamp=@1795300000", 1, "exit code 3"),
        ("ActiveState=failed Result=timeout ExecMainStatus=15 ExecMainExitTimestamp=@1795300000", 1, "timeout"),
    ],
)
def test_last_turn_of_a_job_is_shown(sanso, machine, programs, said, code, words):
    machine(apps=BUSY)
    programs.fake("ssh", answers(said))
    done = sanso("status")
    (line,) = [line for line in done.stdout.splitlines() if "app-faults-job-tidy.timer" in line]
    assert (done.exit_code, words in line) == (code, True), done.stdout


def test_job_that_failed_leads_to_what_it_said(sanso, machine, programs):
    machine(apps=BUSY)
    programs.fake("ssh", answers("ActiveState=failed Result=exit-code ExecMainStatus=3 ExecMainExitTimestamp=@1"))
    assert sanso("status").stdout.splitlines()[-1] == (
        "  next  ./sanso ssh sanso -- sudo journalctl -u app-faults-job-tidy.service"
    )
