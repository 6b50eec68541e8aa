"""The layer that all others stand on: who gets in, what listens, what is kept up to date, what is written down."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from client import knock
from evidence import CouldNotCheck, ask

GROUPS = {"web", "app", "db"}

POWERS = " KMGTPE"  # of 1024, as systemd counts


def test_server_knows_its_own_name(host):
    """Or sudo complains each time."""
    done = host.run("getent hosts $(hostname)")
    assert done.succeeded, host.run("cat /etc/hosts").stdout


# Admins


def test_admin_is_root_without_a_password(host, admin):
    done = host.run("runuser --user=%s -- sudo -n id -u", admin["name"])
    assert done.stdout == "0\n", done.stderr


def test_admin_has_no_password(host, admin):
    assert host.user(admin["name"]).password in {"*", "!", "!*", "!!"}


def test_admin_comes_in_with_their_keys_alone(host, sshd, admin):
    home = ask(host, "getent passwd %s", admin["name"]).split(":")[5]
    files = " ".join(f"{home}/{file}" for file in sshd["authorizedkeysfile"].split())
    lines = host.run(f"cat {files}").stdout.splitlines()  # a file that isn't there holds no key
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    assert sorted(found) == sorted(key.strip() for key in admin["keys"])


def test_sudo_gives_each_command_a_terminal_of_its_own(host):
    assert re.search("pseudo.?(tty|terminal)", ask(host, "sudo -V"), re.IGNORECASE)


# SSH


@pytest.fixture(scope="module")
def sshd(host):
    """Its settings for root, from anywhere. Newer ones spell the names with capitals."""
    lines = ask(host, "/usr/sbin/sshd -T -C user=root,host=client.invalid,addr=203.0.113.1").splitlines()
    settings = (line.partition(" ") for line in lines)
    return {name.lower(): value for name, _, value in settings}


def test_ssh_offers_keys_and_no_more(server, host):
    """What the server itself offers to somebody who has nothing."""
    nothing = ["-o", "PreferredAuthentications=none", "-o", "ControlPath=none", "-o", "BatchMode=yes"]
    said = subprocess.run([*server.way.command(*nothing), "true"], capture_output=True, text=True, timeout=30).stderr
    if not (offer := re.search(r"Permission denied \((.*)\)", said)):
        raise CouldNotCheck(f"could not check: ssh says {said}")
    password = {"password"} if server.settings["os_ssh_password_authentication"] else set()
    assert set(offer[1].split(",")) == {"publickey"} | password


def test_ssh_takes_a_password_only_if_the_inventory_says_so(server, sshd):
    wanted = "yes" if server.settings["os_ssh_password_authentication"] else "no"
    assert sshd["passwordauthentication"] == wanted


def test_root_logs_in_as_the_inventory_says(server, sshd):
    # Before OpenSSH 10, sshd shows prohibit-password by its older name.
    effective = sshd["permitrootlogin"].replace("without-password", "prohibit-password")
    assert effective == server.settings["os_ssh_permit_root_login"]


@pytest.fixture(scope="module")
def own(server):
    """What the inventory itself sets of sshd: it decides."""
    lines = server.settings["os_ssh_extra_settings"].splitlines()
    return {line.split()[0].lower() for line in lines if line.strip()}


FORWARDING = {True: "local", False: "no"}
ADVICE = {
    "allowagentforwarding": "no",
    "clientalivecountmax": "2",
    "clientaliveinterval": "300",
    "compression": "no",
    "debianbanner": "no",
    "gatewayports": "no",
    "hostbasedauthentication": "no",
    "ignorerhosts": "yes",
    "kbdinteractiveauthentication": "no",
    "logingracetime": "30",
    "loglevel": "VERBOSE",
    "maxauthtries": "4",
    "permitemptypasswords": "no",
    "permittunnel": "no",
    "permituserenvironment": "no",
    "pubkeyauthentication": "yes",
    "requiredrsasize": "2048",
    "strictmodes": "yes",
    "tcpkeepalive": "no",
    "usedns": "no",
    "x11forwarding": "no",
}


@pytest.mark.parametrize(("setting", "value"), ADVICE.items())
def test_sshd_setting_is(sshd, own, setting, value):
    if setting in own:
        pytest.skip("the inventory sets it (os_ssh_extra_settings)")
    # Newer ones say true and false.
    assert {"true": "yes", "false": "no"}.get(sshd[setting], sshd[setting]) == value


@pytest.mark.parametrize("setting", ["allowtcpforwarding", "allowstreamlocalforwarding"])
def test_ssh_forwards_from_the_clients_side_alone_if_at_all(server, sshd, own, setting):
    if setting in own:
        pytest.skip("the inventory sets it (os_ssh_extra_settings)")
    assert sshd[setting] == FORWARDING[server.settings["os_ssh_tcp_forwarding"]]


@pytest.mark.parametrize(
    ("setting", "good"),
    {
        "kexalgorithms": r"(mlkem768x25519|sntrup761x25519)-.*",
        "ciphers": r"chacha20-poly1305@.*|aes(128|256)-gcm@.*|aes(128|192|256)-ctr",
        "macs": r"hmac-sha2-(256|512)-etm@.*",
        "hostkeyalgorithms": r"ssh-ed25519|rsa-sha2-(256|512)",
    }.items(),
)
def test_ssh_offers_only_algorithms_that_auditors_like(sshd, own, setting, good):
    if setting in own:
        pytest.skip("the inventory sets it (os_ssh_extra_settings)")
    assert [name for name in sshd[setting].split(",") if not re.fullmatch(good, name)] == []


@pytest.fixture(scope="module")
def host_keys(host):
    """Kind to bits, as a client sees them."""
    files = [
        line.split()[1] for line in ask(host, "/usr/sbin/sshd -T").splitlines() if line.lower().startswith("hostkey ")
    ]
    described = [ask(host, "ssh-keygen -l -f %s", file) for file in files]
    return {line.split()[-1].strip("()"): int(line.split()[0]) for line in described}


def test_host_keys_are_ed25519_and_rsa_of_4096_bits(host_keys, own):
    if "hostkey" in own:
        pytest.skip("the inventory sets them (os_ssh_extra_settings)")
    assert host_keys == {"ED25519": 256, "RSA": 4096}


def test_ssh_answers_where_the_inventory_says(server, listeners):
    port = server.settings["os_ssh_port"] or server.way.port
    if port != server.way.port or not server.settings["os_ssh_port"]:
        pytest.skip("the way to it may go through somebody who forwards a port")
    assert re.search("sshd|systemd", listeners.get(port, "")), listeners


def test_nothing_is_on_trial(host):
    """What decides who gets in, and nobody has confirmed: it would go back within a minute, and at a reboot."""
    assert not host.file("/var/lib/sanso/access/trial").exists


# Firewall


@pytest.fixture(scope="module")
def input_chains(host):
    """The chains that every packet to this host passes."""
    rules = json.loads(ask(host, "nft --json list ruleset"))["nftables"]
    chains = [each["chain"] for each in rules if each.get("chain", {}).get("hook") == "input"]
    return [chain for chain in chains if chain["type"] == "filter"]


@pytest.fixture(scope="module")
def listeners(host):
    """What listens on TCP for more than this machine itself: port to the line of `ss`."""
    lines = ask(host, "ss -Hltnp").splitlines()
    return {
        int(line.split()[3].rpartition(":")[2]): " ".join(line.split())
        for line in lines
        if not re.match(r"127\.|\[::1\]|\[::ffff:127\.", line.split()[3])
    }


@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_firewall_drops_what_no_rule_lets_in(input_chains, family):
    dropping = [chain for chain in input_chains if chain["family"] in {family, "inet"} and chain["policy"] == "drop"]
    assert dropping, input_chains


def test_firewall_is_loaded_at_boot(host):
    service = host.service("nftables")
    assert (service.is_running, service.is_enabled) == (True, True)


def test_firewall_slows_down_who_opens_many_ssh_connections(host):
    rules = ask(host, "nft list chain inet sanso_firewall ssh").splitlines()
    limits = [line for line in rules if "limit rate over 2/second burst 20 packets" in line]
    assert len(limits) == 2, rules


@pytest.mark.parametrize("port", [23, 3306, 8000, 33060])
def test_closed_port_gives_no_answer(server, port):
    """Asked from here. Without a firewall, the kernel would refuse at once, which is an answer too."""
    if port in server.open_ports or str(port) in server.settings["os_firewall_extra_rules"]:
        pytest.skip("the inventory opens it")
    assert knock(server, port) == "no answer"


def test_only_open_ports_have_a_listener(server, listeners):
    extra = {int(number) for number in re.findall(r"\d+", server.settings["os_firewall_extra_rules"])}
    unexpected = [line for port, line in listeners.items() if port not in server.open_ports | extra]
    assert unexpected == []


# Bans


@pytest.fixture(scope="module")
def jail(server, host):
    """jail(setting) asks fail2ban for what it does about SSH."""
    if not server.settings["os_ban_after"]:
        pytest.skip("the inventory wants no bans")
    return lambda setting: ask(host, "fail2ban-client get sshd %s", setting).strip()


def test_bans_are_made_now_and_after_a_boot(jail, host):
    service = host.service("fail2ban")
    assert (service.is_running, service.is_enabled) == (True, True)


@pytest.mark.parametrize(
    ("setting", "variable", "factor"),
    [("maxretry", "os_ban_after", 1), ("bantime", "os_ban_minutes", 60), ("findtime", "os_ban_minutes", 60)],
)
def test_ban_is_as_the_inventory_says(server, jail, setting, variable, factor):
    assert int(jail(setting)) == server.settings[variable] * factor


def test_addresses_that_are_never_banned_are_those_of_the_inventory(server, jail):
    said = jail("ignoreip")
    assert [address for address in server.settings["os_ban_ignored"] if address not in said] == [], said


def test_bans_are_the_firewalls(jail):
    assert "nftables" in jail("actions")


def test_without_bans_there_is_no_fail2ban(server, host):
    if server.settings["os_ban_after"]:
        pytest.skip("the inventory wants bans")
    assert not host.file("/usr/bin/fail2ban-client").exists


# Kernel


def test_kernel_setting_is_in_force(host, sysctl):
    name, value = sysctl
    file = "/proc/sys/" + name.replace(".", "/")
    if host.run("test -w %s", file).failed:
        pytest.skip("this kernel, or the container that this is, doesn't let us set it")
    assert host.file(file).content_string.split() == value.split()


# Updates


@pytest.fixture(scope="module")
def apt(host):
    """apt's settings as it reads them: name to values."""
    settings = {}
    for name, value in re.findall(r'^(\S+?)(?:::)? "(.*)";$', ask(host, "apt-config dump"), re.MULTILINE):
        settings.setdefault(name, []).append(value)
    return settings


