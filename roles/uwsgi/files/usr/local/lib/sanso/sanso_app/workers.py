# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/workers.py
"""What runs beside an app's pages: its background workers."""


def restart(app):
    """Let them run the release that serves."""
