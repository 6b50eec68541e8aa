#!/usr/bin/python
"""Lines of our own in files that the distribution owns."""

from __future__ import annotations

DOCUMENTATION = r"""
module: blocks
short_description: Keep lines of our own in files that others own, between two marks
options:
  origin: {description: "Where in the project the lines stand, for the marks.", type: str, required: true}
  blocks:
    description: The lines of each file.
    type: list
    elements: dict
    required: true
    options:
      path: {description: "The file, which must be there.", type: path, required: true}
      block: {description: "The lines. Empty: none, and no marks.", type: str, required: true}
      first: {description: Whether they begin the file., type: bool, default: false}
      after: {description: "Else after the last line that this finds, or at the end.", type: str, default: ""}
"""

RETURN = r"""
paths: {description: The files that changed., type: list, elements: str, returned: always}
"""

from ansible.module_utils.sanso_blocks import run
from ansible.module_utils.sanso_module import serve

BLOCK = {
    "path": {"type": "path", "required": True},
    "block": {"type": "str", "required": True},
    "first": {"type": "bool", "default": False},
    "after": {"type": "str", "default": ""},
}

if __name__ == "__main__":
    blocks = {"type": "list", "elements": "dict", "required": True, "options": BLOCK}
    serve(run, {"origin": {"type": "str", "required": True}, "blocks": blocks})
