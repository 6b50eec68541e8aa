"""What the playbooks' actions have in common that change files on a server."""

from __future__ import annotations

from collections.abc import Iterable

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

from sanso import files


class Action(ActionBase):
    _supports_check_mode = True

    def silently(self, module: str, arguments: dict, task_vars: dict) -> dict:
        """Run the module there. In the server's journal would stand what it was called with: files' contents, keys."""
        return self._execute_module(module, arguments, task_vars={**task_vars, "ansible_no_target_syslog": True})

    def told(self, defaults: dict, task_vars: dict, kept: Iterable[str] = ()) -> list[dict]:
        """What a module is told of the task's files."""
        lookup = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
        # Where the role's templates lie: lookups are told in their variables.
        variables = {**task_vars, "ansible_search_path": self._task.get_search_path()}
        try:
            return files.told(
                self._task.args["files"], defaults, lambda name: lookup.run([name], variables=variables)[0], kept
            )
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
