"""Of what a server is, the roles say which task makes it."""

from __future__ import annotations

import pytest

from sanso.digest import origin
from sanso.digest.program import SECTIONS
from sanso.project import ROOT

KNOWN = [
    ("files", "/etc/nginx/nginx.conf", "nginx", "roles/nginx/templates/etc/nginx/nginx.conf.j2"),
    (
        "files",
        "/etc/ssh/sshd_config.d/00-sanso.conf",
        "os",
        "roles/os/templates/etc/ssh/sshd_config.d/00-sanso.conf.j2",
    ),
    ("files", "/usr/local/sbin/sanso-app", "uwsgi", "roles/uwsgi/files/usr/local/sbin/sanso-app"),
    ("files", "/etc/issue", "hardening", ""),
    ("files", "/etc/login.defs", "hardening", ""),
    ("files", "/etc/systemd/system/app-shop@.service", "app", ""),
    ("files", "/etc/systemd/system/app-shop-job-tidy.timer", "app", ""),
    ("files", "/srv/shop/releases/1/app/x.py", "app", ""),
    ("files", "/etc/nginx/tls/shop.pem", "nginx", ""),
    ("packages", "mysql-server", "mysql", ""),
    ("packages", "fail2ban", "os", ""),
    ("packages", "python3-venv:amd64", "python", ""),
    ("units", "nginx.service", "nginx", ""),
    ("units", "app-shop@current.socket", "app", ""),
    ("units", "app-shop-redis.service", "app", ""),
    ("units", "app-shop-worker-mail@1.service", "app", ""),
    ("units", "sanso-hardening.target", "hardening", ""),
    ("users", "sanso-trace", "trace", ""),
    ("groups", "mysql-clients", "mysql", ""),
    ("users", "shop", "app", ""),
    (
        "sysctl",
        "kernel.kptr_restrict",
        "hardening",
        "roles/hardening/templates/etc/sysctl.d/80-sanso-hardening.conf.j2",
    ),
    ("sysctl", "net.core.somaxconn", "os", "roles/os/templates/etc/sysctl.d/90-sanso.conf.j2"),
    ("mysql variables", "max_connections", "mysql", "roles/mysql/templates/etc/mysql/mysql.conf.d/zz-sanso.cnf.j2"),
    ("mysql accounts", "x", "mysql", ""),
    ("mysql schemas", "shop.orders", "app", ""),
    ("nftables", "inet sanso_firewall", "os", "roles/os/templates/etc/nftables.conf.j2"),
]


@pytest.mark.parametrize(("section", "key", "role", "source"), KNOWN, ids=lambda value: str(value)[:40])
def test_what_a_role_makes_is_its(section, key, role, source):
    found = origin.of(section, key, apps=["shop"])
    assert (found.role, found.source) == (role, source)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("files", "/etc/passwd"),
        ("files", "/etc/nginx/mime.types"),
        ("files", "/etc/systemd/resolved.conf"),
        ("packages", "libc6"),
        ("packages", "nginx-common"),
        ("units", "cron.service"),
        ("users", "daemon"),
        ("listeners", "tcp 0.0.0.0:4444"),
    ],
)
def test_what_no_role_makes_is_nobodys(section, key):
    assert origin.of(section, key, apps=["shop"]) is None


@pytest.mark.parametrize("section", sorted(origin.SETTINGS.keys() & SECTIONS))
def test_settings_come_from_a_task_that_there_is(section):
    found = origin.of(section, "anything")
    assert found.task in [task.name for task in origin.tasks() if task.role == found.role]


@pytest.mark.parametrize("named", [origin.APPS_USERS, origin.APPS_TABLES], ids=lambda named: named[1])
def test_task_that_is_named_is_there(named):
    assert named in [(task.role, task.name) for task in origin.tasks()]


def test_all_settings_are_of_sections_that_there_are():
    assert origin.SETTINGS.keys() | origin.MODULES.keys() <= SECTIONS.keys()


def test_layer_is_both_engines_file():
    found = origin.of("files", "/etc/nginx/nginx.conf").layer
    assert (found.playbook, found.deploy) == ("playbooks/web.yml", "deploys/layer_web.py")
    assert (ROOT / found.playbook).exists()


def test_every_template_has_a_task():
    """But those that become part of something else, whose path doesn't begin at the root."""
    templates = [file.relative_to(origin.ROLES) for file in origin.ROLES.glob("*/templates/etc/**/*.j2")]
    paths = ["/" + "/".join(file.parts[2:]).removesuffix(".j2") for file in templates]
    generic = [path for path in paths if origin.of_path(path) is None]
    # One template for several units, each of which its task names.
    assert [path for path in generic if not path.startswith("/etc/systemd/system/")] == []
