# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/database.py
"""An app's database: which revision its schema has, and the way back."""


class Migration:
    """The database while a release migrates it."""

    def __init__(self, app, folder, before):
        self.app, self.folder, self.before = app, folder, before

    def begin(self):
        """Note what it is like."""

    def failed(self, error):
        """The error, with what state the database is in."""
        return error

    def done(self):
        """What is noted with the release."""
        return {}


def refusal(app, current, target):
    """Why the target can't serve with the database as it is; empty if it can."""
    return ""


def go_back(app, current, target):
    """Give the target its database back. Returns a sentence about what is lost."""
    return ""


def restore(app, name):
    """Let the snapshot of that name take the place of what is there. Returns what to say of it."""
    return ""


def delete(app):
    """Remove all of an app's data."""


def close(app):
    """Remove what may use the data of an app that is no more."""
