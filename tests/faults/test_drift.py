"""What somebody changes by hand on a live server is named, with what mends it; and on a fresh one, nothing is."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def drift(pytestconfig):
    """drift() is what `./sanso check --drift` found: its findings, each as JSON has it."""
    inventory = pytestconfig.getoption("--inventory").resolve()

    def drift():
        command = ["./sanso", "check", "--drift", "--json", "-i", inventory]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stderr
        answer = json.loads(done.stdout)
        assert answer["exit"] == done.returncode == bool(answer["findings"])
        return answer["findings"]

    return drift


@dataclass(frozen=True)
class Change:
    """command and undo: shell, as root; what, seen and next: parts of how it is named. APP stands for the app."""

    command: str
    undo: str
    what: str
    seen: str
    next: str

    def __str__(self):
        return self.what.replace(" ", "-")


def mysql(statement):
    return f"mysql -e {json.dumps(statement)}"


AGAIN = "ansible-playbook"
DECIDE = "somebody has to decide"


def edited(path, command, *named):
    """A file that goes back, its time too: it is not younger than who read it."""
    kept = f"/root/kept-{Path(path).name}"
    return Change(f"cp -a {path} {kept} && {command} {path}", f"cp -a {kept} {path} && rm {kept}", *named)


# Of what no inventory of ours sets: it is as the roles or the packages have it.
ADD = "echo '# by hand' >>"
CHANGES = [
    edited("/etc/sysctl.d/90-sanso.conf", ADD, "Settings | Render them", "-# by hand", AGAIN),
    edited("/usr/local/sbin/sanso-app", "chmod 0666", "Tool | Install", "", AGAIN),
    Change("systemctl stop fail2ban", "systemctl start fail2ban", "Access | Try who gets in", "", AGAIN),
    Change(
        "systemctl stop unattended-upgrades",
        "systemctl start unattended-upgrades",
        "unit unattended-upgrades.service",
        "-inactive",
        "'sudo systemctl start unattended-upgrades.service'",
    ),
    Change(
        "systemd-run --quiet --unit=by-hand false; sleep 1",
        "systemctl reset-failed by-hand",
        "unit by-hand.service",
        "-failed (exit-code)",
        DECIDE,
    ),
    Change(
        "printf '[Unit]\\n' >/etc/systemd/system/nginx.service.d/by-hand.conf",
        "rm /etc/systemd/system/nginx.service.d/by-hand.conf; systemctl daemon-reload",
        "unit file nginx.service",
        "-systemd has what was in them before",
        "sudo systemctl daemon-reload && sudo systemctl restart nginx.service",
    ),
    edited("/etc/nginx/mime.types", "touch", "daemon nginx", "-/etc/nginx/mime.types is of", "systemctl reload nginx"),
    edited(
        "/etc/mysql/mysql.conf.d/mysqld.cnf",
        "touch",
        "daemon mysql",
        "-/etc/mysql/mysql.conf.d/mysqld.cnf is of",
        "systemctl restart mysql",
    ),
    edited("/etc/ssh/sshd_config", "touch", "daemon ssh", "-/etc/ssh/sshd_config is of", "systemctl reload ssh"),
    Change(
        "sysctl -w net.ipv4.tcp_rfc1337=0",
        "sysctl -w net.ipv4.tcp_rfc1337=1",
        "sysctl net.ipv4.tcp_rfc1337",
        "-0",
        "'sudo sysctl -w net.ipv4.tcp_rfc1337=1'",
    ),
    Change(
        "nft add rule inet sanso_firewall input tcp dport 4444 accept",
        "systemctl reload nftables",
        "firewall inet sanso_firewall",
        "-\t\ttcp dport 4444 accept",
        "'sudo systemctl reload nftables'",
    ),
    Change("nft add table inet by_hand", "nft delete table inet by_hand", "firewall inet by_hand", "", DECIDE),
    Change(
        mysql("SET GLOBAL net_read_timeout = 77"),
        mysql("SET GLOBAL net_read_timeout = 30"),
        "mysql net_read_timeout",
        "-77",
        "SET GLOBAL net_read_timeout = 30",
    ),
    Change(
        mysql("SET PERSIST_ONLY long_query_time = 3"),
        mysql("RESET PERSIST long_query_time"),
        "mysql long_query_time (SET PERSIST)",
        "-set for all starts to come",
        "RESET PERSIST long_query_time",
    ),
    Change(
        mysql(
            "CREATE USER by_hand@localhost IDENTIFIED BY 'not to be told'; GRANT SELECT ON sys.* TO by_hand@localhost"
        ),
        mysql("DROP USER by_hand@localhost"),
        'mysql account "by_hand"@"localhost"',
        "-GRANT SELECT ON `sys`.* TO `by_hand`@`localhost`",
        DECIDE,
    ),
    Change(
        mysql("GRANT FILE ON *.* TO APP@localhost"),
        mysql("REVOKE FILE ON *.* FROM APP@localhost"),
        'mysql account "APP"@"localhost"',
        "-GRANT FILE ON *.* TO `APP`@`localhost`",
        "REVOKE FILE ON *.*",
    ),
    Change(
        mysql("CREATE SCHEMA by_hand"),
        mysql("DROP SCHEMA by_hand"),
        "mysql schema by_hand",
        "-a schema that no app has",
        DECIDE,
    ),
    Change(
        "printf '# by hand\\n' >/etc/sudoers.d/by-hand",
        "rm /etc/sudoers.d/by-hand",
        "file /etc/sudoers.d/by-hand",
        "-of no package, and none of ours",
        DECIDE,
    ),
    edited("/etc/logrotate.conf", ADD, "file /etc/logrotate.conf", "-changed", DECIDE),
    Change("apt-get remove -qq debsums", "apt-get install -qq --no-install-recommends debsums", "Packages", "", AGAIN),
]
# What else is to be seen of these: the drop-in lies beside ours.
BESIDES = {"file /etc/systemd/system/nginx.service.d/by-hand.conf"}


@pytest.fixture(scope="module")
def named(server, app):
    """named(text): with the app's name in it."""
    return lambda text: text.replace("APP", app.name)


@pytest.fixture(scope="module")
def findings(server, drift, named):
    """What is found while all of them are changed."""
    undo = []
    try:
        for change in CHANGES:
            undo.append(named(change.undo))
            done = server.host.run(named(change.command))
            assert done.succeeded, done.stderr
        return drift()
    finally:
        failed = [done for done in map(server.host.run, reversed(undo)) if done.failed]
        assert not failed


def test_nothing_is_found_on_a_server_as_it_was_built(drift):
    assert drift() == []


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_what_was_changed_by_hand_is_named(findings, named, change):
    found = [each for each in findings if named(change.what) in each["what"]]
    assert found, [each["what"] for each in findings]
    assert any(named(change.seen) in each["diff"] and change.next in each["next"] for each in found), found


def test_nothing_else_is_named(findings, named):
    expected = {named(change.what) for change in CHANGES} | BESIDES
    assert [each["what"] for each in findings if not any(what in each["what"] for what in expected)] == []


def test_no_password_is_told(findings):
    assert "not to be told" not in json.dumps(findings)


def test_nothing_is_found_once_all_of_it_is_taken_back(findings, drift):
    assert drift() == []
