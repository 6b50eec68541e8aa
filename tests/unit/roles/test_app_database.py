"""What an app's database is, before and after a migration, and the way back: with files of SQLite's, as they are."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest

OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
UNIT = "app-shop@current.service"
FIRST, SECOND = (
    "CREATE TABLE item (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT)",
    "ALTER TABLE item ADD price INTEGER",
)


class Shop:
    """An app with a database, on a server whose systemd only takes notes."""

    name, host = "shop", "shop.test"

    def __init__(self, home):
        self.home, self.path = home, home / "shared/shop.db"
        self.path.parent.mkdir(parents=True)
        self.said, self.frozen, self.answers = [], set(), 200

    def linked(self, name):
        return (self.home / name).resolve() if (self.home / name).is_dir() else None

    def run(self, *command, **options):
        if command[0] != "systemctl":
            return subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
        self.said.append(command[1:])
        if command[1] in ("freeze", "thaw"):
            (self.frozen.add if command[1] == "freeze" else self.frozen.discard)(command[2])
        answers = {"list-units": f"{UNIT} loaded active running the shop", "show": self.frozen and "frozen"}
        return subprocess.CompletedProcess(command, 0, answers.get(command[1], "") or "", "")

    def execute(self, *statements):
        with contextlib.closing(sqlite3.connect(self.path)) as file:
            answers = [file.execute(statement).fetchall() for statement in statements]
            file.commit()
            return answers[-1] if answers else []

    def migrate(self, revision, *statements):
        """What a release's migration does, with Alembic."""
        number = "CREATE TABLE IF NOT EXISTS alembic_version (version_num TEXT)"
        self.execute(
            number, *statements, "DELETE FROM alembic_version", f"INSERT INTO alembic_version VALUES ('{revision}')"
        )

    def columns(self):
        return [column[1] for column in self.execute("PRAGMA table_info(item)")]

    def names(self):
        return [name for (name,) in self.execute("SELECT name FROM item")]

    def release(self, id, files=None, record=None, **how):
        folder = self.home / "releases" / id
        told = {"migrate": "upgrade", "health_path": "/readyz", "database": "sqlite", "compatible_revisions": [], **how}
        for name, text in {"migrations/0001.py": "", "shop.py": "", **(files or {})}.items():
            (folder / "app" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "app" / name).write_text(text)
        (folder / "release.json").write_text(json.dumps(told))
        (folder / "environment").write_text("A=1")
        (folder / "requirements.txt").write_text("flask==3")
        if record:
            (folder / "record.json").write_text(json.dumps(record))
        return folder

    @property
    def snapshots(self):
        return sorted(path.name for path in (self.home / "snapshots").glob("*.gz"))


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path / "srv/shop")


@pytest.fixture
def database(load, shop, monkeypatch):
    load("roles/uwsgi/files/usr/local/sbin/sanso-app")
    from sanso_app import database, sqlite, system, uwsgi  # where the program looks for it

    monkeypatch.setattr(system, "run", shop.run)
    monkeypatch.setattr(sqlite, "identity", lambda name: {})
    monkeypatch.setattr(uwsgi, "ask", lambda path, at, host: (shop.answers, ""))
    return database


@pytest.fixture
def old(shop, database):
    """A release serves, which has made its table."""
    folder = shop.release(OLD)
    migration = database.Migration(shop, folder, None)
    shop.execute()
    migration.begin()
    shop.migrate("0001", FIRST, "INSERT INTO item (name) VALUES ('tea')")
    (folder / "record.json").write_text(json.dumps({"state": "served", **migration.done()}))
    (shop.home / "current").symlink_to(folder)
    return folder


@pytest.fixture
def new(shop, database, old):
    """The next one, which has added a column, serves."""
    folder = shop.release(NEW, {"migrations/0002.py": ""})
    migration = database.Migration(shop, folder, old)
    migration.begin()
    shop.migrate("0002", SECOND, "INSERT INTO item (name) VALUES ('milk')")
    (folder / "record.json").write_text(json.dumps({"state": "served", **migration.done()}))
    (shop.home / "current").unlink()
    (shop.home / "current").symlink_to(folder)
    return folder


# Which revision


def alembic(*numbers):
    return [
        "CREATE TABLE alembic_version (version_num TEXT)",
        *(f"INSERT INTO alembic_version VALUES ('{n}')" for n in numbers),
    ]


