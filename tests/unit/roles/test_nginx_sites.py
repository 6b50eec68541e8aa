"""What nginx is told about the apps: servers, paths, limits and sockets. What it then does, tests/faults sees."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from sanso.project import ROOT
from sanso.variables import Landscape

HOST = "all: {children: {web: {hosts: {here: }}}}"
APP = {"name": "shop", "server_names": ["shop.test"]}


@pytest.fixture
def role(tmp_path):
    """role(*apps, name=value, …) is the role nginx for these, with these variables."""

    def role(*apps, release="resolute", **values):
        (tmp_path / "hosts.yml").write_text(HOST)
        defaults = yaml.safe_load((ROOT / "roles/nginx/defaults/main.yml").read_text())
        (tmp_path / "group_vars").mkdir(exist_ok=True)
        (tmp_path / "group_vars/all.yml").write_text(json.dumps({**defaults, "apps": list(apps), **values}))
        facts = {"distribution_release": release}
        return (
            Landscape(tmp_path).variables_of("here").within("nginx", ansible_facts=facts, __nginx_local={"paths": {}})
        )

    return role


@pytest.fixture
def sites(role):
    """sites(*apps, …) is the file of all sites."""
    return lambda *apps, **values: role(*apps, **values).render("etc/nginx/conf.d/sites.conf.j2")


def told(text, directive):
    """The values of a directive, in their order."""
    return re.findall(rf"^\s*{directive} (.*?)(?: \{{|;)$", text, re.MULTILINE)


def test_app_gets_as_many_requests_as_it_takes(sites):
    found = sites(APP, {**APP, "name": "two", "processes": 4, "threads": 2, "waiting_max": 10, "path": "/two"})
    sockets = ["unix:/run/app-shop/app.sock max_conns=102", "unix:/run/app-two/app.sock max_conns=18"]
    assert told(found, "server") == sockets
    assert told(found, "uwsgi_pass") == ["app_two", "app_shop"]


def test_nginx_knows_what_an_app_is_where_it_says_nothing(role):
    described = yaml.safe_load((ROOT / "roles/app/meta/argument_specs.yml").read_text())
    options = described["argument_specs"]["main"]["options"]["apps"]["options"]
    defaults = role(APP)["__nginx_defaults"]
    assert defaults == {name: options[name]["default"] for name in defaults}


def test_apps_that_share_their_names_share_a_server_and_its_certificate(role):
    apps = [
        {**APP, "server_names": ["B.test", "shop.test"], "path": "/shop"},
        {"name": "b", "server_names": ["shop.test", "b.test"]},
    ]
    found = role(*apps, {"name": "c", "server_names": ["c.test"]})
    sites = found.render("etc/nginx/conf.d/sites.conf.j2")
    assert told(sites, "server_name") == ["_", "_", *["shop.test b.test"] * 2, *["c.test"] * 2]
    assert told(sites, "ssl_certificate") == ["/etc/nginx/tls/b.pem", "/etc/nginx/tls/c.pem"]
    assert list(found["__nginx_local_names"]) == ["b", "c"]


def test_longest_path_comes_first_and_stands_for_itself(sites):
    static = {"/s.t": "static", "/b": "$APP_BUILD/b"}
    found = sites({**APP, "path": "/a+b", "static": static}, {**APP, "name": "two", "path": "/a+b/c", "static": static})
    assert told(found, "location") == [
        "@no_answer",
        "/",
        *(
            r'~ "^/a\+b/c(?<static_file>/s\.t/(?<static_rest>.*))$"',
            '~ "^/a\\+b/c(?<static_file>/b/(?<static_rest>.*))$"',
        ),
        *("= /a+b/c", "/a+b/c/"),
        *(r'~ "^/a\+b(?<static_file>/s\.t/(?<static_rest>.*))$"', '~ "^/a\\+b(?<static_file>/b/(?<static_rest>.*))$"'),
        *("= /a+b", "/a+b/"),
    ]
    assert "APP_BUILD" not in found
    assert told(found, "uwsgi_param SCRIPT_NAME") == ["/a+b/c", "/a+b"]


def test_limits_are_each_app_s_own(role):
    found = role(APP, {**APP, "name": "two", "path": "/two", "timeout": 70, "body_max": "2m"})
    sites = found.render("etc/nginx/conf.d/sites.conf.j2")
    assert told(sites, "uwsgi_read_timeout") == ["75s", "35s"]
    assert told(sites, "client_max_body_size") == ["2m"]
    # A restart lets the longest request end.
    assert "TimeoutStopSec=75" in found.render("etc/systemd/system/nginx.service.d/sanso.conf.j2")


@pytest.mark.parametrize(
    ("values", "capability"), [({}, ""), ({"nginx_extra_http": "server { listen 81; }"}, "CAP_NET_BIND_SERVICE")]
)
def test_nginx_may_open_low_ports_only_where_your_own_lines_do(role, values, capability):
    unit = role(APP, **values).render("etc/systemd/system/nginx.service.d/sanso.conf.j2")
    assert re.findall("Capabilit.*=(.*)", unit) == [capability, capability]


@pytest.mark.parametrize(("ipv6", "count"), [(True, 4), (False, 2)])
def test_systemd_opens_what_nginx_listens_on(role, ipv6, count):
    found = role(APP, nginx_ipv6=ipv6)
    sockets = re.findall("ListenStream=(.*)", found.render("etc/systemd/system/nginx.socket.j2"))
    listens = {each.split()[0] for each in told(found.render("etc/nginx/conf.d/sites.conf.j2"), "listen")}
    assert len(sockets) == count
    assert {each if ":" not in each or each[0] == "[" else each.removeprefix("0.0.0.0:") for each in sockets} == listens


@pytest.mark.parametrize(("release", "count"), [("noble", 0), ("resolute", 1), ("forky", 1)])
def test_idle_connections_survive_a_reload_where_nginx_knows_how(role, release, count):
    assert role(APP, release=release).render("etc/nginx/nginx.conf.j2").count("keepalive_min_timeout") == count
