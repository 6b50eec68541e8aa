"""Give nginx the certificate of each app, all of them in one round trip.

Reads the PEM files on this computer (those of a vault too) and hands them to the module of the same name, so that no
key is an argument of a task, which Ansible would show.

Arguments: directory, group, and certificates, a list of dictionaries with name, names (host names that it must be good
for), files (their contents make the PEM file), and only_if_missing (whoever else makes it wins).
"""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.errors import AnsibleActionFail

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "src"))

from sanso.actions import Action  # noqa: E402 -- it lies in the checkout, not in Ansible's Python
from sanso.files import joined  # noqa: E402 -- as above


class ActionModule(Action):
    _VALID_ARGS = frozenset({"directory", "group", "certificates"})

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        described = [dict(certificate) for certificate in self._task.args["certificates"]]
        try:
            for certificate in described:
                certificate["pem"] = joined(certificate.pop("files"), self._loader.get_real_file)
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        return self.silently("certificates", {**self._task.args, "certificates": described}, task_vars)
