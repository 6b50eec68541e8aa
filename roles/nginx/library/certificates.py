#!/usr/bin/python
"""The part of the action `certificates` that runs on the server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificates
short_description: Install nginx's certificates with their keys, all of them or none
description:
  - Writes <directory>/<name>.pem for each one, readable by root and a group, and removes nothing.
  - A key that doesn't belong to its certificate, one that has ended, or one that isn't good for all of its names never
    replaces what is there.
options:
  directory: {description: Where nginx reads them from., type: path, required: true}
  group: {description: The group that may read them., type: str, required: true}
  certificates:
    description: The certificates.
    type: list
    elements: dict
    required: true
    options:
      name: {description: Its file's name., type: str, required: true}
      names: {description: Host names that it must be good for., type: list, elements: str, required: true}
      only_if_missing: {description: Keep any that is there., type: bool, default: false}
      pem: {description: "Certificate, chain, key. Empty in a check, which makes none.", type: str, required: true}
"""

RETURN = r"""
names: {description: The certificates that changed., type: list, elements: str, returned: always}
"""

from ansible.module_utils.sanso_certificates import run
from ansible.module_utils.sanso_module import serve

CERTIFICATE = {
    "name": {"type": "str", "required": True},
    "names": {"type": "list", "elements": "str", "required": True},
    "only_if_missing": {"type": "bool", "default": False},
    "pem": {"type": "str", "required": True, "no_log": True},
}

if __name__ == "__main__":
    serve(
        run,
        {
            "directory": {"type": "path", "required": True},
            "group": {"type": "str", "required": True},
            "certificates": {"type": "list", "elements": "dict", "required": True, "options": CERTIFICATE},
        },
    )
