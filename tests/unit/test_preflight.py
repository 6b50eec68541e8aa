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
        (with_app(secrets={"API-KEY": "x"}), "shop: secrets: 'API-KEY' is no name of an environment variable"),
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


def worker(**said):
    return with_app(workers={"queue": {"command": "celery worker", **said}})


def job(**said):
    return with_app(schedule={"nightly": {"command": "flask prune", "at": "daily", **said}})


# What reaches a path, a unit, nginx's configuration or a shell
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "a;reboot"}, "'a;reboot' is no name for an app: it takes a-z, 0-9 and _"),
        ({"name": "a\n"}, "is no name for an app"),
        ({"name": "redis"}, "redis is taken"),
        ({"source": "--upload-pack=x@y:z"}, "shop: source: '--upload-pack=x@y:z' is a folder or a git URL"),
        ({"source": "https://ada:pw@git.test/x.git"}, "shop: source: the URL (…@git.test/x.git) holds a password"),
        ({"version": "v1; reboot"}, "shop: version: 'v1; reboot' is no branch, tag or commit"),
        ({"version": "--help"}, "version: '--help' is no branch"),
        ({"version": "a/../b"}, "version: 'a/../b' is no branch"),
        ({"dependencies": "../../etc/passwd"}, "shop: dependencies: '../../etc/passwd' is a file in the source"),
        ({"dependencies": "/etc/passwd"}, "dependencies: '/etc/passwd' is a file in the source"),
        ({"packages": ["-o Dir=/x"]}, "shop: packages: '-o Dir=/x' is no package of a distribution"),
        ({"build_packages": ["libx-dev; reboot"]}, "build_packages: 'libx-dev; reboot' is no package"),
        ({"wsgi": "shop:app; env = X"}, "shop: wsgi: 'shop:app; env = X' is module:callable"),
        ({"wsgi": "shop:app\nattach-daemon = x"}, "is module:callable, module:factory()"),
        ({"wsgi": "wsgi.py:app"}, "(wsgi:app, without .py?)"),
        ({"wsgi": "shop:create_app('x')"}, "is module:callable, module:factory()"),
        ({"wsgi": "shop:site.app", "trace": False}, "that takes trace: true"),
        ({"path": "shop"}, "shop: path: 'shop' is / or like /shop"),
        ({"path": "/shop/"}, "path: '/shop/' is / or like /shop"),
        ({"path": "/a+b"}, "path: '/a+b' is / or like /shop"),
        ({"path": "/a/../b"}, "path: '/a/../b' is / or like /shop"),
        ({"path": "/a { return 200; }"}, "path: '/a { return 200; }' is / or"),
        ({"health_path": "/a b"}, "shop: health_path: '/a b' is a URL's path"),
        ({"static": {"/s; alias /etc/": "static"}}, "shop: static maps a URL prefix"),
        ({"static": {"/": "static"}}, "static maps a URL prefix"),
        ({"static": {"/s": "."}}, "static maps a URL prefix"),
        ({"static": {"/s": "a b"}}, "it takes letters, digits and _.+@~-, no .."),
        ({"static": {"/s": "static/../.."}}, "static maps a URL prefix"),
        ({"static": {"/s": "$APP_BUILD/../x"}, "build": "make"}, "static maps a URL prefix"),
        ({"static": {"/s": "$APP_BUILD/static"}}, "'$APP_BUILD/static' is what `build` makes, and there is no build"),
        ({"static": {"/s": "a", "/s/": "b"}}, "shop: static: '/s/' is there twice"),
        ({"body_max": "1m; x"}, "shop: body_max: '1m; x' is a size of nginx's"),
        ({"headers": {"X-Frame-Options": "$request_uri"}}, "shop: X-Frame-Options is text without control"),
        ({"environment": {"A=B": "x"}}, "shop: environment: 'A=B' is no name of an environment variable"),
        ({"environment": {"A": ["x"]}}, "shop: environment: A is text or a number, without NUL, not list"),
        ({"secrets": {"A": {"k": "hidden"}}}, "shop: secrets: A is text or a number, without NUL, not dict"),
        ({"environment": {"APP_BUILD": "/etc"}}, "APP_BUILD is what Sansō itself sets"),
        ({"compatible_revisions": ["1'; DROP"]}, "shop: compatible_revisions: "),
        (
            {"extra_unit": "ReadWritePaths=/a\n [Install]\nWantedBy=x"},
            "extra_unit: '[Install]' is no line of [Service]",
        ),
        ({"extra_unit": "reboot"}, "shop: extra_unit: 'reboot' is no line of [Service]"),
        ({"processes": 0}, "shop: processes: 0 is a number from 1 to 1024"),
        ({"processes_min": 3}, "shop: processes_min: 3 is more than processes, 2"),
        ({"threads": -1}, "shop: threads: -1 is a number from 1"),
        ({"waiting_max": 999}, "shop: waiting_max: 999 is a number from 0 to 128 (app_backlog)"),
        ({"timeout": 0}, "shop: timeout: 0 is a number from 1"),
        ({"limits": {"memory": "lots"}}, "shop: limits.memory: 'lots' is a share like 80%"),
        ({"limits": {"memory": "200%"}}, "limits.memory: '200%' is a share"),
        ({"limits": {"cpu": "1.5"}}, "shop: limits.cpu: '1.5' is a share of one core"),
        ({"limits": {"tasks": 0}}, "shop: limits.tasks: 0 is a number"),
        ({"limits": {"memroy": "1G"}}, "memroy"),
        ({"workers": {"../x": {"command": "a"}}}, "shop: workers: '../x' is no name"),
        ({"workers": {"a b": {"command": "a"}}}, "shop: workers: 'a b' is no name"),
        ({"workers": {"queue": "celery"}}, "shop: workers.queue: 'celery' is {command: …}"),
        ({"workers": {"queue": {}}}, "shop: workers.queue has no command"),
        (worker(counts=2)["apps"][0], "shop: workers.queue has no key counts; known are: command, count"),
        (worker(count=0)["apps"][0], "shop: workers.queue.count: 0 is a whole number from 1 to 64"),
        (worker(count=True)["apps"][0], "workers.queue.count: True is a whole number"),
        (worker(network="yes")["apps"][0], "shop: workers.queue.network: 'yes' is true or false"),
        (worker(command="a\nExecStart=b")["apps"][0], "shop: workers.queue.command: 'a\\nExecStart=b' is one line"),
        ({"schedule": {"nightly": {"command": "a"}}}, "shop: schedule.nightly has no at"),
        (job(at="daily\nOnBootSec=1")["apps"][0], "shop: schedule.nightly.at: "),
        (job(at="$(reboot)")["apps"][0], "shop: schedule.nightly.at: '$(reboot)' is a calendar event of systemd's"),
        (job(timeout="1h")["apps"][0], "shop: schedule.nightly.timeout: '1h' is a whole number"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(sorted(value.keys() - APP.keys())) or "app",
)
def test_no_string_of_an_app_says_more_than_it_should(problems, changes, expected):
    assert expected in "\n".join(problems(**with_app(**changes)))


