"""Lines of our own in files that the distribution owns and that are read without a folder of drop-ins."""

from __future__ import annotations

import re
from pathlib import Path

from ansible.module_utils.sanso_trial import Change, Failed

BEGIN = "# BEGIN of what Sansō manages: {origin}"
END = "# END of what Sansō manages: {origin}"


def run(arguments: dict, checking: bool) -> dict:
    """Keep each of arguments["blocks"]: path, block (empty: none), and where one goes that isn't there yet: first (a
    bool), or after (a regular expression, whose last line counts), or at the end. "origin" tells in its marks where in
    the project the lines stand."""
    changes, diff = [], []
    for each in arguments["blocks"]:
        path = Path(each["path"])
        try:
            before, found = path.read_text(), path.stat()
        except FileNotFoundError:
            raise Failed(f"there is no {path}, to which some lines belong") from None
        after = with_block(before, each, arguments["origin"])
        if after != before:
            changes.append(Change(path, after.encode(), found.st_mode & 0o7777, found.st_uid, found.st_gid))
            diff.append({"before": before, "after": after, "before_header": str(path), "after_header": str(path)})
    if not checking:
        for change in changes:
            change.make()
    return {"changed": bool(changes), "paths": [str(change.path) for change in changes], "diff": diff}


def with_block(text: str, each: dict, origin: str) -> str:
    """The text of a file, with its block."""
    begin, end = BEGIN.format(origin=origin), END.format(origin=origin)
    lines = text.splitlines()
    at = place(lines, each)
    if begin in lines and end in lines[lines.index(begin) :]:
        at = lines.index(begin)
        del lines[at : lines.index(end, at) + 1]
    if each["block"].strip():
        lines[at:at] = [begin, *each["block"].strip("\n").splitlines(), end]
    return "".join(f"{line}\n" for line in lines)


def place(lines: list[str], each: dict) -> int:
    if each.get("first"):
        return 0
    after = [
        number for number, line in enumerate(lines, start=1) if each.get("after") and re.search(each["after"], line)
    ]
    return after[-1] if after else len(lines)
