"""The units of an app, as its role renders them: one sandbox for all, and the network only where it is said."""

from __future__ import annotations

import signal

import pytest

from sanso import apps
from sanso.project import DEFAULT_INVENTORY, ROOT
from sanso.variables import Landscape

APP = {
    "name": "shop",
    "source": "sample_app",
    "wsgi": "shop:app",
    "server_names": ["shop.test"],
    "processes": 4,
    "timeout": 7,
    "redis": True,
    "limits": {"memory": "512M", "cpu": "150%"},
    "workers": {"mail": {"command": 'celery "$X" 100%', "count": 2, "network": True, "stop_seconds": 9}},
    "schedule": {"tidy": {"command": "flask tidy", "at": "Mon 06:00", "timeout": 5}},
    "extra_unit": "ReadWritePaths=/srv/media",
}
FOLDER = "/etc/systemd/system/"


@pytest.fixture(scope="module")
def role():
    """role(key=value, …) is what the role makes of the app, described so."""
    variables = Landscape(DEFAULT_INVENTORY).variables_of("sanso")
    more = {"ansible_facts": {"distribution": "Ubuntu"}, "playbook_dir": str(ROOT / "playbooks")}
    return lambda **said: variables.within("app", __app_item={**APP, **said}, **more)


@pytest.fixture(scope="module")
def released(role):
    """What the app's release brings along: {name: text}."""
    return role()["__app_release_files"]


@pytest.fixture(scope="module")
def rendered(role):
    """All units by their names, those of the pages too."""
    found = role()
    units = {
        path.removeprefix(FOLDER): said["content"] for path, said in found["__app_units"].items() if "content" in said
    }
    return units | {"app-shop@.service": found.render("etc/systemd/system/app@.service.j2")}


def lines(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


SANDBOXED = ["app-shop@.service", "app-shop-worker-mail@.service", "app-shop-job-tidy.service"]


def test_units_are_those_that_the_description_names(rendered):
    assert rendered.keys() == {*SANDBOXED, "app-shop.slice", "app-shop-redis.service", "app-shop-job-tidy.timer"}


@pytest.mark.parametrize("unit", SANDBOXED)
def test_unit_has_the_whole_sandbox(released, rendered, unit):
    """That of the commands, which the release brings along as a file."""
    sandbox = released["sandbox"].partition("[Network]")[0]
    assert set(lines(sandbox)) - {"[Service]"} <= set(lines(rendered[unit]))


@pytest.mark.parametrize(("unit", "network"), list(zip(SANDBOXED, [False, True, False], strict=True)))
def test_unit_has_the_network_only_where_it_is_said(rendered, unit, network):
    assert ("PrivateNetwork=yes" in lines(rendered[unit])) is not network
    assert ("AF_INET" in rendered[unit]) is network


def test_commands_of_the_unit_s_own_are_not_those_of_each_command(role):
    sandbox = role(extra_unit="ExecStartPre=/bin/false\nReadWritePaths=/x")["__app_release_files"]["sandbox"]
    assert lines(sandbox.partition("[Extra]")[2]) == ["ReadWritePaths=/x"]


@pytest.mark.parametrize("unit", SANDBOXED)
def test_lines_of_the_description_come_after_the_sandbox(rendered, unit):
    found = lines(rendered[unit])
    assert found.index("ReadWritePaths=/srv/media") > found.index("SystemCallErrorNumber=EPERM")


def test_redis_is_kept_from_what_the_app_may(rendered):
    found = lines(rendered["app-shop-redis.service"])
    assert "ReadWritePaths=-/srv/shop/redis /run/app-shop-redis" in found
    assert not [line for line in found if "/srv/media" in line or "/shared" in line or "SupplementaryGroups" in line]


def test_command_is_a_file_of_the_release_and_no_unit_s(released, rendered):
    """Where systemd would take its % and $ for its own."""
    assert (released["commands/worker-mail"], released["commands/job-tidy"]) == ('celery "$X" 100%', "flask tidy")
    assert not [unit for unit, text in rendered.items() if "celery" in text]


@pytest.mark.parametrize(
    ("unit", "line"),
    [
        ("app-shop@.service", "TimeoutStopSec=12"),
        ("app-shop-worker-mail@.service", "TimeoutStopSec=9"),
        ("app-shop-job-tidy.service", "TimeoutStartSec=5"),
        ("app-shop-job-tidy.timer", "OnCalendar=Mon 06:00"),
        ("app-shop-job-tidy.timer", "Persistent=yes"),
        ("app-shop.slice", "MemoryMax=512M"),
        ("app-shop.slice", "CPUQuota=150%"),
        ("app-shop.slice", "TasksMax=256"),
    ],
)
def test_unit_says(rendered, unit, line):
    assert line in lines(rendered[unit])


def test_release_and_role_start_what_the_command_line_asks_for(role, released):
    wanted = ["app-shop@current.service", *apps.beside(APP)]
    assert role()["__app_started"] == released["units/started"].split() == wanted


def test_release_brings_along_the_units_that_are_rendered(role):
    found = role()
    brought = {
        name.removeprefix("units/"): text for name, text in found["__app_release_files"].items() if "units/" in name
    }
    del brought["started"]
    rendered = {path.removeprefix(FOLDER): said.get("content") for path, said in found["__app_units"].items()}
    assert brought == {name: text for name, text in rendered.items() if text}


def test_environment_leads_to_redis(role):
    assert role()["__app_environment"]["REDIS_URL"] == "unix:///run/app-shop-redis/redis.sock"
    assert "REDIS_URL" not in role(redis=False)["__app_environment"]


@pytest.mark.parametrize(("least", "adapts"), [(1, True), (4, False)])
def test_workers_come_and_go_between_two_numbers(role, least, adapts):
    ini = role(processes_min=least)["__app_release_files"]["uwsgi.ini"].splitlines()
    assert ("processes = 4" in ini, f"cheaper = {least}" in ini) == (True, adapts)


def test_request_may_take_as_long_as_the_description_says(released):
    assert "harakiri = 7" in released["uwsgi.ini"].splitlines()


def test_stop_wakes_the_master_by_a_signal_that_it_handles(released, rendered):
    """And that is ignored by one that doesn't handle it yet."""
    assert "while kill -s URG $MAINPID" in rendered["app-shop@.service"]
    ini = released["uwsgi.ini"].splitlines()
    assert f"hook-master-start = unix_signal:{signal.SIGURG.value} abs" in ini
