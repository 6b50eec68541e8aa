"""Make a user, as one who runs a service.

The module user takes a third of a second to see that somebody is there; so the system is asked first, which takes a
tenth of that, and the module only if they aren't there, or other than they shall be.

Arguments: name, home, shell, system, create_home, as ansible.builtin.user's. Returns what that does.
"""

from __future__ import annotations

import shlex

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    _VALID_ARGS = frozenset({"name", "home", "shell", "system", "create_home"})
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        if self.is_there(**self._task.args):
            return {"changed": False}
        return self._execute_module("ansible.builtin.user", self._task.args, task_vars=task_vars)

    def is_there(self, name, home, shell, **_) -> bool:
        said = self._low_level_execute_command(shlex.join(["getent", "passwd", name]))
        return said["rc"] == 0 and said["stdout"].strip().split(":")[5:] == [home, shell]
