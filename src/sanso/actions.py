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
        # Where the role's templates and files lie: lookups are told in their variables.
        variables = {**task_vars, "ansible_search_path": self._task.get_search_path()}

        def look(plugin, name, **options):
            lookup = lookup_loader.get(f"ansible.builtin.{plugin}", loader=self._loader, templar=self._templar)
            return lookup.run([name], variables=variables, **options)[0]

        try:
            return files.told(
                self._task.args["files"],
                defaults,
                lambda name: look("template", name),
                kept,
                lambda name: look("file", name, rstrip=False),
            )
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
