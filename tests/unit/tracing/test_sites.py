"""A URL belongs to the app that nginx would choose."""

import pytest

from sanso.tracing.sites import app_of, site_of


@pytest.mark.parametrize(
    ("name", "app"),
    [
        ("a.test", "whole"),
        ("x.a.test", "below"),
        ("x.b.a.test", "nearer"),
        ("x.dot.test", "dot"),
        ("dot.test", "dot"),
        ("end.org", "end"),
        ("test", None),
        ("xa.test", None),
        ("end", None),
    ],
)
def test_name_belongs_to_the_app_that_nginx_would_choose(name, app):
    names = {
        "below": ["*.a.test"],
        "nearer": ["*.b.a.test"],
        "whole": ["A.test"],
        "dot": [".dot.test"],
        "end": ["end.*"],
    }
    apps = [{"name": name, "server_names": those} for name, those in names.items()]
    found = app_of([*apps, {"name": "quiet"}], name)
    assert (found or {}).get("name") == app


SHARED = [{"name": name, "server_names": ["a.test"], "path": path} for name, path in [("root", "/"), ("shop", "/shop")]]


@pytest.mark.parametrize(
    ("path", "app"),
    [("/", "root"), ("/shop", "shop"), ("/shop/a?b", "shop"), ("/shopping", "root"), ("/x/shop", "root")],
)
def test_path_belongs_to_the_app_that_nginx_would_choose(path, app):
    assert site_of(SHARED, f"https://a.test{path}")[1]["name"] == app


def test_path_alone_is_below_the_app_s_own():
    assert site_of(SHARED, "/readyz", "shop")[0] == "https://a.test/shop/readyz"
    assert site_of(SHARED, "/readyz")[0] == "https://a.test/readyz"
