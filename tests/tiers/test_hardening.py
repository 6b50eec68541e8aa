"""What the operating system lets be done: the kernel, modules, mounts, passwords, and who notices what changed."""

from __future__ import annotations

import re

import pytest
from evidence import ask

GROUPS = {"web", "app", "db"}

KERNEL = {
    "kernel.kptr_restrict": "2",
    "kernel.dmesg_restrict": "1",
    "kernel.unprivileged_bpf_disabled": "1",
    "net.core.bpf_jit_harden": "2",
    "kernel.randomize_va_space": "2",
    "dev.tty.ldisc_autoload": "0",
    "fs.protected_symlinks": "1",
    "fs.protected_hardlinks": "1",
    "fs.protected_fifos": "2",
    "fs.protected_regular": "2",
    "fs.suid_dumpable": "0",
    "net.ipv4.conf.all.log_martians": "1",
    "net.ipv4.icmp_echo_ignore_broadcasts": "1",
    "net.ipv4.tcp_rfc1337": "1",
}
# Of every interface, "all" and "default" among them
OF_INTERFACES = {
    "ipv4": ["accept_redirects", "secure_redirects", "send_redirects", "accept_source_route"],
    "ipv6": ["accept_redirects", "accept_source_route"],
}
BLOCKED = ["dccp", "sctp", "rds", "tipc", "cramfs", "freevxfs", "firewire-core", "vivid"]
# UEFI's partition, snaps, Azure's settings, Docker
NEEDED = ["vfat", "squashfs", "udf", "overlay", "br_netfilter"]


def is_strict(server, measure):
    """Whether the inventory asks for a measure of the profile strict."""
    settings = server.settings
    return settings["hardening_profile"] == "strict" and measure not in settings["hardening_strict_exceptions"]


@pytest.fixture(scope="module")
def in_container(host):
    return host.run("systemd-detect-virt --container").succeeded


# The kernel


@pytest.mark.parametrize(("name", "value"), KERNEL.items(), ids=KERNEL)
def test_kernel_setting_is_in_force(server, host, name, value):
    if name in server.settings["os_sysctl"]:
        pytest.skip("the inventory sets it")
    if name == "fs.suid_dumpable" and server.settings["hardening_core_dumps"]:
        pytest.skip("the inventory wants core dumps")
    file = "/proc/sys/" + name.replace(".", "/")
    if host.run("test -w %s", file).failed:
        pytest.skip("this kernel, or the container that this is, doesn't let us set it")
    assert host.file(file).content_string.strip() == value


@pytest.mark.parametrize(
    ("family", "setting"), [(family, setting) for family, settings in OF_INTERFACES.items() for setting in settings]
)
def test_no_interface_lets_others_choose_its_way(host, family, setting):
    values = ask(host, f"grep -H '' /proc/sys/net/{family}/conf/*/{setting}").splitlines()
    assert [value for value in values if not value.endswith(":0")] == []


@pytest.fixture(scope="module")
def modprobe(host):
    """What modprobe is told: `modprobe --showconfig`, or the files themselves where there is none (a container)."""
    files = "cat /lib/modprobe.d/*.conf /etc/modprobe.d/*.conf /run/modprobe.d/*.conf 2>/dev/null"
    # The kernel, and this, take "-" and "_" for the same.
    lines = ask(host, f"modprobe --showconfig 2>/dev/null || {files} || true").replace("-", "_").splitlines()
    return {line for line in lines if line.startswith(("install ", "blacklist "))}


@pytest.mark.parametrize("module", BLOCKED)
def test_module_that_nobody_needs_cannot_be_loaded(server, modprobe, module):
    if module in server.settings["hardening_modules_allowed"]:
        pytest.skip("the inventory allows it")
    assert f"install {module.replace('-', '_')} /bin/false" in modprobe


@pytest.mark.parametrize("module", ["usb-storage", "uas"])
def test_usb_disks_are_refused_by_strict_only(server, modprobe, module):
    blocked = f"install {module.replace('-', '_')} /bin/false" in modprobe
    allowed = module in server.settings["hardening_modules_allowed"]
    assert blocked == (is_strict(server, "usb") and not allowed)


@pytest.mark.parametrize("module", NEEDED)
def test_module_that_others_need_stays_loadable(modprobe, module):
    assert [line for line in modprobe if line.split()[1] == module] == []


def test_server_still_forwards_for_docker_if_it_is_told_to(server, host):
    """No file says that it must not: Docker switches it on, and the next run would switch it off."""
    if is_strict(server, "routing"):
        pytest.skip("strict, which is for servers that forward nothing")
    files = "cat /usr/lib/sysctl.d/*sanso* /etc/sysctl.d/*sanso* 2>/dev/null"
    lines = [line.strip() for line in host.run(files).stdout.splitlines() if not line.startswith("#")]
    own = [line for line in lines if re.search(r"ip_forward|\.forwarding", line)]
    assert [line for line in own if line.split("=")[0].strip(" -") not in server.settings["os_sysctl"]] == []


# Core dumps


@pytest.mark.parametrize("command", ["bash -lc 'ulimit -Hc'", "systemctl show --property=DefaultLimitCORE --value"])
def test_crashed_process_leaves_no_memory_on_disk(server, host, command):
    if server.settings["hardening_core_dumps"]:
        pytest.skip("the inventory wants core dumps")
    assert ask(host, command) == "0"


