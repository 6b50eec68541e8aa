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

import os
import shlex
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

FILE = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "required": True},
    "owner": {"type": "str", "required": True},
    "group": {"type": "str", "required": True},
    "mode": {"type": "str", "required": True},
    "validate": {"type": "str", "required": True},
}


def adjust(module, file, path):
    """Give `path` the file's owner, group and mode; tell whether that is, or would be, a change."""
    changed = False
    for each in ("owner", "group", "mode"):
        changed = getattr(module, f"set_{each}_if_different")(path, file[each], changed)
    return changed


def difference(file):
    """What there is and what there shall be, as Ansible shows a diff; None if they are the same."""
    path = Path(file["path"])
    before = path.read_text(errors="replace") if path.exists() else None
    after = file["content"] if file["state"] == "present" else None
    if before == after:
        return None
    return {"before": before or "", "after": after or "", "before_header": str(path), "after_header": str(path)}


def candidate(module, file):
    """Put the new content beside the target, and return where: a rename on one file system is atomic."""
    target = Path(file["path"])
    target.parent.mkdir(parents=True, exist_ok=True)
    # The dot and the end keep it from being read as one of a folder's drop-ins.
    handle, path = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".sanso")
    with os.fdopen(handle, "w") as stream:
        stream.write(file["content"])
    adjust(module, file, path)
    return path


def refusal(module, file, path):
    """What the file's validation says against the candidate; empty if it is good."""
    command = [word.replace("%s", path) for word in shlex.split(file["validate"])]
    if not command:
        return ""
    code, out, err = module.run_command(command)
    return f"{(err or out).strip()} (exit code {code})" if code else ""


def replace(module, files):
    """Write the files, all of them or none."""
    candidates = {}
    try:
        for file in files:
            if file["state"] == "present":
                candidates[file["path"]] = candidate(module, file)
        for file in files:
            if said := file["path"] in candidates and refusal(module, file, candidates[file["path"]]):
                module.fail_json(msg=f"{file['path']} would not be valid, nothing was changed: {said}")
        for file in files:
            if file["state"] == "absent":
                Path(file["path"]).unlink()
            else:
                Path(candidates.pop(file["path"])).rename(file["path"])
    finally:
        for path in candidates.values():
            Path(path).unlink()


def main():
    module = AnsibleModule(
        argument_spec={"files": {"type": "list", "elements": "dict", "required": True, "options": FILE}},
        supports_check_mode=True,
    )
    files = module.params["files"]
    diffs = {file["path"]: difference(file) for file in files}
    changed = [file for file in files if diffs[file["path"]]]
    if not module.check_mode:
        replace(module, changed)
    paths = [
        file["path"]
        for file in files
        if file in changed or (file["state"] == "present" and adjust(module, file, file["path"]))
    ]
    module.exit_json(changed=bool(paths), paths=paths, diff=[diff for diff in diffs.values() if diff])


if __name__ == "__main__":
    main()
