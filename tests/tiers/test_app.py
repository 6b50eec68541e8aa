"""The app tier: each app in its own user, unit and socket, and nothing that it could reach beside them."""

from __future__ import annotations

import email
import re

import pytest
from client import request
from evidence import as_user, ask, connect_attempt, journal, modes, read_attempt
from sockets import doors, processes

GROUPS = {"app"}


@pytest.fixture(scope="module")
def found(host, app):
    """The processes of the app's unit."""
    return processes(host, app.service)


@pytest.fixture(scope="module")
def workers(found):
    pids = {process.pid for process in found}
    return [process for process in found if process.parent in pids]


@pytest.fixture(scope="module")
def properties(host, app):
    """The unit's, as systemd took them."""
    lines = ask(host, "systemctl show %s", app.service).splitlines()
    return dict(line.split("=", 1) for line in lines)


# The unit


@pytest.mark.parametrize("kind", ["service", "socket"])
def test_app_runs_now_and_at_boot(host, app, kind):
    unit = f"app-{app.name}@current.{kind}"
    service = host.service(unit)
    assert (service.is_running, service.is_enabled) == (True, True), journal(host, unit)


def test_app_answers_on_its_socket(host, app):
    """Without nginx."""
    done = host.run("/usr/local/sbin/sanso-app get %s %s %s", app.socket, app.health_path, app.host_name)
    assert done.succeeded, f"{done.stdout}{done.stderr}\n{journal(host, app.service)}"


def test_workers_are_as_many_as_the_inventory_says(app, workers):
    """As many as there is work for just now, within its limits."""
    assert app.processes_min <= len(workers) <= app.processes, workers


def test_processes_run_as_the_app_s_own_user(app, found):
    assert {process.user for process in found} == {app.name}


def test_user_of_the_app_can_not_log_in(host, app):
    user = host.user(app.name)
    assert (user.shell, user.password[:1]) == ("/usr/sbin/nologin", "!")


def test_security_header_that_the_app_sends_wins(server, host, app):
    """What it says on its own socket is what comes through nginx, once."""
    if "web" not in server.groups:
        pytest.skip("nginx is on another host")
    said = ask(host, "/usr/local/sbin/sanso-app get %s / %s || true", app.socket, app.host_name)
    own = email.message_from_string(said.partition("\r\n")[2])
    sent = {name: [own[name]] for name in server.headers_of(app) if own[name] and "nonce-" not in own[name]}
    answer = request(server, app.host_name, app.at("/"))
    assert {name: answer.headers.get_all(name) for name in sent} == sent, answer


# What runs beside its pages: its Redis, its workers, its timers


def test_unit_beside_the_pages_runs_now_and_at_boot(host, beside):
    _, unit = beside
    service = host.service(unit)
    assert (service.is_running, service.is_enabled) == (True, True), journal(host, unit)


def test_worker_runs_the_current_release(host, beside):
    app, unit = beside
    if "-worker-" not in unit:
        pytest.skip("it runs no code of the release")
    release = ask(host, "readlink --canonicalize %s", app.current)
    assert {process.folder for process in processes(host, unit)} == {f"{release}/app"}


def test_no_unit_is_left_of_what_the_inventory_no_longer_has(host, app):
    listing = "systemctl list-unit-files --plain --no-legend 'app-%s-*' | cut -d' ' -f1"
    found = set(ask(host, listing.replace("%s", app.name)).split())
    templates = {re.sub("@[0-9]+", "@", unit) for unit in app.beside}
    jobs = {unit.replace(".timer", ".service") for unit in app.beside if unit.endswith(".timer")}
    known = templates | jobs
    assert {unit for unit in found if re.sub("@[0-9]+", "@", unit) not in known} == set()


def test_limits_are_those_of_the_inventory(host, app):
    """Of all its processes together, as systemd holds them."""
    asked = "systemctl show --property=MemoryMax,CPUQuotaPerSecUSec,TasksMax app-%s.slice"
    shown = dict(line.split("=", 1) for line in ask(host, asked, app.name).splitlines())
    memory = int(ask(host, "awk '/^MemTotal/ { print $2 * 1024 }' /proc/meminfo"))
    wanted = {"memory": "80%", "cpu": "", "tasks": 256, **app.limits}
    assert octets(shown["MemoryMax"], memory) == pytest.approx(octets(str(wanted["memory"]), memory), rel=0.01)
    assert shown["TasksMax"] == str(wanted["tasks"])
    assert (shown["CPUQuotaPerSecUSec"] == "infinity") == (not wanted["cpu"])


def octets(text: str, memory: int) -> float:
    """A size as systemd reads it."""
    if text == "infinity":
        return float("inf")
    if text.endswith("%"):
        return memory * float(text[:-1]) / 100
    return float(text.rstrip("KMGT")) * 1024 ** " KMGT".index(text[-1] if text[-1] in "KMGT" else " ")


def test_all_processes_of_the_app_are_within_its_limits(host, app):
    units = [app.service, *(unit for unit in app.beside if unit.endswith(".service"))]
    slices = {unit: ask(host, "systemctl show --property=Slice --value %s", unit) for unit in units}
    assert set(slices.values()) == {f"app-{app.name}.slice"}, slices


# Redis


def test_redis_answers_the_app(host, redis):
    assert ask(host, f"{as_user(redis.name)} redis-cli -s %s ping", redis.redis_socket) == "PONG"


@pytest.mark.parametrize(
    ("name", "value"),
    {"port": "0", "appendonly": "yes", "maxmemory-policy": "noeviction", "protected-mode": "yes"}.items(),
)
def test_redis_has(host, redis, name, value):
    said = ask(host, f"redis-cli -s %s --raw config get {name}", redis.redis_socket)
    assert said.split() == [name, value]


