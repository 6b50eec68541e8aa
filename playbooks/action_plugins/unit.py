"""Have a unit run or not, now and at boot.

The module systemd_service takes half a second to see that all is as it shall be; so systemd itself is asked first,
which takes a tenth of that, and the module only if something isn't.

Arguments: name, state (started or stopped), enabled, daemon_reload, as ansible.builtin.systemd_service's. Returns what
that does.
"""

from __future__ import annotations

import shlex

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

# What systemd says of a unit that is as `state` and `enabled` want it. Whatever else it says, the module judges.
SAID = {
    "started": {"ActiveState=active"},
    "stopped": {"ActiveState=inactive", "ActiveState=failed"},
    True: {"UnitFileState=enabled"},
    False: {"UnitFileState=disabled"},
}


class ActionModule(ActionBase):
    _VALID_ARGS = frozenset({"name", "state", "enabled", "daemon_reload"})
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        arguments = self._task.args
        if not boolean(arguments.get("daemon_reload", False)) and self.is_so(**arguments):
            return {"changed": False}
        return self._execute_module("ansible.builtin.systemd_service", arguments, task_vars=task_vars)

    def is_so(self, name, state, enabled, daemon_reload=False) -> bool:
        command = ["systemctl", "show", "--property=ActiveState,UnitFileState", name]
        said = {line.strip() for line in self._low_level_execute_command(shlex.join(command))["stdout"].splitlines()}
        return all(said & SAID[wanted] for wanted in (state, boolean(enabled)))