def django(*names):
    rows = [f"INSERT INTO django_migrations VALUES ('{app}', '{name}')" for app, name in (n.split(".") for n in names)]
    return ["CREATE TABLE django_migrations (app TEXT, name TEXT)", *rows]


REVISIONS = {
    "alembic": (alembic("0001"), "0001"),
    "alembic with two heads": (alembic("b", "a"), "a+b"),
    "alembic before its first": (alembic(), "base"),
    "nothing": ([], "empty"),
    "no tool": ([FIRST], "schema-"),
    "django": (django("auth.0012_x", "shop.0001_initial", "shop.0002_price"), "shop.0002_price-"),
    "django alone": (django("auth.0012_x"), "django-"),
}


@pytest.mark.parametrize("name", REVISIONS)
def test_revision_is_what_the_migrations_tool_says_or_a_digest(shop, database, name):
    statements, wanted = REVISIONS[name]
    shop.execute(*statements)
    found = database.revision(shop, shop.release(OLD))
    assert found == wanted or (wanted.endswith("-") and found.startswith(wanted))


def test_revision_that_the_tool_says_is_the_one_that_it_records(shop, database, old, monkeypatch, capsys):
    from sanso_app import listing, system

    monkeypatch.setattr(system, "HOME", shop.home.parent)
    assert listing.revision(argparse.Namespace(app="shop")) == 0
    assert capsys.readouterr().out == "0001\n"
    (shop.home / "current").unlink()
    assert listing.revision(argparse.Namespace(app="shop")) == 1
    assert capsys.readouterr() == ("", "No release of shop serves on this server.\n")


def test_revision_of_django_differs_with_each_migration_and_not_with_their_order(shop, database):
    folder, found = shop.release(OLD), []
    for names in (["shop.0001", "blog.0001"], ["blog.0001", "shop.0001"], ["shop.0001", "blog.0001", "auth.0002"]):
        shop.path.unlink(missing_ok=True)
        shop.execute(*django(*names))
        found.append(database.revision(shop, folder))
    assert found[0] == found[1] != found[2]


def test_digest_does_not_change_with_rows_and_their_numbers(shop, database):
    folder = shop.release(OLD)
    shop.execute(FIRST)
    before = database.revision(shop, folder)
    shop.execute("INSERT INTO item (name) VALUES ('tea')")
    assert database.revision(shop, folder) == before
    shop.execute(SECOND)
    assert database.revision(shop, folder) != before


def test_app_without_a_database_has_no_revision_and_no_snapshot(shop, database):
    folder = shop.release(OLD, database="none")
    migration = database.Migration(shop, folder, None)
    migration.begin()
    assert migration.done() == {"revision_before": "", "revision": "", "snapshot": ""}
    assert database.refusal(shop, folder, folder) == ""


@pytest.mark.parametrize(("url", "kind"), [("mysql+pymysql://shop@localhost/shop", "mysql"), ("elsewhere", "none")])
def test_release_of_an_earlier_version_tells_its_database_by_its_environment(shop, database, url, kind):
    folder = shop.release(OLD)
    (folder / "release.json").write_text('{"migrate": "", "health_path": "/"}')
    (folder / "environment").write_text(f'DATABASE_URL="{url}"')
    assert database.kind(folder) == kind


# The snapshot before a migration


def test_snapshot_is_taken_before_a_migration_and_noted(shop, database, new):
    said = json.loads((new / "record.json").read_text())
    assert (said["revision_before"], said["revision"]) == ("0001", "0002")
    assert f"{said['snapshot']}.sqlite.gz" in shop.snapshots
    assert (shop.home / "snapshots").stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in (shop.home / "snapshots").iterdir())


def test_no_snapshot_where_nothing_can_be_pending(shop, database, old):
    taken = shop.snapshots
    migration = database.Migration(shop, shop.release(NEW, {"shop.py": "other code"}), old)
    migration.begin()
    assert (migration.done()["snapshot"], shop.snapshots) == ("", taken)


def by_hand(shop, folder):
    shop.execute("CREATE TABLE other (id INTEGER)")


