"""Which tiers serve this request, as far as the app can tell from its own place among them."""

import os
from importlib.metadata import version
from platform import python_version
from typing import NamedTuple

from flask import request

from .models import db

DATABASES = {"mysql": "MySQL", "mariadb": "MariaDB", "sqlite": "SQLite"}


class Tier(NamedTuple):
    name: str  # the product, with its version if that is known
    detail: str


def tiers() -> list[Tier]:
    """The path of this request, from the browser to the database."""
    return [browser(), *web(), server(), Tier(f"Flask {version('flask')}", f"Python {python_version()}"), database()]


def browser() -> Tier:
    protocol = request.environ["SERVER_PROTOCOL"]
    return Tier("Browser", f"{protocol} over TLS" if request.is_secure else protocol)


def web() -> list[Tier]:
    """nginx, if it says that it is there: `uwsgi_param NGINX_VERSION $nginx_version;`"""
    nginx = request.environ.get("NGINX_VERSION")
    return [Tier(f"nginx {nginx}", request.environ["SERVER_NAME"])] if nginx else []


def server() -> Tier:
    try:
        import uwsgi  # exists only inside uWSGI
    except ImportError:
        return Tier("Flask's development server", f"process {os.getpid()}")
    return Tier(f"uWSGI {uwsgi.version.decode()}", f"worker {uwsgi.worker_id()}, process {os.getpid()}")


def database() -> Tier:
    """Costs no query: SQLAlchemy asked for the version when this process first connected. Before, there is none."""
    dialect, url = db.engine.dialect, db.engine.url
    number = ".".join(map(str, (dialect.server_version_info or ())[:3]))  # what follows is the package's
    if socket := url.query.get("unix_socket"):
        where = f"Unix socket {socket}"
    else:
        where = f"TCP to {url.host}" if url.host else "a file"
    return Tier(f"{DATABASES.get(dialect.name, dialect.name)} {number}".rstrip(), where)
