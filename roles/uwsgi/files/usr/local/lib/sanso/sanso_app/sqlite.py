# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/sqlite.py
"""An app's file of SQLite's, in the folder that the app may write to.

What lies there is the app's doing, and may be a link that leads to another's file: so its own user opens it, never
root.
"""

import contextlib
import gzip
import json
import os
import pwd
import shutil
import sys
import tempfile
from pathlib import Path

from sanso_app import packed, system
from sanso_app.system import Failed

# Run as the app's user: look FILE, rows FILE TABLE COLUMN…, copy FILE OTHER, load FILE OTHER.
PROGRAM = """
import json, os, sqlite3, sys
verb, path, *words = sys.argv[1:]
os.umask(0o077)
def opened(path, mode="rw"):
    name = path.replace("%", "%25").replace("?", "%3f")
    return sqlite3.connect("file:" + name + "?mode=" + mode, uri=True, timeout=60)
def copy(source, target):
    source.backup(target)
    target.close()
if verb == "load":
    source = opened(words[0])
    (verdict,), *_ = source.execute("PRAGMA integrity_check")
    if verdict != "ok":
        sys.exit(words[0] + ": " + verdict)
    # In one transaction, which waits for others: whoever reads meanwhile sees what was there.
    target = opened(path, "rwc")
    target.execute("PRAGMA busy_timeout = 60000")
    copy(source, target)
elif not os.path.exists(path):
    print("null")
elif verb == "look":
    file = opened(path)
    print(json.dumps(file.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()))
elif verb == "rows":
    table, *columns = words
    names = ", ".join('"' + name + '"' for name in columns)
    print(json.dumps(opened(path).execute('SELECT ' + names + ' FROM "' + table + '"').fetchall()))
elif verb == "lock":
    file = opened(path)
    file.execute("PRAGMA busy_timeout = 200")
    file.execute("BEGIN IMMEDIATE")
elif verb == "copy":
    copy(opened(path), opened(words[0], "rwc"))
"""


class SQLite:
    suffix = "sqlite.gz"
    undo = "A migration's steps before the one that failed stay."

    def __init__(self, app):
        self.name, self.home, self.folder = app.name, app.home, app.home / "snapshots"
        self.path = app.home / "shared" / f"{app.name}.db"

    def ask(self, verb, *words):
        command = [sys.executable, "-I", "-c", PROGRAM, verb, self.path, *words]
        done = system.run(*command, cwd="/", **identity(self.name))
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise Failed(f"SQLite refuses {self.path}: {said[-1]}")
        return json.loads(done.stdout) if done.stdout else None

    def exists(self):
        return self.ask("look") is not None

    def parts(self):
        found = {}
        for kind, name, table, sql in self.ask("look") or []:
            if name.startswith("sqlite_"):  # its own, such as the one that counts AUTOINCREMENT
                continue
            label = f"{kind} {name}" if kind in ("table", "view", "trigger") else f"table {table}"
            found.setdefault(label, []).append(f"{kind} {name} {sql}")
        return found

    def rows(self, table, columns):
        return self.ask("rows", table, *columns)

    def size(self):
        """Bytes: it is copied first, and packed then."""
        files = [self.path.with_name(self.path.name + end) for end in ("", "-wal")]
        return 2 * sum(file.lstat().st_size for file in files if file.exists())

    def room(self):
        return str(self.path.parent), shutil.disk_usage(self.path.parent).free

    def is_quiet(self):
        """Whether nobody is in the midst of writing."""
        try:
            self.ask("lock")
        except Failed:
            return False
        return True

    def dump(self, path):
        """Write all of it, as of one moment; what runs on it doesn't wait."""
        if not self.exists():
            raise Failed(f"There is no {self.path}.")
        with self.work_folder() as folder:
            self.ask("copy", folder / "copy")
            # The folder is the app's: what lies there now may be a link.
            copy = os.open(folder / "copy", os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(copy, "rb") as file, packed.writer(path) as target:
                shutil.copyfileobj(file, target, 1 << 20)

    def check(self, path):
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass

    def load(self, path):
        """Put what the snapshot holds in the place of what is there."""
        with self.work_folder() as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with gzip.open(path) as file, os.fdopen(os.open(folder / "copy", flags, 0o600), "wb") as target:
                own(folder / "copy", self.name)
                shutil.copyfileobj(file, target, 1 << 20)
            self.ask("load", folder / "copy")

    @contextlib.contextmanager
    def work_folder(self):
        """A folder that the app's user may write to, and nothing that runs does: it is in no unit's sandbox."""
        folder = Path(tempfile.mkdtemp(dir=self.home, prefix=".snapshot-"))
        try:
            own(folder, self.name)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def disconnect(self):
        """Nobody is connected to a file."""

    def drop(self):
        """Remove the file."""
        for end in ("", "-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)

    def forget(self):
        """There is no account."""


def identity(name):
    """The options with which a command is the app's user's."""
    if os.geteuid():  # only in a test
        return {}
    account = pwd.getpwnam(name)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def own(path, name):
    options = identity(name)
    if options:
        os.chown(path, options["user"], options["group"], follow_symlinks=False)
