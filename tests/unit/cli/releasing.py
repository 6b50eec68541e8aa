"""What a server says of an app's releases, for a fake ssh."""

from __future__ import annotations

import json

OLD = {
    "id": "aaaaaaaaaaaa",
    "state": "served",
    "at": "2026-11-20T08:00:00+00:00",
    "by": "ann",
    "revision": "0001",
    "version": "v1",
    "commit": "1111111111111111",
    "subject": "Begin",
    "serves": False,
}
NEW = OLD | {"id": "bbbbbbbbbbbb", "at": "2026-11-21T08:00:00+00:00", "by": "bob", "version": "v2", "serves": True}
FAILED = OLD | {
    "id": "cccccccccccc",
    "state": "failed",
    "step": "Migrate the database",
    "said": "Traceback\nKeyError: price\n\nIt had begun: table item was changed.",
    "why": "the sale begins",
}


def said(*releases: dict, **more) -> str:
    """The body of a fake ssh that answers so."""
    current = next((each["id"] for each in releases if each["serves"]), None)
    answer = {"app": "faults", "current": current, "releases": list(releases), "locked": None, **more}
    return f"print({json.dumps(answer)!r})"
