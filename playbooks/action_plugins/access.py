"""Change what decides who gets in (SSH, sudo, firewall, keys), and keep the change only if we still get in.

The module of the same name validates the files, keeps the old ones, arms what brings those back within a minute or at
a reboot, and installs the new ones. Then this opens a second, fresh connection as the inventory says, and confirms
over it, with sudo, that the new settings stay. If it can't, the old ones return, and the run fails with the reasons.
With nothing to change it is one round trip.

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

import contextlib
import json
import secrets
import sys
import time
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import become_loader, connection_loader

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from sanso.places import where_set  # noqa: E402 -- it lies in the checkout, not in Ansible's Python

DEFAULTS = {"state": "present", "mode": "0644", "validate": "", "within": ""}
KEYS = {"template", "content", "variables", *DEFAULTS}
PROGRAM = "/usr/bin/python3 /var/lib/sanso/access/trial.py"
DOOR = "/run/sanso-access/back"
SETTLING = 5  # s in which an SSH server that reads its settings again may refuse
RETURN = 75  # s after which the old settings are back, whatever happened

# What ssh or sudo says, what that means, and which files have to do with it (the beginning of their paths; all that
# changed, if none of these did).
SIGNS = {
    "no matching": ("this computer's SSH client shares no algorithm with the server any more", ["/etc/ssh"]),
    "Host key verification failed": ("this computer doesn't know the server by a host key that it has", ["/etc/ssh"]),
    "IDENTIFICATION HAS CHANGED": ("this computer doesn't know the server by a host key that it has", ["/etc/ssh"]),
    "Permission denied": ("the SSH server doesn't take our key", ["/etc/ssh/sshd_config.d", "/home", "/root"]),
    "Connection refused": ("no SSH server listens there", ["/etc/ssh", "/etc/nftables.conf"]),
    "timed out": ("nothing answers there: a firewall drops what we send", ["/etc/nftables.conf", "/etc/ssh"]),
    "Connection closed": ("what answers there is no SSH server, or doesn't want us", ["/etc/ssh", "/etc/fail2ban"]),
    "sudo": ("sudo doesn't let us become root any more", ["/etc/sudoers.d"]),
}


def kind_of(plugin) -> str:
    return plugin.ansible_name.rpartition(".")[2]


class Shut(Exception):
    """We don't get in, with what ssh or sudo said."""


