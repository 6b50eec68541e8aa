"""Where in an inventory something is set, for messages: those of the playbooks' plugins, too."""

from __future__ import annotations

import re
from pathlib import Path


def where_set(name: str, inventory: Path) -> str:
    """The file and line below the inventory that set a variable, or a hint where it would go."""
    files = (
        [inventory]
        if inventory.is_file()
        else sorted(path for path in inventory.rglob("*") if path.suffix in {".yml", ".yaml"})
    )
    for path in files:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if re.match(rf"\s*{re.escape(name)}\s*:", line):
                return f"{path}:{number}"
    return f"not set below {inventory}; its place is group_vars/all/ there"