def changed(name, text):
    def change(shop, folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return change


PENDING = {
    "a migration": changed("app/src/shop/migrations/versions/0002.py", ""),
    "a changed migration": changed("app/migrations/0001.py", "other"),
    "a folder named alembic": changed("app/alembic/env.py", ""),
    "its settings": changed("app/config/base.py", "INSTALLED_APPS = []"),
    "a package that may bring migrations": changed("requirements.txt", "django==6"),
    "an environment that chooses": changed("environment", "A=2"),
    "another command": lambda shop, folder: shop.release(NEW, migrate="other"),
    "a schema that isn't what the release left": by_hand,
    "a revision that isn't what the release left": lambda shop, folder: shop.migrate("0003"),
}


@pytest.mark.parametrize("name", PENDING)
def test_snapshot_wherever_something_may_be_pending(shop, database, old, name):
    folder = shop.release(NEW)
    PENDING[name](shop, folder)
    migration = database.Migration(shop, folder, old)
    migration.begin()
    assert migration.done()["snapshot"]


def test_snapshot_always_where_no_tool_says_the_revision(shop, database):
    shop.execute(FIRST)
    before = shop.release(OLD)
    first = database.Migration(shop, before, None)
    first.begin()
    (before / "record.json").write_text(json.dumps(first.done()))
    migration = database.Migration(shop, shop.release(NEW), before)
    migration.begin()
    assert migration.done()["snapshot"]


Usage = namedtuple("Usage", "total used free")


def test_no_room_for_a_snapshot_ends_it_before_the_migration(shop, database, old, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 50 << 20))
    migration = database.Migration(shop, shop.release(NEW, {"migrations/0002.py": ""}), old)
    taken = shop.snapshots
    with pytest.raises(Exception, match="There is no room for a snapshot") as caught:
        migration.begin()
    assert "no room" in str(migration.failed(caught.value))
    assert shop.snapshots == taken


