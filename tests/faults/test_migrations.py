"""A migration can be gone back from, whatever became of it; and nothing is lost that nobody gave up."""

import json
import re
import time
from pathlib import Path

import client
import pytest
from stand_in import appending, bring, let_serve, of_the_tool, pages_only, saying, standing_in

pytestmark = of_the_tool

SOURCE, VERSIONS = Path(__file__).parents[2] / "sample_app", "src/sample_app/migrations/versions"
MIGRATION = '''"""A migration of a test"""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{head}"


def upgrade():
{body}
'''
GOOD = "    op.create_table('more', sa.Column('id', sa.Integer(), primary_key=True))"
HALF = f"""{GOOD}
    op.execute("ALTER TABLE error ADD note VARCHAR(20)")
    raise RuntimeError("out of ideas")
"""


def head(source: Path = SOURCE) -> str:
    """The newest migration of a source."""
    texts = [path.read_text() for path in (source / VERSIONS).glob("*.py")]
    found = {re.search(r'(?m)^revision = "(.*)"', text)[1] for text in texts}
    (newest,) = found - {match[1] for text in texts if (match := re.search(r'(?m)^down_revision = "(.*)"', text))}
    return newest


def migration(revision: str, body: str = GOOD) -> str:
    return MIGRATION.format(revision=revision, head=head(), body=body)


def migrating(revision: str) -> str:
    """Shell, for `bring`: one migration more."""
    return appending(migration(revision), f"app/{VERSIONS}/{revision}.py")


class Database:
    """The app's, as it is on the server."""

    def __init__(self, server, app):
        self.server, self.host, self.described, self.app = server, server.host, app, app.name

    @property
    def tables(self):
        return set(self.host.check_output(f"mysql --batch --skip-column-names -e 'SHOW TABLES' {self.app}").split())

    @property
    def revision(self):
        return self.host.check_output(f"mysql -BNe 'SELECT version_num FROM {self.app}.alembic_version'")

    def count(self):
        return int(self.host.check_output(f"mysql -BNe 'SELECT COUNT(*) FROM {self.app}.error'"))

    def tool(self, *words):
        return self.host.run(" ".join(["sanso-app", words[0], self.app, *words[1:]]))

    def release(self, change, seconds=60):
        return let_serve(self.server, self.described, bring(self.server, self.described, change), seconds)

    @property
    def serving(self):
        """What is noted of the release that serves."""
        said = json.loads(self.tool("releases", "--json").stdout)
        return next(each for each in said["releases"] if each["serves"])


@pytest.fixture(scope="module", autouse=True)
def describe(server, app, play, describe):
    """As everywhere, but of the pages only; such a release serves meanwhile."""
    with standing_in(server, app, play, pages_only(describe())):
        yield lambda: pages_only(describe())


@pytest.fixture
def database(server, app):
    return Database(server, app)


@pytest.fixture(autouse=True)
def as_before(database):
    """The release and the database that were there come back, however a test ends."""
    release, tables = database.serving["id"], database.tables
    assert "more" not in tables
    yield
    if database.serving["id"] != release:
        done = database.tool("rollback", release, "--with-database")
        assert done.rc == 0, done.stderr
    assert (database.serving["id"], database.tables) == (release, tables)


@pytest.fixture
def report(server, app):
    """report() sends the app an error, which it has to keep."""

    def report():
        body = {"type": "SansoMigration", "message": "kept"}
        answer = client.request(server, app.host_name, "/api/projects/sanso-check/errors", "POST", body=body)
        assert answer.status == 201, answer

    return report


def test_migration_that_fails_halfway_says_what_it_left_and_how_to_get_back(database, play, description, ready, report):
    before, tables, revision = database.serving["id"], database.tables, database.revision
    report()
    rows, new = database.count(), f"t{time.time_ns()}"
    Path(description["source"], VERSIONS, f"{new}.py").write_text(migration(new, HALF))
    done = play("app", apps=[description])
    assert done.failed, done.said
    assert done.says("Error: out of ideas")
    assert done.says("table error was changed; table more is new")
    assert done.says("MySQL doesn't undo changes of tables, so they stay.")
    assert done.says(f"The revision is still {revision}.")
    assert done.says(f"Release {before} still answers 200 on /readyz with the database as it is now.")
    assert database.tables == tables | {"more"}
    command = re.search(r"sudo sanso-app restore \w+ ([\w-]+)", done.said)
    back = database.tool("restore", command[1])
    assert back.rc == 0, back.stderr
    assert (database.tables, database.revision, database.count()) == (tables, revision, rows)
    assert ready().status == 200


