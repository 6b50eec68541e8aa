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
