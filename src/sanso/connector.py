"""pyinfra's way to the servers of an inventory: pyinfra @sanso/inventory/local deploys/site.py

Hosts, groups and variables come from the Ansible inventory that is named. Commands go through OpenSSH's own client,
with the inventory's options: pyinfra's usual connector is Paramiko, which knows no key exchange that these servers
take. An inventory that preflight refuses stops the run before any connection.

Data (pyinfra's --data):

- variables: a JSON or YAML file whose variables (those of Vault too) win over the inventory's, as ansible-playbook's
  -e @FILE
"""

from __future__ import annotations

import base64
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypedDict
from unittest import mock

from gevent.monkey import get_original
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import ConnectError, InventoryError
from pyinfra.api.output import echo
from pyinfra.api.util import get_file_io
from pyinfra.connectors.base import BaseConnector, DataMeta
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command

from sanso.project import DEFAULT_INVENTORY
from sanso.ssh import Way

# Ansible, once it is imported, tries a name lookup that has to fail; gevent's would report that as a crash.
with mock.patch("socket.getaddrinfo", get_original("socket", "getaddrinfo")):
    from ansible.errors import AnsibleError

    from sanso import preflight, pyinfra_events
    from sanso.variables import Landscape, Variables, loader


class Data(TypedDict):
    variables: str
    inventory: str


@cache
def read(inventory: str, extra: str = "") -> Landscape:
    """The inventory at a path, with a file of variables that win over its own."""
    try:
        more = loader().load_from_file(str(Path(extra).resolve()), trusted_as_template=True) if extra else {}
        return Landscape(Path(inventory), more)
    except AnsibleError as error:
        raise InventoryError(f"{extra or f'The inventory {inventory}'} can't be read: {error}") from error


@cache
def checked(inventory: str, extra: str) -> Landscape:
    """The same, if preflight has nothing against it."""
    if problem := refusal(found := read(inventory, extra)):
        raise InventoryError(problem)
    return found


def refusal(found: Landscape) -> str:
    """What preflight has to say against it; empty if it is good."""
    for host in found.hosts:
        said, values = found.inventory_of(host), {}
        for name in preflight.concerned(found.names_of(host), preflight.load_specs()):
            try:
                values[name] = said[name]
            except AnsibleError as error:
                return preflight.explained(name, error, can_ask=False)
        if problem := preflight.check(values, found.groups, found.folder):
            return problem
    return "" if found.hosts else preflight.check({}, found.groups, found.folder)


class Connector(BaseConnector):
    """variables: the host's, as the roles see them. inventory: the folder that sets them."""

    handles_execution = True
    data_cls = Data
    data_meta = {  # noqa: RUF012 -- as pyinfra has it
        "variables": DataMeta("A file of variables that win over the inventory's.", ""),
        "inventory": DataMeta("The path of the Ansible inventory.", ""),
    }

    @staticmethod
    def make_names_data(name: str | None) -> Iterator[tuple[str, dict, list[str]]]:
        path = str(Path(name).resolve() if name else DEFAULT_INVENTORY)
        hosts = read(path).hosts or checked(path, "").hosts  # which says what is missing
        for host, groups in hosts.items():
            yield host, {"inventory": path, "_sudo": True}, sorted(groups)

    def __init__(self, state, host):
        super().__init__(state, host)
        pyinfra_events.attach(state)
        landscape = checked(self.data["inventory"], self.data["variables"])
        self.inventory: Path = landscape.folder
        self.variables: Variables = landscape.variables_of(host.name)
        try:
            self.way = Way.by(host.name, self.variables)
            self.sudo_password = self.variables.get("ansible_become_password", "")
        except AnsibleError as error:
            raise InventoryError(preflight.explained(host.name, error, can_ask=False)) from error

    def connect(self):
        done = self.way.run("true")
        if done.returncode:
            what, then = self.way.explain(done.stderr)
            raise ConnectError(f"{what}; {then}\n{done.stderr.strip()}")

    def execute(self, command: str, *, sudo: bool = True, given: bytes = b"") -> subprocess.CompletedProcess:
        """Run a shell command there, which may read what is given. As root, unless sudo is False."""
        return self._execute(self.way, command, sudo, given)

    def execute_anew(self, command: str, port: int = 0, alias: bool = False) -> subprocess.CompletedProcess:
        """The same over a connection that shares nothing with the one that we have, as if sudo were new to us.

        port: another one than the inventory's; alias: where the server has to be who it is on that one.
        """
        words, way = ["-o", "ControlMaster=no", "-o", "ControlPath=none"], self.way
        if port and port != way.port:
            # What is known by a name alone, on 22, is known on every port.
            if alias and way.port != 22 and "HostKeyAlias" not in shlex.join(way.options):
                words += ["-o", f"HostKeyAlias=[{way.address}]:{way.port}", "-o", "StrictHostKeyChecking=yes"]
            way = replace(way, port=port)
        return self._execute(way, command, True, b"", *words, flags="-k ")

    def _execute(self, way, command, sudo, given, *words, flags=""):
        if sudo:
            password = self.sudo_password
            flags += "-S -p ''" if password else "-n"
            # A server's first user may be root, without sudo.
            script = f'if [ "$(id -u)" = 0 ]; then exec "$@"; else exec sudo -H {flags} "$@"; fi'
            command = shlex.join(["sh", "-c", script, "sudo", "sh", "-c", command])
            given = (f"{password}\n".encode() if password else b"") + given
        return way.run(command, *words, given=given, seconds=None)

    # pyinfra's own words for it

    def run_shell_command(self, command: StringCommand, print_output=False, print_input=False, **arguments):
        codes = arguments.pop("_success_exit_codes", None) or [0]
        stdin, _, _ = (arguments.pop(name, None) for name in ("_stdin", "_get_pty", "_timeout"))
        sudo = arguments.pop("_sudo", False)
        text = make_unix_command(command, **arguments)
        if print_input:
            echo(f"{self.host.print_prefix}>>> {text}", err=True)
        given = "\n".join(stdin if isinstance(stdin, list | tuple) else [stdin]) + "\n" if stdin else ""
        done = self.execute(text.get_raw_value(), sudo=sudo, given=given.encode())
        streams = (("stdout", done.stdout), ("stderr", done.stderr))
        lines = [OutputLine(name, line) for name, said in streams for line in said.splitlines()]
        if print_output:
            for line in lines:
                echo(f"{self.host.print_prefix}{line.line}", err=True)
        return done.returncode in codes, CommandOutput(lines)

    def put_file(self, filename_or_io, remote_filename, remote_temp_filename=None, **arguments):
        with get_file_io(filename_or_io) as file:
            content = file.read()
        target = shlex.quote(remote_filename)
        done = self.execute(
            f"cat > {target}.new && mv {target}.new {target}",
            sudo=arguments.get("_sudo", False),
            given=content.encode() if isinstance(content, str) else content,
        )
        if done.returncode:
            raise OSError(done.stderr)
        return True

    def get_file(self, remote_filename, filename_or_io, remote_temp_filename=None, **arguments):
        done = self.execute(f"base64 {shlex.quote(remote_filename)}", sudo=arguments.get("_sudo", False))
        if done.returncode:
            raise OSError(done.stderr)
        with get_file_io(filename_or_io, "wb") as file:
            file.write(base64.b64decode(done.stdout))
        return True
