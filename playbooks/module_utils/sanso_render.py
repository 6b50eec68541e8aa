"""Files that belong together, written all of them or none; whichever engine asks."""

from __future__ import annotations

import grp
import pwd
import shlex
from pathlib import Path

from ansible.module_utils.sanso_trial import Change, Failed, replace, tried

UNKNOWN = -1  # the id of who will be made before this is no check any more


def run(arguments: dict, checking: bool) -> dict:
    """Write arguments["files"]: each with path, content, state, owner, group, mode and validate."""
    validations = {}
    for file in arguments["files"]:
        change = described(file, checking)
        if not change.is_made:
            validations[change] = shlex.split(file["validate"])
    diff = [difference(change) for change in validations]

    def judge(change, candidate):
        command = [word.replace("%s", str(candidate)) for word in validations[change]]
        if command:
            refuse(change.path, tried(command)[0])

    if not checking:
        replace(list(validations), judge)
    return {"changed": bool(validations), "paths": [str(change.path) for change in validations], "diff": diff}


def described(file: dict, checking: bool) -> Change:
    content = file["content"].encode() if file["state"] == "present" else None
    return Change(
        Path(file["path"]),
        content,
        int(file["mode"], 8),
        *(ids(file["owner"], file["group"], checking) if content is not None else ()),
    )


def ids(owner: str, group: str, checking: bool) -> tuple[int, int]:
    """Of a user and a group. In a check they need not be there yet."""
    found = []
    for kind, name, find in (("user", owner, pwd.getpwnam), ("group", group, grp.getgrnam)):
        try:
            found.append(find(name)[2])
        except KeyError:
            if not checking:
                raise Failed(f"there is no {kind} {name}") from None
            found.append(UNKNOWN)
    return found[0], found[1]


def refuse(path: Path | str, said: str):
    """Fail if something is said against the file's candidate."""
    if said:
        raise Failed(f"{path} would not be valid, nothing was changed: {said}")


# What is shown of a change


def diff(name: str, before: str, after: str) -> dict:
    return {"before": before, "after": after, "before_header": name, "after_header": name}


def difference(change: Change) -> dict:
    """What there is and what there shall be; where that is the same, whose it is."""
    name, there = str(change.path), change.path.is_file()
    before = change.path.read_text(errors="replace") if there else ""
    after = (change.content or b"").decode(errors="replace")
    if there and change.content is not None and before == after:
        found = change.path.lstat()
        return diff(
            f"{name} (owner, group, mode)",
            owned(found.st_uid, found.st_gid, found.st_mode & 0o7777),
            owned(change.uid, change.gid, change.mode),
        )
    return diff(name, before, after)


def owned(uid: int, gid: int, mode: int) -> str:
    names = []
    for number, find in ((uid, pwd.getpwuid), (gid, grp.getgrgid)):
        try:
            names.append(find(number)[0])
        except (KeyError, OverflowError):
            names.append("(a new one)" if number == UNKNOWN else str(number))
    return f"{names[0]} {names[1]} {mode:04o}\n"
