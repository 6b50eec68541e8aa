"""What must be kept for a while and nobody may read: it lies in the database encrypted, by the key WEBHOOK_KEY."""

import base64
import hashlib
import json

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from flask import Flask, current_app

SHORTEST = 32  # characters of a key; they are random ones, so that no slow digest is needed


class Unreadable(Exception):
    """It was sealed with a key that isn't there any more."""


def init_app(app: Flask) -> None:
    """WEBHOOK_KEY may hold several keys with spaces between: the first one seals, all of them open."""
    keys = (app.config.get("WEBHOOK_KEY") or "").split()
    if any(len(key) < SHORTEST for key in keys):
        raise RuntimeError(
            f"WEBHOOK_KEY must be {SHORTEST} random characters or more, such as `openssl rand -hex 32` makes"
        )
    fernets = [Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())) for key in keys]
    app.extensions["sealing"] = MultiFernet(fernets) if fernets else None


def is_possible() -> bool:
    return current_app.extensions["sealing"] is not None


def seal(value: dict) -> str:
    return current_app.extensions["sealing"].encrypt(json.dumps(value).encode()).decode()


def unseal(sealed: str) -> dict:
    if not is_possible():
        raise Unreadable
    try:
        return json.loads(current_app.extensions["sealing"].decrypt(sealed))
    except InvalidToken:
        raise Unreadable from None
