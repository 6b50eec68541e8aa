"""What is wrong in an inventory is found before a server is touched, and is said with names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sanso import preflight

GROUPS = {"web": ["a"], "app": ["a"], "db": ["a"]}
ACME = {"nginx_certificates": "acme", "acme_agree_tos": True}
APP = {"name": "shop", "source": "shop", "wsgi": "shop:app", "server_names": ["shop.test"]}


@pytest.fixture
def problems(tmp_path):
    """problems(apps=…, variable=…) returns the sentences, with the variable in front."""
    (tmp_path / "shop").mkdir()

    def problems(groups=GROUPS, **variables):
        found = preflight.problems({"apps": [APP], **variables}, preflight.load_specs(), groups, tmp_path)
        return [f"{name}: {sentence}" for name, sentence in found]

    return problems


def test_good_inventory_has_no_problem(problems):
    assert problems(nginx_tls_profile="modern", os_admins=[{"name": "ada", "keys": ["ssh-ed25519 AAAA"]}]) == []


def test_git_source_needs_no_folder(problems):
    assert problems(apps=[APP | {"source": "https://git.example.org/shop.git"}]) == []


def test_firewall_rules_may_use_sets_and_comments(problems):
    assert problems(os_firewall_extra_rules="tcp dport { 25, 465 } accept # }\n\n# {") == []


def test_certificates_of_all_kinds_stand_side_by_side(problems):
    own = {"certificate": __file__, "certificate_key": __file__}
    apps = [APP | {"name": f"shop{number}", "server_names": [f"{number}.test"]} for number in range(3)]
    kinds = [own, {"certificate": "local"}, {}]
    assert problems(apps=[app | kind for app, kind in zip(apps, kinds, strict=True)], **ACME) == []


def with_app(**changes):
    return {"apps": [APP | changes]}


def without(key):
    return {"apps": [{name: value for name, value in APP.items() if name != key}]}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"nginx_tls_profil": "modern"},
            "nginx_tls_profil: no role knows this variable; did you mean nginx_tls_profile?",
        ),
        ({"mysql_max_connections": "many"}, "mysql_max_connections"),
        ({"nginx_tls_profile": "old"}, "intermediate, modern"),
        ({"os_ssh_permit_root_login": "maybe"}, "prohibit-password"),
        ({"os_admins": [{"name": "ada"}]}, "keys"),
        ({"hardening_profile": "paranoid"}, "default, strict"),
        (
            {"hardening_profile": "strict", "hardening_proc_group": "adm"},
            "hardening_proc_group: it must be what trace_user says, sanso-trace",
        ),
        ({"hardening_integrity_ignored": ["/etc/("]}, "hardening_integrity_ignored: '/etc/(' is no regular expression"),
        ({"os_admins": [{"name": "ada", "keys": [], "key": "x"}]}, "ada has no key key; did you mean keys?"),
        (without("name"), "name"),
        (without("wsgi"), "wsgi"),
        (with_app(procesess=3), "shop has no key procesess; did you mean processes?"),
        (with_app(processes="two"), "processes"),
        (with_app(name="Shop"), "'Shop' is no name for an app"),
        (with_app(name="../etc"), "'../etc' is no name for an app"),
        (with_app(name="mysql"), "mysql is taken"),
        (with_app(server_names=[]), "shop: server_names is empty"),
        (with_app(server_names=["a b"]), "'a b' in server_names is not a host name"),
        (with_app(server_names=["x; } server {"]), "is not a host name"),
        (with_app(headers={"content-security-policy": "x"}), "shop: 'content-security-policy' is no header"),
        (with_app(headers={"Referrer-Policy": 'a"; b'}), "shop: Referrer-Policy is one line of text"),
        ({"nginx_headers": {"X-Frame-Options": 1}}, "nginx_headers: X-Frame-Options is one line of text"),
        ({"mysql_extra_accounts": ["ada"]}, "mysql_extra_accounts: 'ada' is no account"),
        (with_app(static={"/s": "../../etc"}), "static maps a URL prefix"),
        (with_app(static={"/s": "/etc"}), "static maps a URL prefix"),
        (with_app(health_path="readyz"), "health_path begins with /"),
        (with_app(secrets={"API-KEY": "x"}), "shop: 'API-KEY' is no name of an environment variable"),
        (with_app(secrets={"A": "x"}, environment={"A": "y"}), "shop: A is in environment and in secrets"),
        (with_app(secrets="x"), "secrets"),
        (with_app(source="nowhere"), "its source nowhere is neither a folder"),
        ({"apps": [APP, APP]}, "two apps have the name shop"),
        ({"apps": [APP, APP | {"name": "other"}]}, "two apps are served under shop.test"),
        ({"nginx_tls_certificate": "/a.pem"}, "set both or neither"),
        ({"nginx_tls_certificate": "/a.pem", "nginx_tls_key": "/b.pem"}, "there is no file /a.pem"),
        (
            {"nginx_tls_certificate": __file__, "nginx_tls_key": __file__, "nginx_certificates": "acme"},
            "nginx_certificates: nginx_tls_certificate is for all apps",
        ),
        ({"nginx_certificates": "letsencrypt"}, "local, acme"),
        (with_app(certificate="/a.pem"), "apps: shop: certificate is a file (neither local nor acme)"),
        (with_app(certificate="acme", certificate_key="/a.pem"), "apps: shop: certificate_key goes with a certificate"),
        (with_app(certificate="/a.pem", certificate_key=__file__), "apps: shop: there is no file /a.pem"),
        ({"nginx_certificates": "acme"}, "acme_agree_tos: it must be true"),
        (with_app(certificate="acme"), "acme_agree_tos: it must be true"),
        ({**ACME, "acme_directory": "acme-v02.example.org"}, "acme_directory: it is the https:// URL"),
        ({**ACME, "acme_ca_certificate": "/a.pem"}, "acme_ca_certificate: there is no file /a.pem"),
        ({**ACME, "acme_dns_hook": "/a.sh"}, "acme_dns_hook: there is no file /a.sh"),
        (
            {**ACME, **with_app(server_names=["*.shop.test"])},
            "acme_dns_hook: shop: a CA proves *.shop.test by DNS only",
        ),
        ({"app_harakiri": 60}, "app_harakiri: it must be less than nginx_upstream_timeout"),
        ({"nginx_trace_group": "x"}, "nginx_trace_group: it must be what trace_user says, sanso-trace"),
        ({"trace_user": "x"}, "app_trace_group: it must be what trace_user says, x"),
        ({"mysql_trace_user": "x"}, "mysql_trace_user: it must be what trace_user says"),
        ({"nginx_trace_ratio": 101}, "nginx_trace_ratio: it is a percentage"),
        ({"os_ssh_port": 443}, "os_ssh_port: 443 is nginx's"),
        ({"os_ssh_port": 70000}, "os_ssh_port: it is a port"),
        ({"os_firewall_extra_rules": "accept\n} chain x {"}, "line 2 leaves the input chain: } chain x {"),
        ({"os_firewall_extra_rules": "tcp dport { 22"}, "line 1 leaves the input chain"),
        ({"os_ban_ignored": ["office"]}, "os_ban_ignored: office is no address"),
        ({"os_ban_after": -1}, "os_ban_after: it is a number of failures"),
        ({"os_ban_minutes": 0}, "os_ban_minutes: it is a number of minutes"),
        ({"app_mysql_group": "x"}, "app_mysql_group: it and mysql_socket_group must be the same group"),
    ],
)
def test_problem_is_named_with_what_is_expected(problems, variables, expected):
    assert expected in "\n".join(problems(**variables))


def test_missing_apps_are_named(tmp_path):
    found = preflight.problems({}, preflight.load_specs(), GROUPS, tmp_path)
    assert [name for name, _ in found] == ["apps"]


@pytest.mark.parametrize("group", ["web", "app", "db"])
def test_tier_without_a_host_is_named(problems, group):
    assert problems(groups={**GROUPS, group: []}) == [
        f"{group}: the inventory has no host in this group, which says where that tier runs"
    ]


def test_place_of_a_variable_is_its_file_and_line(tmp_path):
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all.yml").write_text("---\nfirst: 1\nsecond: 2\n")
    assert preflight.where_set("second", tmp_path) == f"{tmp_path}/group_vars/all.yml:3"


def test_place_of_an_unset_variable_is_where_it_would_go(tmp_path):
    assert "group_vars/all/" in preflight.where_set("third", tmp_path)


@pytest.mark.parametrize(("reason", "hints"), [("no vault secrets found", True), ("'nowhere' is undefined", False)])
def test_variable_that_can_not_be_read_is_named_with_what_helps(reason, hints):
    said = preflight.explained("apps", Exception(reason))
    assert (said.startswith(f"apps: {reason}"), "--ask-vault-pass" in said) == (True, hints)


@pytest.mark.parametrize(("can_ask", "hints"), [(True, True), (False, False)])
def test_only_an_engine_that_asks_is_said_to_ask(can_ask, hints):
    assert ("--ask-vault-pass" in preflight.explained("apps", "no vault secrets found", can_ask)) == hints


# What an engine calls


@pytest.fixture
def inventory(tmp_path):
    """inventory(variable=…) describes one server; it gives its folder and its variables."""

    def inventory(**variables):
        variables = {"apps": [APP | {"source": "sample_app"}], **variables}
        groups = {group: {"hosts": {"a": {}}} for group in GROUPS}
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump(groups))
        (tmp_path / "group_vars").mkdir()
        (tmp_path / "group_vars/all.yml").write_text(yaml.safe_dump(variables))
        return tmp_path, variables

    return inventory


def test_nothing_is_said_of_a_good_inventory(inventory):
    folder, variables = inventory(nginx_tls_profile="modern", ansible_user="other variables stand beside")
    assert preflight.check(variables, GROUPS, folder) == ""


def test_message_counts_names_and_says_where(inventory):
    folder, variables = inventory(nginx_tls_profil="modern", os_ssh_port="many")
    said = preflight.check(variables, GROUPS, folder)
    assert said.startswith(f"2 things are wrong in the inventory {folder}. Nothing was changed.\n  nginx_tls_profil: ")
    assert f"({folder}/group_vars/all.yml:" in said


def test_ansible_says_the_same(inventory):
    folder, variables = inventory(nginx_tls_profile="{{ 'ol' ~ 'd' }}", os_ssh_port="many")
    command = [Path(sys.executable).with_name("ansible-playbook"), "-i", folder, "playbooks/preflight.yml"]
    environment = os.environ | {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    done = subprocess.run(command, cwd=preflight.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    (task,) = json.loads(done.stdout)["plays"][0]["tasks"]
    assert task["hosts"]["a"]["msg"] == preflight.check(variables | {"nginx_tls_profile": "old"}, GROUPS, folder)
