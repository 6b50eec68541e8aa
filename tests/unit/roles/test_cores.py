"""What runs on a server whichever engine sends it needs nothing there but Python."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ANSIBLES_FACE = "sanso_module"
HERE = "sanso_dependencies"  # it runs on this computer alone, which has what pyproject.toml says
FOUND = [*ROOT.glob("playbooks/module_utils/sanso_*.py"), *ROOT.glob("roles/*/module_utils/sanso_*.py")]
CORES = sorted(path for path in FOUND if path.stem not in (ANSIBLES_FACE, HERE))
OURS = "ansible.module_utils"  # by which name Ansible brings them along; another engine does the same


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == OURS:
            yield from (f"{OURS}.{name.name}" for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", CORES, ids=lambda path: path.stem)
def test_core_imports_pythons_library_and_other_cores_only(path):
    known = {f"{OURS}.{core.stem}" for core in CORES} | sys.stdlib_module_names
    found = list(imported(ast.parse(path.read_text())))
    assert [name for name in found if name not in known and name.partition(".")[0] not in known] == []
