"""The inventory as Ansible reads it: hosts, groups and variables."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from sanso.console import Failure
from sanso.project import DEFAULT_INVENTORY, ROOT, relative

CA_DIRECTORY = "~/.local/share/sanso/ca"  # nginx_local_ca_directory, where the inventory names none
MACHINE_DIRECTORY = "/var/lib/sanso"  # machine_directory, likewise


@dataclass
class Host:
    name: str
    groups: set[str]
    variables: dict

    @property
    def address(self) -> str:
        return self.get("ansible_host", self.name)

    @property
    def is_machine(self) -> bool:
        """Tell whether it is a machine on this computer, which Sansō may make and remove."""
        return "machines" in self.groups

    def get(self, name: str, default=""):
        return self.variables.get(name, default)


@dataclass
class Inventory:
    path: Path
    hosts: dict[str, Host] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The option that names it to ansible-playbook; the default one needs none."""
        return [] if self.path == DEFAULT_INVENTORY else ["-i", str(relative_to_root(self.path))]

    @property
    def option(self) -> str:
        """The option that names it to ./sanso, with a space before it."""
        return f" -i {relative(self.path)}" if self.words else ""

    @property
    def machines(self) -> list[Host]:
        return [host for host in self.hosts.values() if host.is_machine]

    def group(self, name: str) -> list[Host]:
        return [host for host in self.hosts.values() if name in host.groups]

    def sites(self) -> list[tuple[str, str]]:
        """(server name, address of the web tier) of each app that a browser can ask for."""
        web = self.group("web")
        apps = web[0].get("apps", []) if web else []
        names = [name for app in apps for name in app.get("server_names", [])[:1]]
        # Apps that share a name share its line.
        return [(name, web[0].address) for name in dict.fromkeys(names) if "*" not in name and name != "_"]

    def ca(self) -> Path | None:
        """The file of the CA that signed the certificates, where this computer made or was given one."""
        web = self.group("web")
        return ca_of(web[0].variables if web else {})


def ca_of(variables: dict) -> Path | None:
    """The file of the CA that a host's variables name: a private one that is asked by ACME, or the local one."""
    private = variables.get("acme_ca_certificate", "") if variables.get("nginx_certificates") == "acme" else ""
    path = Path(private or f"{variables.get('nginx_local_ca_directory', CA_DIRECTORY)}/ca.crt").expanduser()
    return path if path.exists() else None


def relative_to_root(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def read(path: Path | None = None) -> Inventory:
    """Read an inventory, the default one if `path` is None."""
    inventory = Inventory(path.resolve() if path else DEFAULT_INVENTORY)
    command = ["ansible-inventory", *inventory.words, "--list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(
            f"the inventory {relative(inventory.path)} can't be read", evidence=done.stderr, next_step=" ".join(command)
        )
    data = json.loads(done.stdout)
    variables = data.pop("_meta")["hostvars"]
    groups = {name: _hosts(data, name) for name in data}
    for name in sorted(set().union(*groups.values())):
        own = {group for group, hosts in groups.items() if name in hosts}
        inventory.hosts[name] = Host(name, own, _filled_in(variables.get(name, {}), name, own))
    if not inventory.hosts:
        raise Failure(f"the inventory {relative(inventory.path)} has no hosts", next_step=" ".join(command))
    return inventory


def _hosts(data, group) -> set[str]:
    """The hosts of a group and of its children."""
    entry = data.get(group, {})
    return set(entry.get("hosts", [])).union(*(_hosts(data, child) for child in entry.get("children", [])))


def _filled_in(variables, name, groups) -> dict:
    """Fill in what `ansible-inventory` leaves as it is written: {{ inventory_hostname }} and other variables.

    Plain Jinja2 does for what is read here. A value that needs Ansible itself (a lookup, a fact) stays as written.
    """
    context = {**variables, "inventory_hostname": name, "group_names": sorted(groups)}

    def fill(value):
        if isinstance(value, str) and "{{" in value:
            try:
                return jinja2.Template(value, undefined=jinja2.StrictUndefined).render(context)
            except jinja2.TemplateError:
                return value
        if isinstance(value, list):
            return [fill(item) for item in value]
        return {key: fill(item) for key, item in value.items()} if isinstance(value, dict) else value

    return fill(variables)
