"""The servers of an inventory: where each one is, and what it should be, by its variables and the roles' defaults."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import testinfra
import yaml

from sanso import apps, inventory
from sanso.ssh import CONTROL, Way

ROLES = Path(__file__).parents[2] / "roles"


@dataclass(frozen=True)
class App:
    """An app's description, with what the roles make of it."""

    name: str
    wsgi: str
    server_names: list[str]
    path: str
    database: str
    health_path: str
    static: dict[str, str]
    processes: int
    processes_min: int
    threads: int
    waiting_max: int
    limits: dict[str, str | int]
    redis: bool
    workers: dict[str, dict]
    schedule: dict[str, dict]
    network: bool
    trace: bool
    body_max: str
    headers: dict[str, str]
    gzip: bool
    extra_unit: str
    certificate: str  # local, acme, or a file of one's own

    @property
    def service(self) -> str:
        return f"app-{self.name}@current.service"

    @property
    def socket(self) -> str:
        return f"/run/app-{self.name}/current.sock"

    @property
    def redis_unit(self) -> str:
        return f"app-{self.name}-redis.service"

    @property
    def redis_socket(self) -> str:
        return f"/run/app-{self.name}-redis/redis.sock"

    def worker_units(self, name: str) -> list[str]:
        return apps.workers_of(asdict(self))[name]

    @property
    def beside(self) -> list[str]:
        """The units that run beside its pages."""
        return apps.beside(asdict(self))

    @property
    def upstream(self) -> str:
        """The link to it by which nginx finds it."""
        return f"/run/app-{self.name}/app.sock"

    def at(self, path: str) -> str:
        """A path of the app's, as its server calls it."""
        return f"{self.path.rstrip('/')}{path}"

    @property
    def current(self) -> str:
        """The link to the release that serves."""
        return f"/srv/{self.name}/current"

    @property
    def host_name(self) -> str:
        """A name under which it is served."""
        return self.server_names[0].replace("*", "sanso-check")

    @property
    def is_sample(self) -> bool:
        return self.wsgi == "sample_app:create_app()"


class Site(NamedTuple):
    name: str
    app: App


class Static(NamedTuple):
    app: App
    prefix: str  # as the server calls it
    folder: str

    @property
    def public(self) -> str:
        """Its path in a release, for nginx."""
        return f"public/{self.prefix.removeprefix(self.app.path.strip('/')).strip('/')}"


@dataclass(frozen=True)
class Sandbox:
    """A unit, and what it may at most."""

    unit: str
    exposure: float  # as systemd-analyze counts
    user: str
    groups: set[str]
    writable: set[str]
    families: set[str]
    loosened: str  # the variable that loosens it; empty where none does
    capabilities: int = 0
    network: bool = False
    may_be_writable: frozenset[str] = frozenset()  # what not every platform has


def loosened(variable: str, lines: str) -> str:
    """The variable, if its lines are about more than what the unit may consume."""
    harmless = ("#", "Limit", "CPU", "IO", "MemoryMax", "MemoryHigh", "Nice", "OOM", "Tasks")
    return variable if any(line.strip() and not line.startswith(harmless) for line in lines.splitlines()) else ""


