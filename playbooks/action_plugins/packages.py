"""Install packages of the distribution: those that are missing, and not what they merely recommend.

The module apt opens its whole cache before it sees that there is nothing to do, a second each time; so dpkg is asked
first, which takes a tenth of that, and apt only if something isn't there.

Arguments: name, a list as ansible.builtin.apt's. Returns what that does.
"""

from __future__ import annotations

import re
import shlex

from ansible.plugins.action import ActionBase

PLAIN = re.compile(r"[a-z0-9][a-z0-9+.-]+")  # neither a pattern, nor with a version


class ActionModule(ActionBase):
    _VALID_ARGS = frozenset({"name"})
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        names = self._task.args["name"]
        if self.are_there(names):
            return {"changed": False}
        arguments = {"name": names, "install_recommends": False}
        return self._execute_module("ansible.builtin.apt", arguments, task_vars=task_vars)

    def are_there(self, names: list[str]) -> bool:
        """Whether dpkg knows all of them by these names, and has unpacked and configured them."""
        if not all(PLAIN.fullmatch(name) for name in names):
            return False
        command = ["dpkg-query", "--show", "--showformat=${db:Status-Status}\\n", *names]
        said = self._low_level_execute_command(shlex.join(command))
        return said["rc"] == 0 and set(said["stdout"].split()) <= {"installed"}