@pytest.mark.parametrize("job", ["Update-Package-Lists", "Unattended-Upgrade"])
def test_apt_does_its_daily_job(apt, job):
    assert apt.get(f"APT::Periodic::{job}") == ["1"]


def test_security_updates_are_installed(apt):
    origins = apt.get("Unattended-Upgrade::Allowed-Origins", []) + apt.get("Unattended-Upgrade::Origins-Pattern", [])
    assert any("security" in origin.lower() for origin in origins), origins


@pytest.mark.parametrize("timer", ["apt-daily.timer", "apt-daily-upgrade.timer"])
def test_timer_of_updates_runs_now_and_at_boot(host, timer):
    service = host.service(timer)
    assert (service.is_running, service.is_enabled) == (True, True)


def test_server_reboots_for_updates_only_when_the_inventory_says_so(server, apt):
    time = server.settings["os_upgrades_reboot_time"]
    reboot = apt.get("Unattended-Upgrade::Automatic-Reboot", ["false"])
    when = apt.get("Unattended-Upgrade::Automatic-Reboot-Time", [""])
    assert (reboot[-1], when[-1] if time else "") == ("true" if time else "false", time)


# Time


def test_one_time_daemon_is_enabled(host):
    """Two would fight."""
    daemons = "chrony.service systemd-timesyncd.service ntpsec.service openntpd.service"
    lines = ask(host, f"systemctl list-unit-files --no-legend {daemons}").splitlines()
    assert [line.split()[1] for line in lines].count("enabled") == 1, lines