@dataclass(frozen=True, eq=False)
class Server:
    name: str
    groups: set[str] = field(repr=False)
    settings: dict = field(repr=False)
    way: Way = field(repr=False)

    @property
    def address(self) -> str:
        return self.way.address

    @cached_property
    def apps(self) -> list[App]:
        # Literals, so that they can be read without Ansible, as all defaults are.
        defaults = yaml.safe_load((ROLES / "app/vars/main.yml").read_text())["__app_defaults"]
        defaults["body_max"] = self.settings["nginx_client_max_body_size"]
        defaults["certificate"] = self.settings["nginx_tls_certificate"] or self.settings["nginx_certificates"]
        known = {field.name for field in fields(App)}
        descriptions = [{**defaults, **app} for app in self.settings["apps"]]
        return [App(**{name: app[name] for name in known}) for app in descriptions]

    @property
    def sites(self) -> list[Site]:
        """The names, each with its app: of those that share one, that whose certificate it is served with."""
        shared = sorted(self.apps, key=lambda app: app.path, reverse=True)
        first = {name: app for app in shared for name in app.server_names}
        names = dict.fromkeys(name for app in self.apps for name in app.server_names)
        return [Site(name.replace("*", "sanso-check"), first[name]) for name in names]

    @property
    def static(self) -> list[Static]:
        return [
            Static(app, app.at(prefix).strip("/"), folder) for app in self.apps for prefix, folder in app.static.items()
        ]

    @property
    def sandboxes(self) -> dict[str, Sandbox]:
        """By name, of the tiers that run here."""
        found = {}
        if "web" in self.groups:
            found["nginx"] = Sandbox(
                "nginx.service",
                1.5,
                "www-data",
                {"ssl-cert"},
                {"/run/nginx", "/var/lib/nginx", "/var/log/sanso/nginx"},
                {"AF_UNIX", "AF_INET", "AF_INET6"},
                loosened("nginx_extra_unit", self.settings["nginx_extra_unit"]),
                # CAP_NET_BIND_SERVICE, for ports of its own.
                capabilities=("listen" in self.settings["nginx_extra_http"] + self.settings["nginx_extra_server"])
                << 10,
                network=True,
                may_be_writable=frozenset({"/var/log/nginx"}),
            )
        if "db" in self.groups:
            found["mysql"] = Sandbox(
                "mysql.service",
                0.5,
                "mysql",
                set(),
                {"/run/mysqld", "/var/lib/mysql", "/var/log/mysql"},
                {"AF_UNIX"},
                loosened("mysql_extra_unit", self.settings["mysql_extra_unit"]),
                may_be_writable=frozenset({"/var/lib/mysql-files", "/var/lib/mysql-keyring"}),
            )
        if "app" in self.groups:
            for app in self.apps:
                found[app.name] = self.sandbox_of(app)
                if app.redis:
                    found[app.redis_unit] = self.sandbox_of_redis(app)
                for name, said in app.workers.items():
                    sandbox = self.sandbox_of(replace(app, network=said.get("network", False)))
                    found |= {unit: replace(sandbox, unit=unit) for unit in app.worker_units(name)}
        return found

    def sandbox_of_redis(self, app: App) -> Sandbox:
        folders = {f"/srv/{app.name}/redis", f"/run/app-{app.name}-redis"}
        return Sandbox(app.redis_unit, 0.5, app.name, set(), folders, {"AF_UNIX"}, "")

    def sandbox_of(self, app: App) -> Sandbox:
        return Sandbox(
            app.service,
            1.2 if app.network else 0.5,
            app.name,
            {self.settings["app_mysql_group"]} if app.database == "mysql" else set(),
            {f"/srv/{app.name}/shared", f"/var/log/sanso/{app.name}"},
            {"AF_UNIX", "AF_NETLINK"} | ({"AF_INET", "AF_INET6"} if app.network else set()),
            loosened(f"extra_unit of {app.name}", app.extra_unit),
            network=app.network,
        )

    def headers_of(self, app: App) -> dict[str, str]:
        """The security headers of an answer that holds none of its own."""
        always = yaml.safe_load((ROLES / "nginx/vars/main.yml").read_text())["__nginx_headers_by_default"]
        headers = {**always, **self.settings["nginx_headers"], **app.headers}
        return {name: value for name, value in headers.items() if value}

    @property
    def open_ports(self) -> set[int]:
        """The TCP ports that the firewall lets everyone reach."""
        ssh = {self.way.port, self.settings["os_ssh_port"]} - {0}
        return ssh | set(self.settings["os_firewall_tcp_ports"])

    @cached_property
    def host(self) -> testinfra.host.Host:
        """testinfra's way in. Not its `ansible://`, which takes the inventory's Jinja as it is written."""
        CONTROL.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Without a ControlPath, each check would open a connection of its own: 250 ms instead of 25.
        options = ["ControlMaster=auto", "ControlPersist=60s", f"ControlPath={CONTROL}/sanso-%C", "BatchMode=yes"]
        words = [word for option in options for word in ("-o", option)]
        user = f"{self.way.user}@" if self.way.user else ""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return testinfra.get_host(
            f"ssh://{user}{address}:{self.way.port}",
            ssh_extra_args=shlex.join([*words, *self.way.options]),
            sudo=True,
        )

    @property
    def ca(self) -> Path | None:
        """The file of the local CA, if there is one."""
        path = Path(self.settings["nginx_local_ca_directory"]).expanduser() / "ca.crt"
        return path if path.exists() else None

    def voucher(self, app: App) -> Path | None:
        """The CA's file that a browser must know for an app's certificate. None: those that this computer trusts."""
        if app.certificate == "local":
            return self.ca
        private = self.settings["acme_ca_certificate"] if app.certificate == "acme" else ""
        return Path(private).expanduser() if private else None

    @cached_property
    def obstacle(self) -> str:
        """Why nothing can be asked there; empty if it can."""
        try:
            done = self.host.run("true")
        except RuntimeError as error:  # ssh itself failed
            said = error.args[0].stderr if error.args else str(error)
            return ": ".join(self.way.explain(said))
        return done.stderr.strip() or "sudo fails there" if done.failed else ""


def read(path: Path) -> list[Server]:
    """The servers of an inventory."""
    defaults = {}
    for file in sorted(ROLES.glob("*/defaults/main.yml")):
        defaults |= yaml.safe_load(file.read_text()) or {}
    return [
        Server(host.name, host.groups, {**defaults, **host.variables}, Way.to(host))
        for host in inventory.read(path).hosts.values()
    ]
