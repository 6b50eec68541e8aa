"""What an app says of its sources reaches the servers: packages of the distribution, and where its static files are."""

from __future__ import annotations

import pytest

from sanso.project import ROOT
from sanso.variables import Landscape

APP = {"name": "shop", "source": ".", "wsgi": "shop:app", "server_names": ["shop.test"]}


@pytest.fixture
def role():
    """role(name, app, …) are the variables of a role, where these apps are described."""
    variables = Landscape(ROOT / "inventory/local").variables_of("sanso")
    facts = {"distribution": "Ubuntu", "distribution_release": "resolute", "nodename": "sanso"}
    return lambda name, *apps: variables.within(name, apps=[APP | app for app in apps], ansible_facts=facts)


def test_packages_of_all_apps_are_installed_together(role):
    apps = [{"packages": ["libpq5", "graphviz"]}, {"name": "other"}, {"name": "more", "packages": ["libpq5"]}]
    assert role("app", *apps)["__app_packages"] == ["graphviz", "libpq5"]


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("static", '"/current/app/static/$static_rest" =404;'),
        ("$APP_BUILD/static", "=404;"),
    ],
)
def test_folder_that_a_build_fills_is_no_variable_of_nginx(role, folder, expected):
    variables = role("nginx", {"static": {"/static": folder}, "build": "make"})
    tried = f"try_files /current/public$static_file /assets$static_file {expected}"
    assert tried in variables.render("etc/nginx/conf.d/sites.conf.j2")