def test_secret_that_is_refused_is_not_shown(problems):
    assert "hidden" not in "\n".join(problems(**with_app(secrets={"A": {"k": "hidden"}, "B-": "hidden"})))


@pytest.mark.parametrize(
    "changes",
    [
        {"wsgi": "shop.wsgi"},
        {"wsgi": "shop.wsgi:application"},
        {"wsgi": "shop:make.app()"},
        {"version": "feature/new-shop"},
        {"version": "v1.4.0+build.1"},
        {"path": "/shop/de"},
        {"static": {"/static": "src/shop/static/", "/assets": "$APP_BUILD/assets"}, "build": "make"},
        {"packages": ["libpq5", "libstdc++6"], "build_packages": ["libpq-dev"]},
        {"limits": {"memory": "512M", "cpu": "150%", "tasks": 64}},
        {"limits": {"memory": "12.5%", "cpu": ""}},
        {"extra_unit": "# why\nReadWritePaths=/a \\\n  /b\n\nPrivateUsers=no"},
        {"environment": {"A": 'quotes " and $dollars, two\nlines', "B": 1, "C": True}},
        worker(count=2, stop_seconds=30, network=True)["apps"][0],
        job(at="Mon..Fri *-*-* 03:00:00 Europe/Berlin")["apps"][0],
        {"source": "ssh://git@git.test/shop.git", "version": "0123abc"},
        {"source": "git@git.test:shop.git"},
    ],
)
def test_what_an_app_may_well_say_is_no_problem(problems, changes):
    assert problems(**with_app(**changes)) == []


# Apps side by side


def two(**other):
    return {"apps": [APP, {**APP, "name": "other", **other}]}


def test_apps_share_their_names_by_paths_of_their_own(problems):
    assert problems(**two(path="/other")) == []
    # Static files are below an app's own path.
    shared = {"static": {"/static": "static"}}
    assert problems(apps=[APP | shared, APP | {"name": "other", "path": "/other"} | shared]) == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (two(), "two apps are served under shop.test/: shop and other"),
        (
            two(path="/a", server_names=["shop.test", "b.test"]),
            "shop and other, which have other server_names beside it",
        ),
        (two(path="/a", server_names=["Shop.test"]), "in the same order"),
        (two(path="/a", certificate="local"), "shop and other share shop.test, so they have the same certificate"),
        (
            {"apps": [APP | {"static": {"/a": "static"}}, APP | {"name": "other", "path": "/a"}]},
            "shop and other share shop.test, and both have /a",
        ),
        (with_app(server_names=["shop.test", "SHOP.test"]), "shop: shop.test is twice in server_names"),
        ({"apps_removed": [{"name": "shop"}]}, "apps_removed: shop is in apps too"),
        ({"apps_removed": [{"name": "../x"}]}, "apps_removed: '../x' is no name for an app"),
        ({"apps_removed": [{"name": "mysql", "data": "delete"}]}, "apps_removed: mysql is taken"),
        ({"apps_removed": [{"name": "old"}, {"name": "old"}]}, "apps_removed: old is there twice"),
        ({"apps_removed": [{"name": "old", "data": "gone"}]}, "keep, delete"),
        ({"app_only": ["shp"]}, "app_only: there is no app 'shp'; apps has shop"),
        ({"app_versions": {"shp": "v1"}}, "app_versions: there is no app 'shp'"),
        ({"app_versions": {"shop": "$(reboot)"}}, "app_versions: shop: '$(reboot)' is no branch, tag or commit"),
        ({"app_why": "a\nb"}, "app_why: 'a\\nb' is one line of text"),
        ({"os_admins": [{"name": "shop", "keys": ["ssh-ed25519 AAAA"]}]}, "apps: shop is also one of os_admins"),
    ],
)
def test_what_does_not_go_together_is_named(problems, variables, expected):
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
