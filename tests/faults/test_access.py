"""A change that would lock us out is taken back: at once, by a timer if nobody is left to do it, and at a reboot.

And who tries keys is banned, while everybody else gets in.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time

import pytest

TRIAL = "/var/lib/sanso/access/trial"
MINUTE = 60
STRANGERS_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPGKz4ZblTbIVVFVacV75FCzPmKJVydWF1aniUc5TLc1 stranger"
# What is in force, as those say who go by it; {home}: of the inventory's user.
IN_FORCE = """
sha256sum /etc/ssh/sshd_config.d/* /etc/sudoers.d/* /etc/nftables.conf /etc/ssh/ssh_host_* {home}/.ssh/authorized_keys
/usr/sbin/sshd -T
nft --stateless list chain inet sanso_firewall input
ss -Hltn 'sport = :{port}' | wc -l
find /var/lib/sanso/access /etc/systemd/system -name trial -o -name 'sanso-access*'
"""
# What would lock us out, and what the message says of it. {user}, {port}: of the inventory.
LOCKED_OUT = {
    "wrong port": ({"os_ssh_extra_settings": "Port 2222"}, ["no SSH server listens there", "os_ssh_extra_settings"]),
    "firewall": (
        {"os_firewall_extra_rules": "tcp dport {port} drop"},
        ["a firewall drops what we send", "os_firewall_extra_rules: tcp dport"],
    ),
    "only others": ({"os_ssh_extra_settings": "AllowUsers nobody"}, ["Permission denied", "AllowUsers nobody"]),
    "no sudo": ({"os_sudo_extra_rules": "Defaults:{user} requiretty"}, ["sorry, you must have a tty", "os_sudo_extra"]),
    "bad key": ({"os_admins": [{"name": "{user}", "keys": [STRANGERS_KEY]}]}, ["Permission denied", "os_admins"]),
}
# What is refused before anything is replaced, and by whom.
NOT_VALID = {
    "sshd": ({"os_ssh_extra_settings": "Nonsense yes"}, "Bad configuration option: Nonsense"),
    "sudo": ({"os_sudo_extra_rules": "nonsense here"}, "syntax error"),
    "firewall": ({"os_firewall_extra_rules": "nonsense"}, "syntax error"),
}


@pytest.fixture
def in_force(server):
    """in_force() is the state of what decides who gets in."""
    home = server.host.user(server.way.user).home
    return lambda: server.host.check_output(IN_FORCE.format(home=home, port=server.way.port))


@pytest.fixture
def come_in(server):
    """come_in() makes a new connection, becomes root on it, and returns what went wrong, if anything did."""

    def come_in(*options, seconds=5):
        anew = ["ControlMaster=no", "ControlPath=none", "BatchMode=yes", f"ConnectTimeout={seconds}"]
        words = [word for option in anew for word in ("-o", option)]
        command = [*server.way.command(*words, *options), "sudo -k -n true"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=3 * seconds)
        except subprocess.TimeoutExpired:
            return "timed out"
        return done.stderr.strip() or done.returncode

    return come_in


def filled(variables, server):
    """With the inventory's own user and port."""
    text = json.dumps(variables).replace("{user}", server.way.user).replace("{port}", str(server.way.port))
    return {**json.loads(text), "ansible_timeout": 3}


@pytest.mark.parametrize("case", LOCKED_OUT)
def test_change_that_would_lock_us_out_is_taken_back_and_explained(server, play, in_force, come_in, case):
    variables, words = LOCKED_OUT[case]
    before = in_force()
    done = play("access", **filled(variables, server))
    assert done.failed, done.said
    assert [word for word in [*words, "nothing was changed"] if word not in done.said] == [], done.said
    assert come_in() == 0
    assert in_force() == before


@pytest.mark.parametrize("case", NOT_VALID)
def test_file_that_is_not_valid_replaces_nothing(play, in_force, case):
    variables, words = NOT_VALID[case]
    before = in_force()
    done = play("access", **variables)
    assert done.failed, done.said
    assert words in done.said
    assert in_force() == before


def test_port_that_another_one_has_is_given_back(server, play, in_force, come_in):
    before = in_force()
    server.host.check_output("systemd-run --quiet --unit=sanso-check-port python3 -m http.server 2222")
    try:
        done = play("access", os_ssh_port=2222, ansible_timeout=3)
        assert done.failed, done.said
        assert "nothing was changed" in done.said or "The old settings were put back." in done.said, done.said
    finally:
        server.host.check_output("systemctl stop sanso-check-port")
    assert come_in() == 0
    assert in_force() == before


def test_new_port_is_added_and_the_old_one_closes_when_the_inventory_says_so(server, play, in_force, come_in):
    before, port = in_force(), server.way.port
    try:
        done = play("access", os_ssh_port=2222)
        assert done.succeeded, done.said
        assert done.says("Set ansible_port: 2222")
        assert (come_in(), come_in("-o", "Port=2222")) == (0, 0)
        assert play("access", os_ssh_port=2222, ansible_port=2222).succeeded
        assert "timed out" in str(come_in(seconds=1))
    finally:
        done = play("access", os_ssh_port=port, ansible_port=2222)
        done = play("access")
    assert done.succeeded, done.said
    assert come_in() == 0
    assert in_force() == before


@contextlib.contextmanager
def trying(server, engine, on_top, settings):
    """A run that has just armed the return of the old settings: yields when, and ends it and all that it started."""
    with engine.begun("access", on_top(**filled(settings, server) | {"ansible_timeout": 30})) as run:
        deadline = time.monotonic() + MINUTE
        while server.host.run(f"test -e {TRIAL}").failed:
            assert run.poll() is None, run.returncode
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield time.monotonic()


def wait_for(come_in, since):
    """Seconds from then until somebody gets in."""
    while (said := come_in()) != 0:
        assert time.monotonic() < since + 2 * MINUTE, said
        time.sleep(0.5)
    return time.monotonic() - since


@pytest.mark.ansible_only(reason="the server's own timer, which the test of a reboot sees armed by either engine")
def test_dead_controller_leaves_the_old_settings_back_within_a_minute(server, engine, on_top, play, in_force, come_in):
    before = in_force()
    with trying(server, engine, on_top, LOCKED_OUT["firewall"][0]) as armed:
        second = play("access")
        assert second.failed, second.said
        assert second.says("another run is trying new settings")
    assert come_in(seconds=1) != 0
    assert wait_for(come_in, armed) < MINUTE
    assert in_force() == before


def test_reboot_brings_the_old_settings_back_before_anything_uses_the_new_ones(
    server, ready, boot, engine, on_top, in_force, come_in
):
    before = in_force()
    with trying(server, engine, on_top, LOCKED_OUT["firewall"][0]):
        server.host.run("systemctl poweroff")
    boot()
    assert come_in() == 0
    ended = json.loads(server.host.check_output("cat /var/lib/sanso/access/last.json"))
    assert (ended["kept"], ended["problems"]) == (False, [])
    # As systemd knows it: the journal may have begun later than all this.
    (back,) = moments(server.host, "ExecMainExitTimestampMonotonic", "sanso-access")
    assert 0 < back < min(moments(server.host, "InactiveExitTimestampMonotonic", "nftables ssh.service ssh.socket"))
    deadline = time.monotonic() + MINUTE
    while health(ready) != 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert in_force() == before


def moments(host, what, units):
    """When that happened to these units since the boot, in microseconds; without those to which it didn't."""
    said = host.check_output(f"systemctl show --value --property={what} {units}")
    return [int(each) for each in said.split() if int(each)]


def health(ready):
    try:
        return ready().status
    except OSError:  # nginx isn't there yet
        return None


def test_good_run_after_all_that_changes_nothing(play):
    done = play("access")
    assert done.succeeded, done.said
    assert done.changed == 0, done.said


# Bans


@pytest.fixture
def stranger(server):
    """Another address of this computer, on the machines' bridge."""
    address = server.address.rpartition(".")[0] + ".254"
    bridge = json.loads(subprocess.check_output(["ip", "-json", "route", "get", server.address]))[0]["dev"]
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    subprocess.run([*sudo, "ip", "address", "replace", f"{address}/32", "dev", bridge], check=True)
    server.host.run(f"fail2ban-client set sshd unbanip {address}")  # from a test that was broken off
    try:
        yield address
    finally:
        server.host.run(f"fail2ban-client set sshd unbanip {address}")
        subprocess.run([*sudo, "ip", "address", "delete", f"{address}/32", "dev", bridge], check=True)


def is_shut_to(server, address):
    """Whether the firewall keeps this address from the SSH server. What sshd itself says doesn't count."""
    try:
        socket.create_connection((server.address, server.way.port), timeout=2, source_address=(address, 0)).close()
    except (ConnectionRefusedError, TimeoutError):
        return True
    return False


def test_address_that_fails_is_banned_and_no_other_one(server, stranger, come_in):
    if not server.settings["os_ban_after"]:
        pytest.skip("the inventory wants no bans")
    assert not is_shut_to(server, stranger)
    deadline = time.monotonic() + MINUTE
    while not is_shut_to(server, stranger):
        assert time.monotonic() < deadline, server.host.run("fail2ban-client status sshd").stdout
        come_in("-b", stranger, "-l", "nobody-at-all", seconds=1)
    jail = server.host.check_output("fail2ban-client status sshd")
    assert stranger in jail
    assert come_in() == 0
    server.host.check_output(f"fail2ban-client set sshd unbanip {stranger}")
    deadline = time.monotonic() + MINUTE
    while is_shut_to(server, stranger):  # fail2ban does it by and by
        assert time.monotonic() < deadline, server.host.run("nft list table inet f2b-table").stdout
        time.sleep(0.5)
