"""What somebody changes by hand on a live server is named, with what mends it; and on a fresh one, nothing is."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 30  # for one host, on a computer that has other things to do too


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


@pytest.fixture
def by_hand(server):
    """by_hand(command, undo) changes the server, until the test's end."""
    undone = []

    def by_hand(command, undo):
        undone.append(undo)
        done = server.host.run(command)
        assert done.succeeded, done.stderr

    yield by_hand
    for undo in reversed(undone):
        done = server.host.run(undo)
        assert done.succeeded, done.stderr


@dataclass(frozen=True)
class Change:
    """command and undo: shell, as root; what, seen and next: parts of how it is named."""

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
# A file that goes back keeps its time: it is not younger than who read it.
KEPT = "cp -a {0} /root/kept && {1}"
BACK = "cp -a /root/kept {0} && rm /root/kept"


def edited(path, command, what, seen):
    return Change(KEPT.format(path, command), BACK.format(path), what, seen, AGAIN)


CHANGES = [
    edited("/etc/sysctl.d/90-sanso.conf", "echo '# by hand' >>/etc/sysctl.d/90-sanso.conf", "Render", "-# by hand"),
    Change(
        "chmod 0666 /usr/local/sbin/sanso-app",
        "chmod 0755 /usr/local/sbin/sanso-app",
        "Install what releases",
        "",
        AGAIN,
    ),
    Change("systemctl stop nftables", "systemctl start nftables", "Access | Try", "", AGAIN),
    Change(
        "systemctl stop unattended-upgrades",
        "systemctl start unattended-upgrades",
        "unit unattended-upgrades.service",
        "+inactive",
        "'sudo systemctl start unattended-upgrades.service'",
    ),
    Change(
        "systemd-run --quiet --unit=by-hand false; sleep 1",
        "systemctl reset-failed by-hand",
        "unit by-hand.service",
        "+failed (exit-code)",
        DECIDE,
    ),
    Change(
        "mkdir -p /etc/systemd/system/cron.service.d /etc/systemd/system/nginx.service.d &&"
        " printf '[Unit]\\n' >/etc/systemd/system/nginx.service.d/by-hand.conf",
        "rm /etc/systemd/system/nginx.service.d/by-hand.conf && rmdir /etc/systemd/system/cron.service.d;"
        " systemctl daemon-reload",
        "unit file nginx.service",
        "+systemd has what was in them before",
        "sudo systemctl daemon-reload && sudo systemctl restart nginx.service",
    ),
    Change(
        "cp -a /etc/nginx/mime.types /root/kept && touch /etc/nginx/mime.types",
        BACK.format("/etc/nginx/mime.types"),
        "daemon nginx",
        "+/etc/nginx/mime.types is of",
        "'sudo systemctl reload nginx'",
    ),
    Change(
        "cp -a /etc/mysql/my.cnf /root/kept && touch /etc/mysql/mysql.conf.d/zz-sanso.cnf",
        "touch -r /etc/mysql/mysql.conf.d/mysqld.cnf /etc/mysql/mysql.conf.d/zz-sanso.cnf && rm /root/kept",
        "daemon mysql",
        "+/etc/mysql/mysql.conf.d/zz-sanso.cnf is of",
        "'sudo systemctl restart mysql'",
    ),
    Change(
        "cp -a /etc/ssh/sshd_config /root/kept && touch /etc/ssh/sshd_config",
        BACK.format("/etc/ssh/sshd_config"),
        "daemon ssh",
        "+/etc/ssh/sshd_config is of",
        "'sudo systemctl reload ssh'",
    ),
    Change(
        "sysctl -w net.core.somaxconn=1111",
        "sysctl -w net.core.somaxconn=4096",
        "sysctl net.core.somaxconn",
        "+1111",
        "'sudo sysctl -w net.core.somaxconn=4096'",
    ),
    Change(
        "nft add rule inet sanso_firewall input tcp dport 4444 accept",
        "systemctl reload nftables",
        "firewall inet sanso_firewall",
        "+\t\ttcp dport 4444 accept",
        "'sudo systemctl reload nftables'",
    ),
    Change("nft add table inet by_hand", "nft delete table inet by_hand", "firewall inet by_hand", "", DECIDE),
    Change(
        mysql("SET GLOBAL max_connections = 77"),
        mysql("SET GLOBAL max_connections = 151"),
        "mysql max_connections",
        "+77",
        "SET GLOBAL max_connections = 151",
    ),
    Change(
        mysql("SET PERSIST_ONLY long_query_time = 3"),
        mysql("RESET PERSIST long_query_time"),
        "mysql long_query_time (SET PERSIST)",
        "+set for all starts to come",
        "RESET PERSIST long_query_time",
    ),
    Change(
        mysql(
            "CREATE USER by_hand@localhost IDENTIFIED BY 'not to be told'; GRANT SELECT ON sys.* TO by_hand@localhost"
        ),
        mysql("DROP USER by_hand@localhost"),
        'mysql account "by_hand"@"localhost"',
        "+GRANT SELECT ON `sys`.* TO `by_hand`@`localhost`",
        DECIDE,
    ),
    Change(
        mysql("GRANT FILE ON *.* TO faults@localhost"),
        mysql("REVOKE FILE ON *.* FROM faults@localhost"),
        'mysql account "faults"@"localhost"',
        "+GRANT FILE ON *.* TO `faults`@`localhost`",
        "REVOKE FILE ON *.*",
    ),
    Change(
        mysql("CREATE SCHEMA by_hand"),
        mysql("DROP SCHEMA by_hand"),
        "mysql schema by_hand",
        "+a schema that no app has",
        DECIDE,
    ),
    Change(
        "printf '# by hand\\n' >/etc/sudoers.d/by-hand",
        "rm /etc/sudoers.d/by-hand",
        "file /etc/sudoers.d/by-hand",
        "+of no package, and none of ours",
        DECIDE,
    ),
    Change(
        "cp -a /etc/adduser.conf /root/kept && echo '# by hand' >>/etc/adduser.conf",
        BACK.format("/etc/adduser.conf"),
        "file /etc/adduser.conf",
        "+changed",
        DECIDE,
    ),
    Change("apt-get remove -qq debsums", "apt-get install -qq --no-install-recommends debsums", "Packages", "", AGAIN),
]


def test_nothing_is_found_on_a_server_as_it_was_built_and_it_takes_seconds(drift):
    began = time.monotonic()
    assert drift() == []
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_what_was_changed_by_hand_is_named(drift, by_hand, change):
    by_hand(change.command, change.undo)
    findings = drift()
    named = [each for each in findings if change.what in each["what"]]
    assert named, findings
    assert any(change.seen in each["diff"] and change.next in each["next"] for each in named), named
    assert "not to be told" not in json.dumps(findings)