def test_clock_is_synchronized(host):
    if host.run("systemd-detect-virt --container").succeeded:
        pytest.skip("a container's clock is its host's")
    assert ask(host, "timedatectl show --property=NTPSynchronized --value") == "yes", host.run("timedatectl").stdout


# Journal


@pytest.fixture(scope="module")
def journald(host):
    """Its settings, the last of each name from all its files."""
    lines = ask(host, "systemd-analyze cat-config systemd/journald.conf").splitlines()
    return dict(line.strip().split("=", 1) for line in lines if re.match(r"\s*\w+=", line))


def test_journal_is_written_to_disk(host):
    written = re.findall(r"^File path: (\S+/system\.journal)$", ask(host, "journalctl --header"), re.MULTILINE)
    assert [path.startswith("/var/log/journal/") for path in written] == [True], written


def test_journal_outlives_a_reboot(journald):
    assert journald.get("Storage") == "persistent"


def test_journal_has_the_limit_of_the_inventory(server, journald):
    assert journald.get("SystemMaxUse") == server.settings["os_journal_max_use"]


def test_journal_keeps_its_limit(server, host):
    used = re.search(r"take up ([\d.]+[KMGTPE]?)", ask(host, "journalctl --disk-usage"))[1]
    limit = str(server.settings["os_journal_max_use"])
    assert size(used) <= size(limit), used


def size(text):
    """In bytes."""
    number, unit = re.fullmatch(rf"([\d.]+)([{POWERS}]?)", text).groups()
    return float(number) * 1024 ** POWERS.index(unit or " ")


# All of it


def test_no_unit_has_failed(host):
    failed = [line.split()[0] for line in ask(host, "systemctl --failed --plain --no-legend").splitlines()]
    assert failed == [], host.run("systemctl status --no-pager " + " ".join(failed)).stdout
