"""What a release's id takes of an app's secrets: enough to tell that one changed, too little to guess it from."""

from __future__ import annotations

import hashlib
import json

# 2^14 rounds of 1 KiB: some 40 ms and 16 MiB for each guess (scrypt's own advice for interactive use).
COST = {"n": 2**14, "r": 8, "p": 1}


def slow_digest(secrets: dict, salt: str) -> str:
    """A digest of `secrets` in hexadecimal, of 32 digits; empty where there are none."""
    if not secrets:
        return ""
    text = json.dumps(secrets, sort_keys=True, default=str).encode()
    return hashlib.scrypt(text, salt=salt.encode(), dklen=16, **COST).hex()


class FilterModule:
    def filters(self):
        return {"slow_digest": slow_digest}
