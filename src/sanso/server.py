"""A server of one's own: how it is named on the command line, and the inventory that describes it."""

from __future__ import annotations

import getpass
import ipaddress
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import click

from sanso import console, reach
from sanso.project import ROOT, relative
from sanso.ssh import Way

EXAMPLE = ROOT / "inventory" / "example"
INVENTORIES = ROOT / "inventory"
USER = r"[A-Za-z_][A-Za-z0-9._-]*"
RESERVED = {"local", "example", "group_vars", "host_vars"}


@dataclass(frozen=True)
class Server:
    user: str
    address: str
    port: int = 22

    @property
    def name(self) -> str:
        """Its name in the inventory: Ansible reads colons, which an IPv6 address has, in a way of its own."""
        return self.address.replace(":", "-")


class Target(click.ParamType):
    """user@host[:port]. Nothing else passes: these words become arguments of ssh, a folder and a YAML value."""

    name = "user@host[:port]"
    shape = re.compile(
        rf"(?P<user>{USER})@(?:\[(?P<ip>[0-9a-fA-F:.]+)\]|(?P<host>[^:@\[\]]+))(?::(?P<port>\d{{1,5}}))?", re.ASCII
    )
    host = re.compile(r"(?!-)[A-Za-z0-9-]+(?<!-)(\.(?!-)[A-Za-z0-9-]+(?<!-))*")

    def convert(self, value, param, ctx):
        match = self.shape.fullmatch(value)
        if not match:
            self.fail(f"{value!r} isn't user@host or user@host:port", param, ctx)
        address, port = match["ip"] or match["host"], int(match["port"] or 22)
        if match["ip"]:
            try:
                ipaddress.IPv6Address(address)
            except ValueError:
                self.fail(f"{address!r} isn't an IPv6 address", param, ctx)
        elif not self.host.fullmatch(address) or address in RESERVED:
            self.fail(f"{address!r} isn't the name or the address of a host", param, ctx)
        if not 0 < port < 65536:
            self.fail(f"{port} isn't a port", param, ctx)
        return Server(match["user"], address, port)


def prepare(server: Server, *, yes: bool) -> Path:
    """Give the inventory that describes this server: the one that is there, or a new copy of inventory/example."""
    folder = INVENTORIES / server.name
    if folder.exists():
        console.say(f"Using {relative(folder)} as it is.")
        return folder
    reach.require(Way(server.address, server.user, server.port), yes=yes)
    half = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(EXAMPLE, half)
    admin = admin_for(server)
    for file in half.rglob("*.yml"):
        file.write_text(filled_in(file.read_text(), server, admin, public_keys()))
    half.rename(folder)
    console.say(
        f"Wrote {relative(folder)}, which is yours to change: group_vars/all/apps.yml there describes your app."
    )
    return folder


def filled_in(text: str, server: Server, admin: str, keys: list[str]) -> str:
    """The text of an example's file, comments and all, with this server in the place of the one that it speaks of."""
    text = text.replace("my-server.example.org", server.address)
    text = re.sub(r"\bmy-server\b", server.name, text)
    text = re.sub(r"(?m)^( *ansible_user:).*$", rf"\1 {server.user}", text)
    text = re.sub(r"(?m)^( *ansible_port:).*$", rf"\1 {server.port}", text)
    if admin and keys:
        lines = ["os_admins:", f"  - name: {admin}", "    keys:", *(f"      - {json.dumps(key)}" for key in keys)]
        # In the place of the empty list and of the example in the comment below it.
        text = re.sub(r"(?m)^os_admins: \[\]\n(?:#  .*\n)*", lambda match: "\n".join(lines) + "\n", text)
    return text


def admin_for(server: Server) -> str:
    """The account that the person who runs this gets on the server, or an empty word for none.

    Never the one that opens the server, nor root: an admin has the keys that are listed and no others, and the next
    person may come in with a key of their own.
    """
    name = getpass.getuser()
    return name if re.fullmatch(USER, name) and name not in ("root", server.user) else ""


def public_keys() -> list[str]:
    """The public keys of the person who runs this: what the agent holds, and the files beside the private keys."""
    try:
        agent = subprocess.run(["ssh-add", "-L"], capture_output=True, text=True, check=False)
        found = agent.stdout.splitlines() if agent.returncode == 0 else []
    except FileNotFoundError:
        found = []
    found += [file.read_text().strip() for file in sorted(Path("~/.ssh").expanduser().glob("id_*.pub"))]
    by_key = {line.split()[1]: line for line in found if len(line.split()) > 1}
    return list(by_key.values())
