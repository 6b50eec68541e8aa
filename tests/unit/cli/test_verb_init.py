"""init: a project is described without running it; what can't be found out is said, and what is there stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from sanso import app_rules, detect
from sanso.cli import main
from sanso.verbs.init import Loader

FACTORY = """
from flask import Flask

def create_app(config=None):
    app = Flask(__name__)
    @app.get("/healthz")
    def healthz(): return "ok"
    return app
"""
SETTINGS = """
import os
from pathlib import Path
import dj_database_url
BASE_DIR = Path(__file__).parent
SECRET_KEY = os.environ["SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = ["shop.test"]
INSTALLED_APPS = ["django.contrib.staticfiles"]
DATABASES = {"default": dj_database_url.config(default="sqlite:///db.sqlite3")}
STATIC_URL = "assets/"
STATIC_ROOT = Path(os.environ.get("APP_BUILD", BASE_DIR)) / "static"
"""
DJANGO = {
    "manage.py": 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n',
    "shop/__init__.py": "",
    "shop/settings.py": SETTINGS,
    "shop/wsgi.py": 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
    "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
    "shop/urls.py": 'from django.urls import path\nurlpatterns = [path("health/", lambda request: None)]\n',
    "requirements.txt": "django\ndj-database-url\n",
}


@pytest.fixture
def look(project):
    return lambda files: detect.look(project(files))


@pytest.fixture
def init():
    """init(folder, *words) runs the verb."""
    return lambda folder, *words: CliRunner().invoke(main, ["init", str(folder), *map(str, words)])


# The way in


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"shop.py": "from flask import Flask\napp = Flask(__name__)\n"}, "shop:app"),
        ({"shop.py": "import flask as f\nsite: object = f.Flask(__name__)\n"}, "shop:site"),
        ({"src/shop/__init__.py": FACTORY}, "shop:create_app()"),
        ({"shop/web/app.py": FACTORY}, "shop.web.app:create_app()"),
        ({"shop/__init__.py": FACTORY, "wsgi.py": "from shop import create_app\napp = create_app()\n"}, "wsgi:app"),
        (
            {
                "shop/__init__.py": "",
                "shop/main.py": FACTORY,
                "shop/run.py": "from .main import create_app as c\nx = c()\n",
            },
            "shop.main:create_app()",
        ),
        ({"web.py": "def application(environ, start_response):\n    return []\n"}, "web:application"),
        ({"web.py": "def handle(environ, start_response):\n    return []\n"}, "web:handle"),
        ({"web.py": "import bottle\napp = bottle.default_app()\n"}, "web:app"),
        ({"web.py": "import falcon\napp = falcon.App()\n"}, "web:app"),
        (
            {"web.py": "from pyramid.config import Configurator\nc = Configurator()\napp = c.make_wsgi_app()\n"},
            "web:app",
        ),
        (DJANGO, "shop.wsgi:application"),
        ({f"backend/{name}": text for name, text in DJANGO.items()}, "shop.wsgi:application"),
        (
            {"shop.py": "from flask import Flask\ntry:\n    app = Flask(__name__)\nexcept E:\n    app = 0\n"},
            "shop:app",
        ),
    ],
    ids=[
        *("flask object", "flask under another name", "factory in src", "factory below", "wsgi.py", "relative import"),
        *("wsgi function", "wsgi function by its arguments", "bottle", "falcon", "pyramid", "django", "django below"),
        "in try",
    ],
)
def test_way_in_is_found(look, files, expected):
    assert look(files).app["wsgi"] == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"x.py": "print('hello')\n"}, "found no Flask or Django app"),
        ({"x.py": "from fastapi import FastAPI\napp = FastAPI()\n"}, "this is FastAPI (x.py:2), an ASGI app"),
        ({"x.py": FACTORY.replace("config=None", "config")}, "x:create_app (x.py:4) needs arguments"),
        (
            {"x.py": "from flask import Flask\nif __name__ == '__main__':\n    app = Flask(__name__)\n"},
            "found no Flask",
        ),
        ({"tests/x.py": FACTORY, ".venv/lib/x.py": FACTORY, "node_modules/x.py": FACTORY}, "found no Flask"),
        ({"x.py": "def broken(:\n"}, "x.py can't be read"),
    ],
)
def test_where_there_is_none_the_reason_is_said_and_the_exit_code_is_1(init, project, files, expected):
    done = init(project(files))
    assert (done.exit_code, done.stdout) == (1, "")
    assert expected in done.stderr


def test_nothing_of_the_project_is_run(init, project, tmp_path):
    marker = tmp_path / "ran"
    run = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    done = init(project({"shop.py": run + "from flask import Flask\napp = Flask(__name__)\n", "setup.py": run}))
    assert (done.exit_code, marker.exists()) == (0, False)


def test_likeliest_of_several_is_taken_and_the_others_are_named(look):
    app = "from flask import Flask\napp = Flask(__name__)\n"
    found = look({"one.py": app, "two.py": app})
    assert found.app["wsgi"] == "one:app"
    assert "wsgi: took one:app; is it one of these: two:app?" in found.unknown


# What else it says


@pytest.mark.parametrize(
    ("files", "key", "expected"),
    [
        ({"shop.py": FACTORY}, "health_path", "/healthz"),
        (
            {"shop.py": FACTORY.replace('"/healthz"', '"/readyz"') + "\n@bp.route('/health')\ndef x(): pass\n"},
            "health_path",
            "/readyz",
        ),
        (
            {
                "shop.py": FACTORY.replace('"/healthz"', '"/"')
                + "from flask import Blueprint\nb = Blueprint('b', __name__, url_prefix='/api')\n"
                + "@b.get('/health')\ndef h(): pass\n"
            },
            "health_path",
            "/",
        ),
        ({"shop.py": FACTORY, "uv.lock": "", "requirements.txt": ""}, "dependencies", "uv.lock"),
        ({"shop.py": FACTORY, "pyproject.toml": '[project]\nname = "x"\n'}, "dependencies", "pyproject.toml"),
        (
            {"shop.py": FACTORY, "requirements/prod.txt": "flask", "requirements/dev.txt": ""},
            "dependencies",
            "requirements/prod.txt",
        ),
        ({"shop/__init__.py": FACTORY, "shop/static/a.css": ""}, "static", {"/static": "shop/static"}),
        (
            {
                "shop/__init__.py": FACTORY.replace(
                    "(__name__)", '(__name__, static_folder="../web", static_url_path="/a")'
                ),
                "web/a": "",
            },
            "static",
            {"/a": "web"},
        ),
        (
            {"web.py": "def application(environ, start_response): pass\n", "static/a": ""},
            "static",
            {"/static": "static"},
        ),
        ({"shop.py": FACTORY, "requirements.txt": "PyMySQL"}, "database", "mysql"),
        ({"shop.py": FACTORY + "import sqlite3\n"}, "database", "sqlite"),
        ({"shop.py": FACTORY + "URL = 'sqlite:///x.db'\n"}, "database", "sqlite"),
        ({"shop.py": FACTORY, "requirements.txt": "psycopg[binary]"}, "database", "none"),
        ({"shop.py": FACTORY}, "database", "none"),
        (
            {"shop.py": FACTORY + "import flask_migrate\n", "migrations/env.py": ""},
            "migrate",
            "flask --app shop db upgrade",
        ),
        ({"shop.py": FACTORY, "alembic.ini": ""}, "migrate", "alembic upgrade head"),
        ({"shop.py": FACTORY, "requirements.txt": "psycopg2"}, "packages", ["libpq5"]),
        ({"shop.py": FACTORY, "requirements.txt": "psycopg2"}, "build_packages", ["libpq-dev"]),
        ({"shop.py": FACTORY, "requirements.txt": "psycopg[binary]\npsycopg-binary"}, "packages", None),
        (
            {"shop.py": FACTORY + "from celery import Celery\nqueue = Celery('shop')\n"},
            "workers",
            {"celery": {"command": "celery --app shop:queue worker"}},
        ),
        ({"shop.py": FACTORY + "from celery import Celery\nqueue = Celery('shop')\n"}, "redis", True),
        (DJANGO, "migrate", "python manage.py migrate --no-input"),
        (DJANGO, "build", "python manage.py collectstatic --no-input"),
        (DJANGO, "static", {"/assets": "$APP_BUILD/static"}),
        (DJANGO, "database", "sqlite"),
        (DJANGO, "health_path", "/health/"),
        (
            {**DJANGO, "requirements.txt": "django\nmysqlclient\n"},
            "environment",
            {"DATABASE_URL": "mysql://shop@localhost/shop?unix_socket=/run/mysqld/mysqld.sock"},
        ),
        (
            {
                **{name: text for name, text in DJANGO.items() if name != "shop/settings.py"},
                "manage.py": DJANGO["manage.py"].replace("shop.settings", "shop.settings.local"),
                "shop/settings/base.py": SETTINGS,
                "shop/settings/local.py": "from .base import *\nDEBUG = True\n",
                "shop/settings/production.py": "from .base import *\n",
            },
            "environment",
            {"DJANGO_SETTINGS_MODULE": "shop.settings.production"},
        ),
        (
            {**DJANGO, "shop/wsgi.py": DJANGO["shop/wsgi.py"].partition("\n")[2].partition("\n")[2]},
            "environment",
            {"DJANGO_SETTINGS_MODULE": "shop.settings"},
        ),
        ({"shop.py": FACTORY, "pyproject.toml": '[project]\nname = "My-Shop 2"\n'}, "name", "my_shop_2"),
        ({"shop.py": FACTORY, "pyproject.toml": '[project]\nname = "mysql"\n'}, "name", "mysql_app"),
        ({"shop.py": FACTORY, "pyproject.toml": '[project]\nname = "3d"\n'}, "name", "app_3d"),
    ],
)
def test_what_the_project_says_is_found(look, files, key, expected):
    assert look(files).app.get(key) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"shop.py": FACTORY}, "dependencies: there is no uv.lock, requirements.txt or pyproject.toml that names them"),
        ({"shop.py": FACTORY, "Pipfile.lock": "{}"}, "pipenv requirements --hash >requirements.txt"),
        ({"shop.py": FACTORY, "pyproject.toml": "[tool.poetry]\n", "poetry.lock": ""}, "poetry export"),
        ({"shop.py": FACTORY, "requirements.txt": "six"}, "dependencies: requirements.txt doesn't name flask"),
        ({"shop.py": FACTORY, "requirements.txt": "flask\ngunicorn"}, "gunicorn isn't needed"),
        ({"shop.py": "from flask import Flask\napp = Flask(__name__)\n"}, "health_path: found no route like /healthz"),
        ({"shop.py": FACTORY, "requirements.txt": "pymysql"}, "database: found nothing that reads DATABASE_URL"),
        ({"shop.py": FACTORY, "requirements.txt": "psycopg2"}, "database: it speaks PostgreSQL"),
        ({"shop.py": FACTORY, "package.json": "{}"}, "static: there is a package.json"),
        (
            {"shop.py": FACTORY + "import os\nKEY = os.environ['API_TOKEN']\n"},
            "secrets: it doesn't start without API_TOKEN",
        ),
        (
            {**DJANGO, "shop/settings.py": SETTINGS.replace('["shop.test"]', "[]")},
            "server_names: ALLOWED_HOSTS in shop/settings",
        ),
        ({**DJANGO, "shop/settings.py": SETTINGS.replace("False", "True")}, "environment: DEBUG is True"),
        (
            {**DJANGO, "shop/settings.py": SETTINGS.replace("APP_BUILD", "X")},
            "static: STATIC_ROOT in shop/settings.py has to be",
        ),
        (
            {**DJANGO, "shop/settings.py": SETTINGS + "MEDIA_ROOT = 'media'\n"},
            "MEDIA_ROOT in shop/settings.py has to be below",
        ),
        (
            {**DJANGO, "shop/settings.py": SETTINGS.replace("import dj_database_url", "dj_database_url = None")},
            "database: shop/settings.py doesn't read DATABASE_URL",
        ),
    ],
)
def test_what_it_could_not_find_out_is_said(look, files, expected):
    assert expected in "\n".join(look(files).unknown)


def test_settings_that_it_reads_are_told_apart_by_what_they_hold(look):
    reads = "import os\na = os.environ.get('MAIL_FROM')\nb = os.getenv('STRIPE_KEY')\nc = os.environ['PATH']\n"
    assert look({"shop.py": FACTORY + reads}).wanted == {"environment": ["MAIL_FROM"], "secrets": ["STRIPE_KEY"]}


# What is printed


@pytest.mark.parametrize("files", [{"shop.py": FACTORY, "requirements.txt": "flask"}, DJANGO], ids=["flask", "django"])
def test_description_is_yaml_that_the_preflight_takes(init, project, files):
    done = init(project(files))
    assert done.exit_code == 0, done.stderr
    (app,) = yaml.safe_load(done.stdout)["apps"]
    assert list(app_rules.of_apps([app])) == []
    assert app["server_names"] == ["shop.test"]
    assert "  next  ./sanso init " in done.stderr


def test_sample_app_is_described_as_the_inventory_has_it(init):
    (app,) = yaml.safe_load(init("sample_app").stdout)["apps"]
    (told,) = yaml.safe_load(Path("inventory/local/group_vars/all/apps.yml").read_text())["apps"]
    keys = ("source", "wsgi", "migrate", "health_path", "static")
    assert {key: app[key] for key in keys} == {key: told[key] for key in keys}


def test_json_is_all_that_stdout_holds(init, project):
    done = init(project({"shop.py": FACTORY, "requirements.txt": "flask"}), "--json")
    told = json.loads(done.stdout)
    assert told["app"]["wsgi"] == "shop:create_app()"
    assert yaml.safe_load(told["yaml"])["apps"] == [told["app"]]


def test_folder_that_there_is_not_is_a_usage_error(init, tmp_path):
    assert init(tmp_path / "gone").exit_code == 2


def test_name_that_can_not_be_one_is_refused(init, project):
    done = init(project({"shop.py": FACTORY}), "--name", "../x")
    assert (done.exit_code, "'../x' is no name for an app" in done.stderr) == (1, True)


# What is written

EXISTING = """---
# The apps.
apps:
  - name: faults  # ours
    source: sample_app
    secrets:
      KEY: !vault |
        $ANSIBLE_VAULT;1.1;AES256
        6162

# Something else.
app_harakiri: 20
"""


@pytest.fixture
def inventory(tmp_path):
    (tmp_path / "mine/group_vars/all").mkdir(parents=True)
    return tmp_path / "mine"


@pytest.mark.parametrize(
    ("before", "names"),
    [
        (None, ["shop"]),
        ("---\napps: []\n", ["shop"]),
        ("apps:\n", ["shop"]),
        ("apps:\n- name: a\n  source: b\n", ["a", "shop"]),
        (EXISTING, ["faults", "shop"]),
    ],
    ids=["no file", "empty list", "nothing", "another indentation", "all kinds of things"],
)
def test_app_is_added_and_all_else_stays(init, project, inventory, before, names):
    file = inventory / "group_vars/all/apps.yml"
    if before:
        file.write_text(before)
    done = init(project({"shop.py": FACTORY, "requirements.txt": "flask"}), "--write", "-i", inventory)
    assert (done.exit_code, done.stderr.count("./sanso up")) == (0, 1), done.stderr
    after = file.read_text()
    told = yaml.load(after, Loader)
    assert [app["name"] for app in told["apps"]] == names
    for line in (before or "").splitlines():
        assert line in after or line == "apps: []"
    assert told.get("app_harakiri") == (20 if before == EXISTING else None)


def test_app_that_is_there_already_is_refused(init, project, inventory):
    (inventory / "group_vars/all/apps.yml").write_text("apps:\n  - name: shop\n")
    done = init(project({"shop.py": FACTORY}), "--write", "-i", inventory)
    assert (done.exit_code, "has an app shop already" in done.stderr) == (1, True)
    assert (inventory / "group_vars/all/apps.yml").read_text() == "apps:\n  - name: shop\n"


@pytest.mark.parametrize("before", ["apps: [{name: a}]\n", 'apps: "{{ others }}"\n'])
def test_file_that_it_can_not_add_to_stays_as_it_is(init, project, inventory, before):
    file = inventory / "group_vars/all/apps.yml"
    file.write_text(before)
    done = init(project({"shop.py": FACTORY}), "--write", "-i", inventory)
    assert (done.exit_code, file.read_text()) == (1, before)
    assert "in a way that I can't add to" in done.stderr
