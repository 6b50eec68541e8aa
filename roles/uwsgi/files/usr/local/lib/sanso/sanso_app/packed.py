# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/packed.py
"""Files that are packed with gzip, which anyone can unpack by hand."""

import contextlib
import gzip


@contextlib.contextmanager
def writer(path):
    """Quick rather than small; without a name or a date in it."""
    with path.open("wb") as file, gzip.GzipFile("", "wb", 1, file, 0) as packed:
        yield packed