def test_rollback_across_a_migration_is_refused_unless_the_database_goes_back_too(database, ready, report):
    before, revision, rows, new = database.serving["id"], database.revision, database.count(), f"t{time.time_ns()}"
    assert database.release(migrating(new)).succeeded
    noted = database.serving
    assert (noted["revision_before"], noted["revision"]) == (revision, new)
    report()
    done = database.tool("rollback")
    assert done.rc == 1
    assert f"The database is at revision {new}, and release {before} works with {revision}." in done.stderr
    assert "--with-database" in done.stderr
    assert database.serving["id"] == noted["id"]
    assert database.count() == rows + 1
    done = database.tool("rollback", "--with-database")
    assert done.rc == 0, done.stderr
    assert database.serving["id"] == before
    assert (database.revision, database.count(), "more" in database.tables) == (revision, rows, False)
    assert ready().status == 200
    # What was given up is there still, for whoever wants it after all.
    safety = re.search(r"but in the snapshot ([\w-]+)", done.stdout)[1]
    found = database.host.check_output(f"zgrep -c 'CREATE TABLE .more' /srv/{database.app}/snapshots/{safety}.sql.gz")
    assert found == "1"


def test_rollback_to_a_declared_revision_leaves_the_database(database, ready, report):
    before, revision = database.serving["id"], database.revision
    declared = saying(compatible_revisions=[revision])
    assert database.release(f"{migrating(f't{time.time_ns()}')} && {declared}").succeeded
    new = database.serving["id"]
    report()
    rows = database.count()
    done = database.tool("rollback")
    assert done.rc == 0, done.stderr
    assert (database.serving["id"], database.count(), "more" in database.tables) == (before, rows, True)
    report()
    snapshot = json.loads(database.host.check_output(f"cat /srv/{database.app}/releases/{new}/record.json"))["snapshot"]
    assert database.tool("restore", snapshot).rc == 0


def test_release_that_fails_after_its_migration_says_that_this_stays(database):
    before, revision, new = database.serving["id"], database.revision, f"t{time.time_ns()}"
    done = database.release(f"{migrating(new)} && {saying(health_path='/nowhere')}", seconds=5)
    assert done.failed, done.stdout
    assert f"Its migration stays: the database is at revision {new}, and was at {revision}." in done.stderr
    assert f"Release {before} still answers 200" in done.stderr
    back = database.tool("restore", re.search(r"sudo sanso-app restore \w+ ([\w-]+)", done.stderr)[1])
    assert back.rc == 0, back.stderr


@pytest.fixture
def snapshot(database):
    """One of the database as it is."""
    folder = f"/srv/{database.app}/snapshots"
    state = database.serving
    name = "20260101T000000Z-test"
    said = {
        "name": name,
        "file": f"{name}.sql.gz",
        "why": "test",
        "at": "2026-01-01T00:00:00+00:00",
        "data": 1,
        "kind": "mysql",
        "revision": state["revision"],
        "schema": state["schema"],
        "release": state["id"],
    }
    dump = "mysqldump --single-transaction --add-drop-database --databases"
    database.host.check_output(
        f"install -d -m 0700 {folder} && {dump} {database.app} | sed '/^LOCK TABLES/s/^/THIS IS NO SQL; /' | "
        f"gzip > {folder}/{name}.sql.gz && echo '{json.dumps(said)}' > {folder}/{name}.json"
    )
    yield name
    database.host.check_output(f"rm -f {folder}/{name}.*")


def test_restore_that_fails_puts_back_what_was_there(database, snapshot, report, ready):
    report()
    rows, tables = database.count(), database.tables
    done = database.tool("restore", snapshot)
    assert done.rc == 1
    assert "MySQL refuses: ERROR 1064" in done.stderr
    assert "All is as it was before." in done.stderr
    assert (database.count(), database.tables) == (rows, tables)
    assert ready().status == 200
    report()


def test_requests_wait_while_the_database_is_restored(database, server, app, snapshot, ready):
    """It stands still then, and nothing is refused."""
    slow = "SELECT SLEEP(3);"
    path = f"/srv/{database.app}/snapshots/{snapshot}.sql.gz"
    dump = "mysqldump --single-transaction --add-drop-database --databases"
    database.host.check_output(f"(echo '{slow}'; {dump} {database.app}) | gzip > {path}")
    unit = f"run-test-restore-{time.time_ns()}"
    database.host.check_output(
        f"systemd-run --quiet --unit={unit} /usr/local/sbin/sanso-app restore {database.app} {snapshot}"
    )
    state = f"systemctl show --property=FreezerState --value app-{app.name}@current.service"
    until = time.monotonic() + 20
    while database.host.check_output(state) != "frozen":
        assert time.monotonic() < until, database.host.check_output(f"journalctl -u {unit}")
    assert ready().status == 200
    assert database.host.check_output(state) == "running"
    while database.host.run(f"systemctl is-active {unit}").stdout.strip() in ("active", "activating"):
        assert time.monotonic() < until
