"""Check an inventory before anything is sent to a server: Ansible's face of sanso.preflight."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "src"))

from sanso import preflight  # noqa: E402 -- it lies in the checkout, not in Ansible's Python


class ActionModule(ActionBase):
    """Fails with all problems at once; sets __preflight_passed, so that later plays needn't ask again."""

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        variables = {}
        for name in preflight.concerned(task_vars, preflight.load_specs()):
            try:
                variables[name] = self._templar.template(task_vars[name])
            except AnsibleError as error:
                raise AnsibleError(preflight.explained(name, error)) from None
        inventory = Path(task_vars.get("inventory_file") or task_vars.get("inventory_dir") or ".")
        folder = inventory.parent if inventory.is_file() else inventory
        message = preflight.check(variables, task_vars["groups"], folder)
        if message:
            return {"failed": True, "msg": message}
        return {"changed": False, "ansible_facts": {"__preflight_passed": True}}
