# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/mysql.py
"""An app's schema in MySQL, as root sees it: who a connection is, the socket says, and there is no password."""

import contextlib
import gzip
import json
import re
import shutil
import subprocess
import tempfile

from sanso_app import packed, system
from sanso_app.system import Failed

END = b"-- Dump completed"
# All that makes up a schema, a row for each part: a JSON array of the object's kind and name, then what it is like.
# AUTO_INCREMENT, sizes and dates are in none of them: the digest is of what a migration may change.
PARTS = """
SELECT JSON_ARRAY(IF(table_type = 'VIEW', 'view', 'table'), table_name, engine, table_collation, table_comment)
    FROM information_schema.tables WHERE table_schema = '{name}';
SELECT JSON_ARRAY('table', table_name, 'column', ordinal_position, column_name, column_type, is_nullable,
    column_default, extra, collation_name, generation_expression, column_comment)
    FROM information_schema.columns WHERE table_schema = '{name}';
SELECT JSON_ARRAY('table', table_name, 'index', index_name, seq_in_index, column_name, expression, sub_part, collation,
    non_unique, index_type, is_visible)
    FROM information_schema.statistics WHERE table_schema = '{name}';
SELECT JSON_ARRAY('table', k.table_name, 'foreign key', k.constraint_name, k.ordinal_position, k.column_name,
    k.referenced_table_name, k.referenced_column_name, r.update_rule, r.delete_rule)
    FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r
    ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name
    WHERE k.table_schema = '{name}';
SELECT JSON_ARRAY('table', t.table_name, 'check', c.constraint_name, c.check_clause)
    FROM information_schema.check_constraints c JOIN information_schema.table_constraints t
    ON t.constraint_schema = c.constraint_schema AND t.constraint_name = c.constraint_name
    WHERE c.constraint_schema = '{name}';
SELECT JSON_ARRAY('table', table_name, 'partition', partition_name, partition_expression, partition_description)
    FROM information_schema.partitions WHERE table_schema = '{name}' AND partition_name IS NOT NULL;
SELECT JSON_ARRAY('view', table_name, view_definition)
    FROM information_schema.views WHERE table_schema = '{name}';
SELECT JSON_ARRAY('trigger', trigger_name, event_object_table, action_timing, event_manipulation, action_statement)
    FROM information_schema.triggers WHERE trigger_schema = '{name}';
SELECT JSON_ARRAY(LOWER(routine_type), routine_name, dtd_identifier, routine_definition)
    FROM information_schema.routines WHERE routine_schema = '{name}';
SELECT JSON_ARRAY('event', event_name, event_definition, interval_value, interval_field, status)
    FROM information_schema.events WHERE event_schema = '{name}';
"""


class MySQL:
    suffix = "sql.gz"
    # What to say of a migration that failed halfway.
    undo = "MySQL doesn't undo changes of tables, so they stay."

    def __init__(self, app):
        if not re.fullmatch("[a-z][a-z0-9_]*", app.name):  # it becomes part of statements
            raise Failed(f"{app.name!r} is no name of a schema")
        self.name, self.folder = app.name, app.home / "snapshots"

    def ask(self, statements):
        """The lines of the answer."""
        done = system.run("mysql", "--batch", "--raw", "--skip-column-names", input=statements)
        if done.returncode:
            raise Failed(f"MySQL refuses: {done.stderr.strip()}")
        return done.stdout.splitlines()

    def exists(self):
        named = f"SELECT 1 FROM information_schema.schemata WHERE schema_name = '{self.name}';"
        return bool(self.ask(named))

    def parts(self):
        """What the schema is made up of: what each is called to the texts that say what it is like."""
        found = {}
        for line in self.ask(PARTS.format(name=self.name)):
            kind, name, *rest = json.loads(line)
            found.setdefault(f"{kind} {name}", []).append(json.dumps(rest))
        return found

    def rows(self, table, columns):
        """All rows of a small table."""
        fields = ", ".join(f"`{column}`" for column in columns)
        return [json.loads(line) for line in self.ask(f"SELECT JSON_ARRAY({fields}) FROM `{self.name}`.`{table}`;")]

    def size(self):
        """Bytes of data; an estimate, but not the one of yesterday."""
        lines = self.ask(
            "SET SESSION information_schema_stats_expiry = 0; SELECT COALESCE(SUM(data_length), 0) "
            f"FROM information_schema.tables WHERE table_schema = '{self.name}';"
        )
        return int(lines[0])

    def room(self):
        """(The folder in which its data lies, bytes that are free there)."""
        (folder,) = self.ask("SELECT @@datadir;")
        return folder, shutil.disk_usage(folder).free

    def dump(self, path):
        """Write all of it, as of one moment; what runs on it doesn't wait."""
        if not self.exists():
            raise Failed(f"MySQL has no schema {self.name}: playbooks/database.yml makes it")
        command = ["mysqldump", "--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob"]
        command += ["--no-tablespaces", "--set-gtid-purged=OFF", "--default-character-set=utf8mb4", "--skip-dump-date"]
        # The schema itself too: what came up since then has to go.
        command += ["--add-drop-database", "--databases", self.name]
        with tempfile.TemporaryFile() as said:
            with (
                packed.writer(path) as target,
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process,
                killed(process),
            ):
                shutil.copyfileobj(process.stdout, target, 1 << 20)
            if process.returncode:
                raise Failed(f"mysqldump: {text(said)}")
        self.check(path)

    def check(self, path):
        """Read it to its end: a part of a dump is worse than none."""
        last = b""
        with gzip.open(path) as file:
            while part := file.read(1 << 20):
                last = (last + part)[-200:]
        if END not in last:
            raise Failed(f"{path} is not whole: it has no last line")

    def load(self, path):
        """Put what the dump holds in the place of what is there."""
        self.disconnect()
        # Whoever holds a table longer than this isn't the app, whose connections are gone.
        command = ["mysql", "--default-character-set=utf8mb4", "--init-command=SET SESSION lock_wait_timeout = 60"]
        with gzip.open(path) as file, tempfile.TemporaryFile() as said:
            with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said) as process, killed(process):
                with contextlib.suppress(BrokenPipeError):  # it says why
                    shutil.copyfileobj(file, process.stdin, 1 << 20)
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            if process.returncode:
                raise Failed(f"MySQL refuses: {text(said)}")

    def disconnect(self):
        """End the app's connections: a transaction that one of them has open keeps its tables from being dropped."""
        kill = f"SELECT CONCAT('KILL ', id, ';') FROM information_schema.processlist WHERE user = '{self.name}';"
        if statements := self.ask(kill):
            # One that has gone by itself is no error.
            system.run("mysql", "--batch", "--force", input="\n".join(statements))

    def drop(self):
        """Remove the schema, and who may use it."""
        self.disconnect()
        self.ask(f"DROP SCHEMA IF EXISTS `{self.name}`;")
        self.forget()

    def forget(self):
        """Remove the account alone."""
        self.ask(f"DROP USER IF EXISTS '{self.name}'@'localhost';")


@contextlib.contextmanager
def killed(process):
    """It doesn't outlive what stops us."""
    try:
        yield
    except BaseException:
        process.kill()
        raise


def text(file):
    file.seek(0)
    return file.read().decode(errors="replace").strip()
