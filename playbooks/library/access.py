#!/usr/bin/python
"""The part of the action `access` that runs on the server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: access
short_description: Put the settings that decide who gets in on trial
description:
  - All candidates are validated before the first one replaces what was there. What was there is kept, and returns by
    itself within a minute, or at a reboot, unless the action gets in by a new connection and says so.
options:
  files:
    description: The files, as the action of the same name describes them.
    type: list
    elements: dict
    required: true
    options:
      path: {description: Where., type: path, required: true}
      content: {description: What., type: str, required: true}
      state: {description: Whether it is there., type: str, choices: [present, absent], required: true}
      mode: {description: "Its mode, say 0644.", type: str, required: true}
      validate: {description: "Command that tries the candidate, %s, or all of `within`.", type: str, required: true}
      within: {description: Folder that the command reads: a copy with the candidates., type: str, required: true}
  admins: {description: "Who gets in with which keys: name, keys.", type: list, elements: dict, required: true}
  services: {description: What has to run., type: list, elements: str, required: true}
  rsa_bits: {description: The least that the RSA host key has., type: int, required: true}
  token: {description: Name of this trial., type: str, required: true}
"""

RETURN = r"""
paths: {description: What changed., type: list, elements: str, returned: always}
on_trial: {description: Whether somebody has to confirm., type: bool, returned: always}
"""

from ansible.module_utils.sanso_access import run
from ansible.module_utils.sanso_module import serve

FILE = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "required": True},
    "mode": {"type": "str", "required": True},
    "validate": {"type": "str", "required": True},
    "within": {"type": "str", "required": True},
}

if __name__ == "__main__":
    serve(
        run,
        {
            "files": {"type": "list", "elements": "dict", "required": True, "options": FILE},
            "admins": {"type": "list", "elements": "dict", "required": True, "no_log": False},
            "services": {"type": "list", "elements": "str", "required": True},
            "rsa_bits": {"type": "int", "required": True},
            "token": {"type": "str", "required": True, "no_log": False},
        },
    )
