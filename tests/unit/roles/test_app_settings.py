"""What an app is told of its server."""

from __future__ import annotations

import pytest

from sanso.project import ROOT
from sanso.variables import Landscape

MYSQL = "mysql+pymysql://shop@localhost/shop?unix_socket=/run/mysqld/mysqld.sock&charset=utf8mb4"


@pytest.fixture(scope="module")
def settings():
    """settings(key=value, …): the environment of an app that says so of itself."""
    variables = Landscape(ROOT / "inventory/local").variables_of("sanso")

    def settings(**said):
        return variables.within("app", __app_item={"name": "shop", **said})["__app_environment"]

    return settings


URLS = {"mysql": MYSQL, "sqlite": "sqlite:////srv/shop/shared/shop.db", "none": None}


@pytest.mark.parametrize("database", URLS)
def test_database_url_leads_to_the_kind_of_database_that_was_asked_for(settings, database):
    assert settings(database=database).get("DATABASE_URL") == URLS[database]


def test_database_is_mysql_if_nothing_is_said(settings):
    assert settings()["DATABASE_URL"] == MYSQL


@pytest.mark.parametrize("database", URLS)
def test_what_an_app_says_itself_wins(settings, database):
    assert settings(database=database, environment={"DATABASE_URL": "mine"})["DATABASE_URL"] == "mine"
