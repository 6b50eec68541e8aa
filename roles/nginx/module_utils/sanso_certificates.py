"""nginx's certificates with their keys, installed all of them or none; whichever engine asks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ansible.module_utils.sanso_render import ids
from ansible.module_utils.sanso_trial import Change, Failed, replace, tried


def run(arguments: dict, checking: bool) -> dict:
    """Write <directory>/<name>.pem for each of `certificates` (name, names, only_if_missing, pem), readable by root and
    the group."""
    directory = Path(arguments["directory"])
    owner = ids("root", arguments["group"], checking)
    wanted, changes, new = [], [], []
    for each in arguments["certificates"]:
        path = directory / f"{each['name']}.pem"
        there = path.read_text() if path.exists() else None
        kept = each["only_if_missing"] and there is not None
        if not kept:
            wanted.append(each)
            new += [each] if there != each["pem"] else []
        changes.append(Change(path, (there if kept else each["pem"]).encode(), 0o640, *owner))
    refuse_bad_ones(wanted, new, checking)
    changes = [change for change in changes if not change.is_made]
    moved = not has(directory, 0o750, owner)
    if not checking:
        directory.mkdir(mode=0o750, exist_ok=True)
        if moved:
            shutil.chown(directory, *owner)
            directory.chmod(0o750)
        replace(changes)
    return {"changed": bool(changes) or moved, "names": [change.path.stem for change in changes], "diff": []}


def has(directory, mode, owner):
    """Tell whether the folder is there, with this mode and its owner's ids."""
    if not directory.is_dir():
        return False
    found = directory.stat()
    return (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (mode, *owner)


def covers(pattern, name):
    """Tell whether a certificate's name, maybe with a * as its first label, is good for a host name."""
    pattern, name = pattern.lower(), name.lower()
    return pattern == name or (pattern.startswith("*.") and "*" not in name and pattern[1:] == name[name.find(".") :])


def problem(pem, names, is_new):
    """Why nginx should not serve that; empty if it may."""

    def openssl(*words):
        return tried(["openssl", *words], given=pem)

    said, public = openssl("x509", "-noout", "-pubkey")
    if said:
        return "there is no certificate in it"
    if is_new:
        # Not asked for on a terminal, and so refused: nginx couldn't ask either.
        said, of_key = openssl("pkey", "-pubout", "-passin", "pass:")
        if said:
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


def refuse_bad_ones(certificates, new, checking):
    if checking and not shutil.which("openssl"):
        return  # it comes with nginx's packages
    found = [
        f"{each['name']}: {said}"
        for each in certificates
        if each["pem"] and (said := problem(each["pem"], each["names"], each in new))
    ]
    if found:
        raise Failed("Certificates that nginx should not serve, nothing was changed:\n" + "\n".join(found))
