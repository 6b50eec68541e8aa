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

import os
import re
import shutil
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

CERTIFICATE = {
    "name": {"type": "str", "required": True},
    "names": {"type": "list", "elements": "str", "required": True},
    "only_if_missing": {"type": "bool", "default": False},
    "pem": {"type": "str", "required": True, "no_log": True},
}


def covers(pattern, name):
    """Tell whether a certificate's name, maybe with a * as its first label, is good for a host name."""
    pattern, name = pattern.lower(), name.lower()
    return pattern == name or (pattern.startswith("*.") and "*" not in name and pattern[1:] == name[name.find(".") :])


def problem(openssl, pem, names, is_new):
    """Why nginx should not serve that; empty if it may. openssl(*words) reads it, and returns (exit code, text)."""
    code, public = openssl("x509", "-noout", "-pubkey")
    if code:
        return "there is no certificate in it"
    if is_new:
        # Not asked for on a terminal, and so refused: nginx couldn't ask either.
        code, of_key = openssl("pkey", "-pubout", "-passin", "pass:")
        if code:
            return "there is no private key in it that can be read without a password"
        if of_key.strip() != public.strip():
            return "the certificate and the key do not belong together"
        if openssl("x509", "-noout", "-checkend", "0")[0]:
            return f"it has ended ({openssl('x509', '-noout', '-enddate')[1].strip().removeprefix('notAfter=')})"
    good_for = re.findall(r"DNS:([^\s,]+)", openssl("x509", "-noout", "-ext", "subjectAltName")[1])
    missing = [name for name in names if not any(covers(pattern, name) for pattern in good_for)]
    if missing:
        return f"it is not good for {', '.join(missing)}, but for {', '.join(good_for) or 'no name'}"
    return ""


def refuse_bad_ones(module, certificates, changed):
    if not shutil.which("openssl") and module.check_mode:
        return  # it comes with nginx's packages
    found = []
    for each in certificates:

        def openssl(*words, pem=each["pem"]):
            return module.run_command(["openssl", *words], data=pem)[:2]

        if said := each["pem"] and problem(openssl, each["pem"], each["names"], each in changed):
            found.append(f"{each['name']}: {said}")
    if found:
        module.fail_json(msg="Certificates that nginx should not serve, nothing was changed:\n" + "\n".join(found))


def adjust(module, path, group, mode):
    changed = module.set_owner_if_different(path, "root", False)
    changed = module.set_group_if_different(path, group, changed)
    return module.set_mode_if_different(path, mode, changed)


def install(module, directory, group, certificates):
    """Write all of them beside their places, and then rename them, which can hardly fail."""
    candidates = []
    try:
        for each in certificates:
            handle, path = tempfile.mkstemp(dir=directory, prefix=f".{each['name']}.")
            candidates.append(Path(path))
            with os.fdopen(handle, "w") as file:
                file.write(each["pem"])
            adjust(module, path, group, "0640")
        for path, each in zip(list(candidates), certificates, strict=True):
            path.rename(directory / f"{each['name']}.pem")
            candidates.remove(path)
    finally:
        for path in candidates:
            path.unlink()


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "group": {"type": "str", "required": True},
            "certificates": {"type": "list", "elements": "dict", "required": True, "options": CERTIFICATE},
        },
        supports_check_mode=True,
    )
    directory, group = Path(module.params["directory"]), module.params["group"]

    def present(each):
        path = directory / f"{each['name']}.pem"
        return path.read_text() if path.exists() else None

    wanted = [each for each in module.params["certificates"] if not (each["only_if_missing"] and present(each))]
    changed = [each for each in wanted if present(each) != each["pem"]]
    refuse_bad_ones(module, wanted, changed)
    moved = False
    if not module.check_mode:
        directory.mkdir(mode=0o750, exist_ok=True)
        moved = adjust(module, str(directory), group, "0750")
        install(module, directory, group, changed)
        for each in module.params["certificates"]:
            moved |= adjust(module, str(directory / f"{each['name']}.pem"), group, "0640")
    module.exit_json(changed=bool(changed) or moved, names=[each["name"] for each in changed])


if __name__ == "__main__":
    main()
