"""Who reads what: each visit is noted beside its request, so that no reader waits for it."""

from collections import deque

from flask import Flask, request
from sqlalchemy import text

from .models import db


class Visit:
    """A page that somebody reads."""

    def __init__(self, path: str):
        self.path = path
        with db.engine.connect() as connection:
            self.began = connection.scalar(text("SELECT NOW(6)"))


def init_app(app: Flask) -> None:
    recent = app.extensions["visits"] = deque(maxlen=1000)

    @app.before_request
    def note():
        recent.append(Visit(request.path))