# Mounts


def mount_options(host, path):
    return set(host.run("findmnt --noheadings --output OPTIONS --mountpoint %s", path).stdout.strip().split(","))


@pytest.mark.parametrize("option", ["nosuid", "nodev", "noexec"])
def test_shared_memory_runs_nothing(host, option):
    assert option in mount_options(host, "/dev/shm")


def test_programs_in_tmp_run_unless_strict(server, host):
    """apt asks a package's questions with programs from there, and pip builds there."""
    options = mount_options(host, "/tmp")
    if options == {""}:
        pytest.skip("/tmp is no mount of its own")
    assert ("noexec" in options) == is_strict(server, "tmp")


def test_processes_of_others_are_hidden_by_strict_only(server, host):
    hidden = any(option.startswith("hidepid=") for option in mount_options(host, "/proc"))
    assert hidden == is_strict(server, "proc")


# Passwords and people


def test_nobody_who_has_only_keys_is_locked_out_by_a_date(host):
    """sshd asks about the age of a password also where a key opened, and none fits."""
    shells = {line.split(":")[0] for line in ask(host, "getent passwd").splitlines() if line.endswith("sh")}
    entries = [line.split(":") for line in ask(host, "getent shadow").splitlines()]
    dated = [
        f"{name}: at most {most or '-'} days, until {until or '-'}"
        for name, password, _, _, most, _, _, until, *_ in entries
        if name in shells and password[:1] in {"*", "!", ""} and (until or int(most or 99999) < 9999)
    ]
    assert dated == []


def test_new_password_has_to_be_a_good_one(server, host):
    settings = ask(host, "cat /etc/security/pwquality.conf /etc/security/pwquality.conf.d/*.conf")
    least = re.findall(r"^minlen\s*=\s*(\d+)", settings, re.MULTILINE)
    assert least[-1:] == [str(server.settings["hardening_password_length"])]
    assert "pam_pwquality.so" in host.file("/etc/pam.d/common-password").content_string


def test_wrong_passwords_lock_a_user_only_in_strict(server, host):
    said = ask(host, "cat /etc/pam.d/common-auth /etc/pam.d/common-account")
    assert ("pam_faillock.so" in said) == is_strict(server, "faillock")
    assert "even_deny_root" not in said


def test_su_is_for_everyone_unless_strict(server, host):
    lines = [line for line in host.file("/etc/pam.d/su").content_string.splitlines() if not line.startswith("#")]
    assert any("pam_wheel.so" in line for line in lines) == is_strict(server, "su")


@pytest.mark.parametrize("path", ["/etc/issue", "/etc/issue.net"])
def test_console_says_whose_system_it_is(server, host, path):
    assert host.file(path).content_string.strip() == server.settings["hardening_banner"].strip()


@pytest.mark.parametrize("path", ["/etc/crontab", "/etc/cron.d", "/etc/cron.weekly", "/etc/ssh/sshd_config"])
def test_only_root_reads(host, path):
    file = host.file(path)
    if not file.exists:
        pytest.skip("there is none")
    assert (file.user, oct(file.mode & 0o077)) == ("root", "0o0")


# Updates


def test_security_update_is_not_held_up_by_a_file_that_is_managed(host):
    """Where it would have to ask about a file, unattended-upgrades leaves the package out."""
    assert "--force-confold" in ask(host, "apt-config dump DPkg::Options")


# Who notices


def test_files_are_looked_at_every_so_often(host):
    timer = ask(host, "systemctl show sanso-integrity.timer --property=ActiveState,NextElapseUSecRealtime")
    assert re.search(r"^ActiveState=active$", timer, re.MULTILINE)
    assert re.search(r"^NextElapseUSecRealtime=.+$", timer, re.MULTILINE), timer


def test_hardening_comes_back_after_a_reboot(host):
    units = ask(host, "systemctl is-enabled sanso-hardening.target sanso-mounts.service").split()
    assert units == ["enabled", "enabled"]


def test_every_file_of_a_package_is_what_its_package_brought(host):
    """As the last look found it; the journal has the names."""
    words = ask(host, "systemctl show sanso-integrity.service --property=Result,ExecMainExitTimestampMonotonic --value")
    if "0" in words.split():
        pytest.skip("no look has been taken yet: systemctl start sanso-integrity")
    assert "success" in words.split(), host.run("journalctl -u sanso-integrity -n 20 -o cat --no-pager").stdout


def test_audit_writes_down_who_changes_the_settings_of_users(host, in_container):
    if in_container:
        pytest.skip("a container has no audit of its own: its host's kernel does that")
    assert host.service("auditd").is_running
    assert "key=identity" in ask(host, "auditctl -l")


def test_apparmor_enforces_every_profile_that_is_loaded(host):
    if host.run("grep -qx Y /sys/module/apparmor/parameters/enabled && test -r /sys/kernel/security/apparmor").failed:
        pytest.skip("this kernel, or the container that this is, has no AppArmor")
    profiles = ask(host, "cat /sys/kernel/security/apparmor/profiles").splitlines()
    assert [profile for profile in profiles if not profile.endswith(("(enforce)", "(unconfined)"))] == []