class ActionModule(ActionBase):
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"files", "admins", "services", "rsa_bits", "port"})

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        files = self._task.args["files"]
        self.token, port = secrets.token_hex(8), int(self._task.args.get("port", 0))
        arguments = {
            "files": [self.rendered(path, how, task_vars) for path, how in files.items()],
            "admins": self._task.args.get("admins", []),
            "services": self._task.args.get("services", []),
            "rsa_bits": self._task.args.get("rsa_bits", 4096),
            "token": self.token,
        }
        # The files' contents would stand in the server's journal: a module tells there what it was called with.
        silent = {**task_vars, "ansible_no_target_syslog": True}
        result = self._execute_module("access", arguments, task_vars=silent)
        if result.get("failed") or not result.get("on_trial"):
            return result
        begun = time.monotonic()
        try:
            self.confirm(port)
        except Shut as shut:
            return {
                **result,
                "changed": False,
                "failed": True,
                "msg": self.returned(str(shut), result["paths"], port, begun, task_vars),
            }
        return {**result, **self.notice(result["paths"], port, task_vars)}

    # What shall be

    def rendered(self, path: str, how: dict, task_vars: dict) -> dict:
        """What the module is told about a file."""
        if unknown := how.keys() - KEYS:
            raise AnsibleError(f"{path} has no key {', '.join(sorted(unknown))}; known are {', '.join(sorted(KEYS))}")
        file = {
            "path": path,
            "content": how.get("content", ""),
            **{key: how.get(key, DEFAULTS[key]) for key in DEFAULTS},
        }
        if file["state"] == "present" and "content" not in how:
            templates = self._shared_loader_obj.action_loader.get(
                "render",
                task=self._task,
                connection=self._connection,
                play_context=self._play_context,
                loader=self._loader,
                templar=self._templar,
                shared_loader_obj=self._shared_loader_obj,
            )
            file["content"] = templates.content(how.get("template", f"{path.lstrip('/')}.j2"), task_vars)
        return file

    # Whether we still get in

    def fresh(self, port: int, alias: bool = False):
        """A connection of the same kind, with the same options, that shares nothing with the one that we have.

        alias: on another port, the server is known by the name that it has here now.
        """
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

    def command(self, command: str, sudo: bool = True, connection=None) -> str:
        """What it says, over the connection that we have or another one. Raises Shut."""
        before = self._connection
        self._connection = connection or before
        try:
            # With something to read, as modules have it: then there is no terminal, which sudo may be told to want.
            given = b"\n" if self._is_pipelining_enabled("new") else None
            done = self._low_level_execute_command(command, sudoable=sudo, in_data=given)
        except AnsibleError as error:  # ssh's own failure, or a password that sudo doesn't take
            raise Shut(str(error)) from error
        finally:
            self._connection = before
        if done["rc"]:
            said = (done["stderr"] or done["stdout"]).strip()
            raise Shut(said if "sudo" in said else f"sudo, or what it shall run, failed with {done['rc']}: {said}")
        return done["stdout"]

    def outcome(self, verb: str, connection=None) -> dict:
        """How the trial ended; {} if it hasn't."""
        said = self.command(f"{PROGRAM} {verb} {self.token}", connection=connection)
        try:
            return json.loads(said.strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise Shut(f"sudo, or what it shall run, said: {said.strip()}") from None

    def confirm(self, port: int):
        """Come in anew, become root, and say that the settings stay: all in one command."""
        deadline, alias = time.monotonic() + SETTLING, True
        while True:
            try:
                if not self.outcome("keep", self.fresh(port, alias)).get("kept"):
                    raise Shut("we came in too late: the old settings returned before")
                return
            except Shut as shut:
                if alias and "Host key verification failed" in str(shut):
                    alias = False
                    continue
                # sshd closes its door for a moment while it reads its settings again.
                if "refused" not in str(shut) or time.monotonic() > deadline:
                    raise
                time.sleep(0.3)

    # What to do if not

    def returned(self, shut: str, paths: list, port: int, begun: float, task_vars: dict) -> str:
        """Take the change back at once if that can be, see that it is, and say all of it."""
        problems = self.take_back()
        again = ""
        while time.monotonic() < begun + RETURN:
            try:
                # Waits for a return that is under way; after that, it only says how it went.
                problems += self.outcome("back", self.fresh(0)).get("problems", [])
                break
            except Shut as still:
                again = str(still)
                time.sleep(1)
        else:
            problems.append(f"a new connection still fails, {again}")
        end = "The old settings are in force again, and a new connection with sudo works: nothing was changed."
        if problems:
            end = "The old settings were to return, but: " + "; ".join(dict.fromkeys(problems))
        return "\n".join([*self.reasons(shut, paths, port, task_vars), end])

    def take_back(self) -> list:
        """Over the connection that we have, else by the timer. Returns what went wrong on the server."""
        for attempt in (lambda: self.outcome("back"), lambda: self.command(f"touch {DOOR}", sudo=False)):
            # If sudo is what broke, whoever is logged in may wish for the old settings.
            with contextlib.suppress(Shut, AnsibleConnectionFailure):
                result = attempt()
                return list(result.get("problems", [])) if isinstance(result, dict) else []
        return []

    def reasons(self, shut: str, paths: list, port: int, task_vars: dict) -> list:
        user = self._connection.get_option("remote_user") if kind_of(self._connection) == "ssh" else ""
        host = task_vars.get("ansible_host", task_vars["inventory_hostname"])
        at = port or task_vars.get("ansible_port", 22)
        meaning, places = next((why for sign, why in SIGNS.items() if sign in shut), ("we don't get in any more", []))
        changed = [path for path in paths if path.startswith(tuple(places))] or paths
        files = self._task.args["files"]
        names = [
            name for path in changed for name in (files.get(path) or {"variables": ["os_admins"]}).get("variables", [])
        ]
        lines = [
            f"The new settings would lock us out: {meaning}.",
            f"Tried: a new SSH connection as {user or 'the present user'} to {host}, port {at}, and sudo on it.",
            f"It said: {shut.strip()}",
            f"Changed were: {', '.join(paths)}",
            "Look at:",
        ]
        values = {name: self._templar.template(task_vars.get(name)) for name in dict.fromkeys(names)}
        told = {name: value for name, value in values.items() if value} or values
        return lines + [
            f"  {name}: {str(value).strip()} ({self.place(name, task_vars)})" for name, value in told.items()
        ]

    @staticmethod
    def place(name: str, task_vars: dict) -> str:
        inventory = Path(task_vars.get("inventory_file") or task_vars.get("inventory_dir") or ".")
        return where_set(name, inventory.parent if inventory.is_file() else inventory)

    # What is left to do

    def notice(self, paths: list, port: int, task_vars: dict) -> dict:
        said = []
        now = int(task_vars.get("ansible_port", 22))
        if port and port != now:
            place = self.place("ansible_port", task_vars)
            said.append(
                f"SSH answers on port {port} too. Set ansible_port: {port} ({place}) and run again: then {now} closes."
            )
        result = {"warnings": list(said)} if said else {}
        if any(path.endswith("/.ssh/authorized_keys") for path in paths):
            said.append("Keys of os_admins were changed. Whether they open the server, only their owners can try.")
        return {**result, "notice": " ".join(said)} if said else {}