def test_snapshot_that_breaks_off_leaves_nothing(shop, database, old, monkeypatch):
    from sanso_app import sqlite

    monkeypatch.setattr(
        sqlite.shutil, "copyfileobj", lambda *words: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    taken = sorted((shop.home / "snapshots").iterdir())
    with pytest.raises(OSError, match="No space left"):
        database.Migration(shop, shop.release(NEW, {"migrations/0002.py": ""}), old).begin()
    assert sorted((shop.home / "snapshots").iterdir()) == taken
    assert not list(shop.home.glob(".snapshot-*"))


def test_snapshots_that_no_release_needs_go(shop, database, old):
    for number in range(5):
        migration = database.Migration(shop, shop.release(NEW, {"migrations/0002.py": str(number)}), old)
        migration.begin()
    # Of the release that serves, and of the one that was tried: its last one, and its last but one before the next run.
    assert len(shop.snapshots) <= 3
    shutil.rmtree(shop.home / "releases" / NEW)
    migration = database.Migration(shop, shop.release("cccccccccccc", {"migrations/0002.py": ""}), old)
    migration.begin()
    assert len(shop.snapshots) <= 3


# A migration that fails


def test_migration_that_failed_halfway_says_what_it_left_and_the_way_back(shop, database, old):
    migration = database.Migration(shop, shop.release(NEW, {"migrations/0002.py": ""}), old)
    migration.begin()
    shop.execute(SECOND, "CREATE TABLE price (id INTEGER)", "INSERT INTO item (name) VALUES ('milk')")
    said = str(migration.failed(Exception("KeyError: price")))
    assert said.startswith("KeyError: price\n")
    assert "It had begun: table item was changed; table price is new." in said
    assert "The revision is still 0001." in said
    assert f"Release {OLD} still answers 200 on /readyz" in said
    command = said.splitlines()[-1].split()
    assert command[:4] == ["sudo", "sanso-app", "restore", "shop"]
    told = database.restore(shop, command[4])
    assert (shop.columns(), shop.names()) == (["id", "name"], ["tea"])
    assert "What was written since is not in it, but in the snapshot" in told


def test_migration_that_failed_says_whether_the_release_that_serves_still_works(shop, database, old):
    shop.answers = 500
    migration = database.Migration(shop, shop.release(NEW, {"migrations/0002.py": ""}), old)
    migration.begin()
    shop.execute("DROP TABLE item")
    said = str(migration.failed(Exception("no")))
    assert "table item is gone" in said
    assert f"Release {OLD} doesn't answer 200 any more, but 500, on /readyz" in said


def test_migration_that_failed_at_once_says_that_nothing_changed(shop, database, old):
    migration = database.Migration(shop, shop.release(NEW, {"migrations/0002.py": ""}), old)
    migration.begin()
    said = str(migration.failed(Exception("no")))
    assert "It changed no table's definition" in said
    assert "The revision is 0001, as before." in said


def test_second_failure_leads_back_to_before_the_first(shop, database, old):
    folder = shop.release(NEW, {"migrations/0002.py": ""})
    first = database.Migration(shop, folder, old)
    first.begin()
    shop.execute(SECOND)
    second = database.Migration(shop, folder, old)
    second.begin()
    said = str(second.failed(Exception("duplicate column")))
    assert said.splitlines()[-1].endswith(first.snapshot)
    assert first.snapshot != second.snapshot


# A rollback across a migration


def test_rollback_across_a_migration_is_refused_with_both_ways_out(shop, database, old, new):
    said = database.refusal(shop, new, old)
    assert f"The database is at revision 0002, and release {OLD} works with 0001." in said
    assert 'compatible_revisions: ["0001"]' in said
    assert f"./sanso rollback shop {OLD} --with-database" in said


def test_rollback_to_the_same_revision_is_not_refused(shop, database, new):
    other = shop.release("cccccccccccc", record={"revision": "0002"})
    assert database.refusal(shop, new, other) == ""


def test_rollback_to_a_revision_that_was_declared_is_not_refused(shop, database, old, new):
    shop.release(NEW, {"migrations/0002.py": ""}, compatible_revisions=["0001"])
    assert database.refusal(shop, new, old) == ""


def test_declaration_of_another_schema_does_not_count(shop, database, old, new):
    shop.release("cccccccccccc", record={"revision": "0009"}, compatible_revisions=["0001"])
    assert database.refusal(shop, new, old)


def test_rollback_to_a_release_whose_revision_nobody_knows_is_refused(shop, database, new):
    other = shop.release("cccccccccccc")
    assert "is not known here" in database.refusal(shop, new, other)


def test_rollback_to_one_with_the_same_migrations_is_not_refused(shop, database, new):
    other = shop.release("cccccccccccc", {"migrations/0002.py": "", "shop.py": "other"})
    assert database.refusal(shop, new, other) == ""


def test_release_that_served_with_another_revision_may_do_so_again(shop, database, old, new):
    """After a declared rollback it served with the later schema, and the next release noted that."""
    database.Migration(shop, shop.release("cccccccccccc"), old).begin()
    assert database.refusal(shop, new, old) == ""
    assert json.loads((old / "record.json").read_text())["state"] == "served"


def test_going_back_with_the_database_restores_it_and_keeps_what_was_there(shop, database, old, new):
    said = database.go_back(shop, new, old)
    assert (shop.columns(), shop.names()) == (["id", "name"], ["tea"])
    assert database.revision(shop, old) == "0001"
    assert "The database is as it was at " in said
    database.restore(shop, said.split()[-1])
    assert (shop.columns(), shop.names()) == (["id", "name", "price"], ["tea", "milk"])


def test_going_back_where_nothing_has_to_be_done_leaves_the_database(shop, database, new):
    shop.release("cccccccccccc", record={"revision": "0002"})
    assert database.go_back(shop, new, shop.home / "releases/cccccccccccc") == ""
    assert shop.names() == ["tea", "milk"]


def test_going_back_without_a_snapshot_changes_nothing(shop, database, old, new):
    shutil.rmtree(shop.home / "snapshots")
    with pytest.raises(Exception, match="There is no snapshot"):
        database.go_back(shop, new, old)
    assert shop.names() == ["tea", "milk"]


# A restore


@pytest.fixture
def taken(shop, new):
    return json.loads((new / "record.json").read_text())["snapshot"]


def test_app_stands_still_while_it_is_restored_and_goes_on_after_it(shop, database, taken, monkeypatch):
    from sanso_app import sqlite

    load, seen = sqlite.SQLite.load, []
    monkeypatch.setattr(sqlite.SQLite, "load", lambda self, path: (seen.append(set(shop.frozen)), load(self, path)))
    database.restore(shop, taken)
    assert (seen, shop.frozen) == ([{UNIT}], set())


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()])
def test_restore_that_fails_puts_back_what_was_there(shop, database, taken, monkeypatch, error):
    from sanso_app import sqlite

    load, tries = sqlite.SQLite.load, []

    def fail_once(self, path):
        tries.append(path)
        if len(tries) == 1:
            shop.execute("DROP TABLE item")
            raise error
        load(self, path)

    monkeypatch.setattr(sqlite.SQLite, "load", fail_once)
    with pytest.raises(Exception, match="All is as it was before"):
        database.restore(shop, taken)
    assert shop.names() == ["tea", "milk"]
    assert not shop.frozen
    assert not (shop.home / "snapshots/restoring.json").exists()


