"""The inventory as Ansible reads it: hosts, groups and variables."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import threading
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import jinja2

from sanso import project
from sanso.console import Failure
from sanso.project import DEFAULT_INVENTORY, ROOT, relative

CA_DIRECTORY = "~/.local/share/sanso/ca"  # nginx_local_ca_directory, where the inventory names none
MACHINE_DIRECTORY = "/var/lib/sanso"  # machine_directory, likewise
KEPT, MANY = 30, 200  # answers of Ansible that are kept; files of an inventory, from which on its answer isn't


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
    kept = _kept(inventory)
    try:
        data = json.loads(kept.read_text() if kept else _listed(inventory, command))
    except FileNotFoundError:
        said = _listed(inventory, command)
        _keep(kept, said)
        data = json.loads(said)
    variables = data.pop("_meta")["hostvars"]
    groups = {name: _hosts(data, name) for name in data}
    for name in sorted(set().union(*groups.values())):
        own = {group for group, hosts in groups.items() if name in hosts}
        inventory.hosts[name] = Host(name, own, _filled_in(variables.get(name, {}), name, own))
    if not inventory.hosts:
        raise Failure(f"the inventory {relative(inventory.path)} has no hosts", next_step=" ".join(command))
    return inventory


def _listed(inventory: Inventory, command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(
            f"the inventory {relative(inventory.path)} can't be read", evidence=done.stderr, next_step=" ".join(command)
        )
    return done.stdout


def _kept(inventory: Inventory) -> Path | None:
    """Where Ansible's answer is kept, by all that it depends on: asking takes most of a second, over and over.

    None where it depends on more than plain files, as a script's does, or would show what a vault hides.
    """
    if not inventory.path.is_dir():
        return None
    found = sorted(inventory.path.rglob("*"))
    files = [path for path in found if path.is_file()]
    if len(files) > MANY or any(path.is_symlink() and path.is_dir() for path in found):
        return None
    contents = {path: path.read_bytes() for path in files}
    if any(is_more_than_said(path, content) for path, content in contents.items()):
        return None
    own = {name: value for name, value in os.environ.items() if name.startswith("ANSIBLE_")}
    digest = hashlib.sha256(repr((inventory.path, sorted(own.items()), metadata.version("ansible-core"))).encode())
    for path, content in {ROOT / "ansible.cfg": (ROOT / "ansible.cfg").read_bytes(), **contents}.items():
        digest.update(repr((str(path), content)).encode())
    return project.STATE / "inventories" / f"{digest.hexdigest()}.json"


def is_more_than_said(path: Path, content: bytes) -> bool:
    """Tell whether Ansible makes more of a file than what stands in it."""
    runs = path.suffix not in (".yml", ".yaml") or os.access(path, os.X_OK)
    return runs or b"$ANSIBLE_VAULT" in content or re.search(rb"(?m)^plugin:", content) is not None


def _keep(kept: Path, said: str):
    """For its reader alone; of all, the newest few stay."""
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = kept.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    new.touch(mode=0o600)
    new.write_text(said)
    new.rename(kept)
    for old in sorted(kept.parent.glob("*.json"), key=project.last_written)[:-KEPT]:
        old.unlink(missing_ok=True)


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
