"""The app tier: each app in its own user, unit and socket, and nothing that it could reach beside them."""

from __future__ import annotations

import re

import pytest
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
    assert len(workers) == app.processes, workers


def test_processes_run_as_the_app_s_own_user(app, found):
    assert {process.user for process in found} == {app.name}


def test_user_of_the_app_can_not_log_in(host, app):
    user = host.user(app.name)
    assert (user.shell, user.password[:1]) == ("/usr/sbin/nologin", "!")


# Sockets


def test_app_has_no_tcp_socket(app, found):
    if app.network:
        pytest.skip("the inventory lets it use the network")
    assert {process.pid: process.foreign_sockets for process in found if process.foreign_sockets} == {}


def test_app_has_one_door(host, app):
    assert doors(host, app.service) == {app.socket}


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


# The sandbox, in force: what the kernel says of each process


@pytest.mark.parametrize(
    ("entry", "value"),
    {
        "NoNewPrivs": "1",
        "Seccomp": "2",
        "CapEff": "0000000000000000",
        "CapPrm": "0000000000000000",
        "CapBnd": "0000000000000000",
        "CapAmb": "0000000000000000",
    }.items(),
)
def test_kernel_holds_the_app(found, entry, value):
    assert {process.status[entry].strip() for process in found} == {value}


def test_app_may_use_only_the_sockets_that_it_needs(app, properties):
    network = {"AF_INET", "AF_INET6"} if app.network else set()
    assert set(properties.get("RestrictAddressFamilies", "any").split()) == {"AF_UNIX", "AF_NETLINK"} | network


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


def test_app_may_write_to_its_shared_folder_alone(app, properties):
    """And to its logs, of which only the two files are the app's."""
    assert properties["ReadWritePaths"] == f"/srv/{app.name}/shared -/var/log/sanso/{app.name}"


def test_exposure_is_small(host, app):
    """systemd's own judgement of the unit, from 0 to 10; most units have 9."""
    report = ask(host, "systemd-analyze security --no-pager %s", app.service)
    exposure = float(re.search(r"Overall exposure level for .*: ([\d.]+)", report)[1])
    assert exposure <= (1.5 if app.network else 0.5), "\n".join(re.findall("✗.*", report))
