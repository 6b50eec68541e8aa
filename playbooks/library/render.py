#!/usr/bin/python
"""The part of the action `render` that runs on the server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: render
short_description: Write several files, all of them or none
description: [All candidates are validated before the first one replaces what was there.]
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
      owner: {description: Its user., type: str, required: true}
      group: {description: Its group., type: str, required: true}
      mode: {description: "Its mode, say 0644.", type: str, required: true}
      validate: {description: "Command that tries the candidate, %s. May be empty.", type: str, required: true}
"""

RETURN = r"""
paths: {description: The files that changed., type: list, elements: str, returned: always}
"""

from ansible.module_utils.sanso_module import serve
from ansible.module_utils.sanso_render import run

FILE = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "required": True},
    "owner": {"type": "str", "required": True},
    "group": {"type": "str", "required": True},
    "mode": {"type": "str", "required": True},
    "validate": {"type": "str", "required": True},
}

if __name__ == "__main__":
    serve(run, {"files": {"type": "list", "elements": "dict", "required": True, "options": FILE}})
