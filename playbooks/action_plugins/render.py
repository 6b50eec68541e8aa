"""Render a role's templates to their targets, all of them in one round trip.

A template task costs half a second on every run; this one, too, however many files it has. All are validated before
any is replaced, so that what belongs together changes together.

Arguments: files, a dictionary of target path to a dictionary of

- template: the template below the role's templates/; by default the target's path, with .j2 behind it
- content: what to write, instead of a template
- state: present, or absent
- owner, group (root), mode ("0644")
- validate: a command that tries the candidate, %s, and fails on a bad one

Returns paths (those that changed), and diff. A handler that is for some of the files says so by itself:
`when: "'/etc/…' in __settings.paths"`.
"""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

KEYS = {"template", "content", "state", "owner", "group", "mode", "validate"}
DEFAULTS = {"state": "present", "owner": "root", "group": "root", "mode": "0644", "validate": ""}


class ActionModule(ActionBase):
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"files"})

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        files = [self.rendered(path, how or {}, task_vars) for path, how in self._task.args["files"].items()]
        # The files' contents would stand in the server's journal: a module tells there what it was called with.
        silent = {**task_vars, "ansible_no_target_syslog": True}
        return self._execute_module("render", {"files": files}, task_vars=silent)

    def rendered(self, path: str, how: dict, task_vars: dict) -> dict:
        """What the module is told about a file."""
        if unknown := how.keys() - KEYS:
            raise AnsibleActionFail(
                f"{path} has no key {', '.join(sorted(unknown))}; known are {', '.join(sorted(KEYS))}"
            )
        file = {"path": path, "content": "", **DEFAULTS, **how}
        template = file.pop("template", f"{path.lstrip('/')}.j2")
        if file["state"] == "present" and "content" not in how:
            file["content"] = self.content(template, task_vars)
        return file

    def content(self, template: str, task_vars: dict) -> str:
        lookup = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
        # Where the role's templates lie: lookups are told in their variables.
        variables = {**task_vars, "ansible_search_path": self._task.get_search_path()}
        return lookup.run([template], variables=variables)[0]