def test_restore_that_was_ended_by_a_signal_puts_back_what_was_there(shop, database, taken, monkeypatch):
    from sanso_app import sqlite

    load, tries = sqlite.SQLite.load, []

    def be_ended(self, path):
        tries.append(path)
        if len(tries) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        load(self, path)

    monkeypatch.setattr(sqlite.SQLite, "load", be_ended)
    with pytest.raises(Exception, match="It was ended by SIGTERM"):
        database.restore(shop, taken)
    assert shop.names() == ["tea", "milk"]
    assert not shop.frozen


class Killed(BaseException):
    """As by SIGKILL: nothing of the tool runs after it."""


def test_restore_that_was_killed_is_undone_by_the_next_run(shop, database, taken, monkeypatch, old):
    from sanso_app import snapshots, sqlite

    def be_killed(self, path):
        shop.execute("DROP TABLE item")
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(sqlite.SQLite, "load", be_killed)
        patch.setattr(snapshots.Swap, "undo", lambda self, safety, error: None)
        patch.setattr(snapshots, "let_go", lambda units: None)
        with pytest.raises(Killed):
            database.restore(shop, taken)
    assert shop.frozen
    database.Migration(shop, shop.release("cccccccccccc"), old).begin()
    assert shop.names() == ["tea", "milk"]
    assert not shop.frozen


def test_damaged_snapshot_changes_nothing(shop, database, taken):
    path = shop.home / f"snapshots/{taken}.sqlite.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Exception, match="is damaged"):
        database.restore(shop, taken)
    assert shop.names() == ["tea", "milk"]
    assert not shop.frozen


def test_snapshot_that_is_no_database_changes_nothing(shop, database, taken):
    with gzip.open(shop.home / f"snapshots/{taken}.sqlite.gz", "w") as file:
        file.write(b"something else, of some length" * 200)
    with pytest.raises(Exception, match="All is as it was before"):
        database.restore(shop, taken)
    assert shop.names() == ["tea", "milk"]


def test_snapshot_that_there_is_not_names_those_there_are(shop, database, taken):
    with pytest.raises(Exception, match=f"no snapshot '../../x', but .*{taken}"):
        database.restore(shop, "../../x")


def test_restores_keep_the_last_two_of_what_was_there(shop, database, taken, old):
    for _ in range(4):
        database.restore(shop, taken)
    database.Migration(shop, shop.release("cccccccccccc", {"migrations/0003.py": ""}), old).begin()
    assert len([name for name in shop.snapshots if "restore" in name]) <= 3


def test_data_that_is_deleted_is_gone(shop, database, new, monkeypatch):
    monkeypatch.setattr(database, "has_mysql", lambda: False)
    database.delete(shop)
    assert not list(Path(shop.home, "shared").iterdir())


# A rollback with the database whose release doesn't serve after all


@pytest.fixture
def gone_back(shop, database, old, new):
    """The database went back, and the release for it doesn't serve yet."""
    return database.go_back(shop, new, old)


def test_database_that_went_back_for_a_release_that_does_not_serve_is_put_back(shop, database, gone_back):
    assert "The database is again what it was" in database.settle(shop)
    assert shop.names() == ["tea", "milk"]
    assert database.settle(shop) == ""


def test_next_run_puts_back_what_a_killed_rollback_has_changed(shop, database, gone_back, new):
    database.Migration(shop, shop.release("cccccccccccc"), new).begin()
    assert shop.names() == ["tea", "milk"]


@pytest.mark.parametrize("is_told", [True, False])
def test_database_stays_back_once_its_release_serves(shop, database, gone_back, old, is_told):
    (shop.home / "current").unlink()
    (shop.home / "current").symlink_to(old)
    (old / "served").symlink_to(OLD)
    if is_told:
        database.keep(shop)
    assert database.settle(shop) == ""
    assert shop.names() == ["tea"]


# A release that fails after its migration


def test_release_that_fails_after_its_migration_says_what_stays(shop, database, old):
    migration = database.Migration(shop, shop.release(NEW, {"migrations/0002.py": ""}), old)
    migration.begin()
    shop.migrate("0002", SECOND)
    migration.done()
    said = migration.stays()
    assert "Its migration stays: the database is at revision 0002, and was at 0001." in said
    assert f"Release {OLD} still answers 200 on /readyz" in said
    assert said.splitlines()[-1].split()[:3] == ["sudo", "sanso-app", "restore"]


def test_release_that_migrated_nothing_leaves_nothing(shop, database, old):
    migration = database.Migration(shop, shop.release(NEW), old)
    migration.begin()
    assert migration.stays() == ""
