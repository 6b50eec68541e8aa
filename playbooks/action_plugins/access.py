"""Change what decides who gets in (SSH, sudo, firewall, keys), and keep the change only if we still get in.

The module of the same name puts the new settings on trial; src/sanso/entrance.py decides by a second, fresh connection,
which this makes as the inventory says. With nothing to change it is one round trip.

Arguments:

- files: a dictionary of target path to a dictionary of template, content, state, mode, validate (as in `render`), and
  - within: the folder that `validate` reads (no %s then): all candidates lie in a copy of it that only it sees
  - variables: the variables of the inventory that decide what is in it, to name them when it goes wrong
- admins: who gets in with which keys
- services: what has to run, now and at boot
- rsa_bits: the least that the RSA host key has
- port: of sshd, where it shall be another one than the inventory's; 0 if it shall not

Returns paths (those that changed), diff, and a notice where there is something left to do.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.loader import become_loader, connection_loader

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from sanso.actions import Action  # noqa: E402 -- it lies in the checkout, not in Ansible's Python
from sanso.entrance import Shut, settle  # noqa: E402 -- as above
from sanso.files import ON_TRIAL  # noqa: E402 -- as above
from sanso.places import where_set  # noqa: E402 -- as above


def kind_of(plugin) -> str:
    return plugin.ansible_name.rpartition(".")[2]


class ActionModule(Action):
    """Is the Door of sanso.entrance, too."""

    _VALID_ARGS = frozenset({"files", "admins", "services", "rsa_bits", "port"})

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        self.variables, token = task_vars, secrets.token_hex(8)
        arguments = {**self._task.args, "files": self.told(ON_TRIAL, task_vars, kept=["variables"]), "token": token}
        port = int(arguments.pop("port", 0))
        result = self.silently("access", arguments, task_vars)
        return settle(self, result, self._task.args["files"], token, port)

    @property
    def user(self) -> str:
        return self._connection.get_option("remote_user") if kind_of(self._connection) == "ssh" else ""

    @property
    def host(self) -> str:
        return self.variables.get("ansible_host", self.variables["inventory_hostname"])

    @property
    def port(self) -> int:
        return int(self.variables.get("ansible_port", 22))

    def value(self, name: str):
        return self._templar.template(self.variables.get(name))

    def place(self, name: str) -> str:
        inventory = Path(self.variables.get("inventory_file") or self.variables.get("inventory_dir") or ".")
        return where_set(name, inventory.parent if inventory.is_file() else inventory)

    def here(self, command: str, sudo: bool = True) -> str:
        try:
            # With something to read, as modules have it: then there is no terminal, which sudo may be told to want.
            given = b"\n" if self._is_pipelining_enabled("new") else None
            done = self._low_level_execute_command(command, sudoable=sudo, in_data=given)
        except AnsibleError as error:  # ssh's own failure, or a password that sudo doesn't take
            raise Shut(str(error)) from error
        if done["rc"]:
            said = (done["stderr"] or done["stdout"]).strip()
            raise Shut(said if "sudo" in said else f"sudo, or what it shall run, failed with {done['rc']}: {said}")
        return done["stdout"]

    def anew(self, command: str, port: int = 0, alias: bool = False) -> str:
        before = self._connection
        self._connection = self.fresh(port, alias)
        try:
            return self.here(command)
        finally:
            self._connection = before

    def fresh(self, port: int, alias: bool = False):
        """A connection of the same kind, with the same options, that shares nothing with the one that we have."""
        now = self._connection
        fresh = connection_loader.get(now.ansible_name, self._play_context, new_stdin=None)
        fresh._options, fresh._shell = {**now._options}, now._shell
        if now.become:
            become = become_loader.get(now.become.ansible_name)
            become._options = {**now.become._options}
            if kind_of(become) == "sudo":  # as somebody whose password sudo has forgotten
                become._options["become_flags"] = f"-k {become._options.get('become_flags') or ''}"
            fresh.set_become_plugin(become)
        if kind_of(now) == "ssh":
            # ssh takes the first value that it meets.
            own = "-o ControlMaster=no -o ControlPath=none "
            if port and port != int(now.get_option("port") or 22):
                own += f"{self.host_key_alias(now)} " if alias else ""
                fresh._options["port"] = port
            fresh._options["ssh_args"] = own + (now.get_option("ssh_args") or "")
            fresh._options["reconnection_retries"] = 0
        return fresh

    @staticmethod
    def host_key_alias(connection) -> str:
        """So that the server is known by the same host key on another port, and nobody is asked. On 22 it has no alias:
        what is known by a name alone is known on every port."""
        given = " ".join(str(connection.get_option(f"ssh_{each}args") or "") for each in ("", "common_", "extra_"))
        port, host = connection.get_option("port"), connection.get_option("host")
        return (
            ""
            if "HostKeyAlias" in given or port in (None, 22, "22")
            else f"-o HostKeyAlias=[{host}]:{port} -o StrictHostKeyChecking=yes"
        )
