"""Give nginx the certificate of each app, all of them in one round trip.

Reads the PEM files on this computer (those of a vault too) and hands them to the module of the same name, so that no
key is an argument of a task, which Ansible would show.

Arguments: directory, group, and certificates, a list of dictionaries with name, names (host names that it must be good
for), files (their contents make the PEM file), and only_if_missing (whoever else makes it wins).
"""

from __future__ import annotations

from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"directory", "group", "certificates"})

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        arguments["certificates"] = [
            {
                "name": certificate["name"],
                "names": certificate["names"],
                "only_if_missing": certificate["only_if_missing"],
                "pem": "".join(self.content(file) for file in certificate["files"]),
            }
            for certificate in arguments["certificates"]
        ]
        # Keys would stand in the server's journal: a module tells there what it was called with.
        silent = {**task_vars, "ansible_no_target_syslog": True}
        return self._execute_module("certificates", arguments, task_vars=silent)

    def content(self, file: str) -> str:
        try:
            text = Path(self._loader.get_real_file(str(Path(file).expanduser()))).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise AnsibleActionFail(f"{file}: {error}") from error
        return text if text.endswith("\n") else f"{text}\n"
