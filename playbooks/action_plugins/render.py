"""Render a role's templates to their targets, all of them in one round trip.

A template task costs half a second on every run; this one, too, however many files it has. All are validated before
any is replaced, so that what belongs together changes together.

Arguments: files, a dictionary of target path to a dictionary of

- template: the template below the role's templates/; by default the target's path, with .j2 behind it
- content: what to write, instead of a template
- copy: true writes the file below the role's files/ that has the target's path, instead of a template
- state: present, or absent
- owner, group (root), mode ("0644")
- validate: a command that tries the candidate, %s, and fails on a bad one

A folder that is missing is made: 0755 for a file of root's, 0700 for another owner's, and theirs. A file whose owner,
group or mode alone differs is a change, too. In a check, owner and group need not be there yet.

Returns paths (those that changed), and diff. A handler that is for some of the files says so by itself:
`when: "'/etc/…' in __settings.paths"`.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from sanso.actions import Action  # noqa: E402 -- it lies in the checkout, not in Ansible's Python
from sanso.files import RENDERED  # noqa: E402 -- as above


class ActionModule(Action):
    _VALID_ARGS = frozenset({"files"})

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        return self.silently("render", {"files": self.told(RENDERED, task_vars)}, task_vars)