def test_redis_listens_on_its_socket_alone(host, redis):
    assert doors(host, redis.redis_unit) == {redis.redis_socket}
    assert [each.foreign_sockets for each in processes(host, redis.redis_unit)] == [{}]


def test_redis_of_the_package_does_not_run(host, redis):
    service = host.service("redis-server.service")
    assert (service.is_running, service.is_enabled) == (False, False), journal(host, "redis-server.service")


def test_redis_is_closed_to(host, stranger):
    app, user = stranger
    if not app.redis:
        pytest.skip("the inventory gives it none")
    assert connect_attempt(host, app.redis_socket, user) == "EACCES", modes(host, app.redis_socket)


def test_shared_folder_is_closed_to(host, stranger):
    app, user = stranger
    folder = f"/srv/{app.name}/shared/."
    assert read_attempt(host, folder, user) == "EACCES", modes(host, folder)


# Sockets


def test_app_has_no_tcp_socket(app, found):
    if app.network:
        pytest.skip("the inventory lets it use the network")
    assert {process.pid: process.foreign_sockets for process in found if process.foreign_sockets} == {}


def test_app_has_one_door(host, app):
    assert doors(host, app.service) == {app.socket}


def test_socket_has_room_for_all_that_nginx_hands_over(host, app, found):
    command = "nsenter --net=/proc/%s/ns/net ss -Hxln src %s"
    room = int(ask(host, command, str(found[0].pid), app.socket).split()[3])
    assert room >= app.waiting_max + app.processes * app.threads


def test_app_is_cut_off_from_the_network(host, app, found):
    if app.network:
        pytest.skip("the inventory lets it use the network")
    interfaces = ask(host, "nsenter --net=/proc/%s/ns/net ls /proc/self/net/dev_snmp6", str(found[0].pid)).split()
    own = ask(host, "readlink /proc/1/ns/net") not in {process.network for process in found}
    assert (own, interfaces) == (True, ["lo"])


def test_socket_opens_for_nginx(server, host, app):
    group = server.settings["app_web_group"]
    assert connect_attempt(host, app.socket, "www-data", group) == "done", modes(host, app.socket)


def test_socket_is_closed_to(host, outsider):
    app, user = outsider
    assert connect_attempt(host, app.socket, user) == "EACCES", modes(host, app.socket)


# The release


def test_current_release_is_one_of_the_releases(host, app):
    assert re.fullmatch(rf"/srv/{app.name}/releases/\w+", ask(host, "readlink --canonicalize %s", app.current))


def test_workers_run_the_current_release(host, app, workers):
    release = ask(host, "readlink --canonicalize %s", app.current)
    assert {worker.folder for worker in workers} == {f"{release}/app"}


def test_release_belongs_to_root(host, app):
    assert ask(host, "find %s/ ! -user root -printf '%%u %%p\\n'", app.current) == ""


def test_release_is_closed_to_changes_by_the_app(host, app):
    writable = "find %s/ ! -type l -writable -printf '%%M %%p\\n' , -type d ! -readable -prune"
    assert ask(host, f"{as_user(app.name)} {writable}", app.current) == ""


@pytest.mark.parametrize("user", ["nobody", "www-data"])
def test_settings_are_closed_to(host, app, user):
    assert read_attempt(host, f"{app.current}/environment", user) == "EACCES", modes(host, f"{app.current}/environment")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/nginx/tls/{app.name}.pem",
        "/etc/shadow",
        "/etc/ssh/ssh_host_ed25519_key",
        "/var/lib/mysql/mysql.ibd",
        "/var/log/nginx/access.log",
    ],
)
def test_app_can_not_read(host, app, found, path):
    """As its unit's user, in its unit's groups."""
    path = path.format(app=app)
    if not host.file(path).exists:
        pytest.skip("it isn't on this host")
    groups = found[0].status["Groups"].split()
    assert read_attempt(host, path, app.name, *groups) == "EACCES", modes(host, path)


# The sandbox; what holds for every unit is in test_sandboxes.py


@pytest.mark.parametrize(
    ("name", "value"),
    {
        "ProtectProc": "invisible",
        "PrivateDevices": "yes",
        "PrivateUsers": "yes",
        "RestrictNamespaces": "yes",
        "MemoryDenyWriteExecute": "yes",
    }.items(),
)
def test_unit_has(properties, name, value):
    assert properties[name] == value


# What a process of the app sees at / is what it sees, whatever its unit says: systemd passes over what it can't set up


@pytest.fixture(scope="module")
def inside(found):
    """The root of the app's file system."""
    return f"/proc/{found[0].pid}/root"


@pytest.mark.parametrize("folder", ["/", "/etc", "/srv", "/usr", "/var"])
def test_file_system_of_the_app_is_read_only_at(host, inside, folder):
    assert host.run("test -w %s", inside + folder).failed


@pytest.mark.parametrize("folder", ["/home", "/root"])
def test_app_sees_nothing_in(host, inside, folder):
    assert ask(host, "find %s -mindepth 1", inside + folder) == ""


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp"])
def test_app_has_its_own(host, found, inside, folder):
    """One in which it can write, and that nobody else sees."""
    places = set(ask(host, "stat --format=%%d:%%i %s %s", inside + folder, folder).split())
    writable = host.run("test -w %s", inside + folder).succeeded
    mounts = host.run("grep --fixed-strings %s /proc/%s/mountinfo", f" {folder} ", str(found[0].pid)).stdout
    assert (len(places), writable) == (2, True), mounts
