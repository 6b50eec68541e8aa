"""The sandboxes of the units: what systemd says of them, and what the kernel holds each of their processes to."""

from __future__ import annotations

import re

import pytest
from evidence import ask
from sockets import processes

GROUPS = {"web", "app", "db"}

# What nobody but the unit sees, or what the unit can do nothing with.
PRIVATE = {"/tmp", "/var/tmp", "/dev/shm"}
KERNEL = re.compile(r"/proc|/dev/(pts|mqueue|hugepages)|/sys/fs/cgroup/.*/memory\.pressure|/run/host/.*")


@pytest.fixture(scope="module")
def found(host, sandbox):
    """The processes of the unit."""
    return processes(host, sandbox.unit)


def keep(sandbox):
    if sandbox.loosened:
        pytest.skip(f"the inventory loosens it ({sandbox.loosened})")


def test_exposure_is_at_most(host, sandbox):
    """systemd's own judgement of the unit, from 0 to 10; most units have 9."""
    keep(sandbox)
    report = ask(host, "systemd-analyze security --no-pager %s", sandbox.unit)
    exposure = float(re.search(r"Overall exposure level for .*: ([\d.]+)", report)[1])
    assert exposure <= sandbox.exposure, "\n".join(re.findall("✗.*", report))


def test_no_process_is_root(sandbox, found):
    keep(sandbox)
    assert {process.user for process in found} == {sandbox.user}


@pytest.mark.parametrize("groups", ["Uid", "Gid"])
def test_ids_are_the_same_four_times(found, groups):
    """Real, effective, saved and the file system's: none is left to go back to."""
    assert {len(set(process.status[groups].split())) for process in found} == {1}


def test_groups_are_only(host, sandbox, found):
    keep(sandbox)
    ids = {number for process in found for number in process.status["Groups"].split()}
    names = {ask(host, "getent group %s", number).split(":")[0] for number in ids}
    assert names - {sandbox.user} == sandbox.groups


@pytest.mark.parametrize("entry", ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
def test_capabilities_are_only(sandbox, found, entry):
    keep(sandbox)
    assert {int(process.status[entry], 16) for process in found} == {sandbox.capabilities}


def test_privileges_can_not_grow(sandbox, found):
    keep(sandbox)
    assert {process.status["NoNewPrivs"].strip() for process in found} == {"1"}


def test_system_calls_are_filtered_by_its_unit(host, sandbox, found):
    """Beyond what a container does to all processes, the first one too."""
    keep(sandbox)
    of_all = int(ask(host, "awk '/^Seccomp_filters:/ {print $2}' /proc/1/status"))
    assert [process for process in found if int(process.status["Seccomp_filters"]) <= of_all] == []


def test_its_own_folders_alone_are_writable(host, sandbox, found):
    """As the process sees them, whatever its unit says: systemd passes over what it can't set up."""
    keep(sandbox)
    script = (
        "for each in $(awk '{print $5}' /proc/%s/mountinfo | sort -u); do"
        ' ! test -w "/proc/%s/root$each" || echo "$each"; done'
    )
    writable = set(ask(host, script.replace("%s", str(found[0].pid))).splitlines())
    assert {each for each in writable if not KERNEL.fullmatch(each)} - sandbox.may_be_writable == (
        sandbox.writable | PRIVATE
    )


def test_shared_memory_is_its_own(host, found):
    places = ask(host, "stat --format=%%d:%%i /proc/%s/root/dev/shm /dev/shm", str(found[0].pid)).split()
    assert len(set(places)) == 2, places


def test_processes_of_others_are_invisible(host, sandbox, found):
    keep(sandbox)
    mounts = ask(host, "grep ' /proc ' /proc/%s/mountinfo", str(found[0].pid))
    assert "hidepid=invisible" in mounts


def test_unit_without_the_network_can_not_reach_out(server, host, sandbox, found):
    """From its network namespace, as root: there is nothing but the loopback."""
    if sandbox.network:
        pytest.skip("the inventory, or its work, lets it use the network")
    keep(sandbox)
    script = f"import socket; socket.create_connection(({server.address!r}, 22), 3)"
    done = host.run("nsenter --net=/proc/%s/ns/net python3 -c %s", str(found[0].pid), script)
    assert "Network is unreachable" in done.stderr, done.stderr or "it came through"


def test_unit_may_open_no_socket_but(host, sandbox):
    keep(sandbox)
    families = ask(host, "systemctl show --property=RestrictAddressFamilies --value %s", sandbox.unit)
    assert set(families.split()) == sandbox.families
