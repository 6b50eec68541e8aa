"""SQLite as a server needs it: several processes read while one writes, and who wants to write waits for its turn."""

from sqlalchemy import Engine, event

# In seconds, less than uWSGI's harakiri: how long another may write before a request is refused.
BUSY = 10


def prepare(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", configure)
        event.listen(engine, "begin", begin)


def configure(connection, record) -> None:
    connection.isolation_level = None  # Python begins no transaction of its own accord: `begin` does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY * 1000}")
    # Kept in the file. With synchronous left at FULL, what was acknowledged outlives a loss of power too.
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()


def begin(connection) -> None:
    """A transaction that will write takes its turn before it reads: in one that has read what another changes
    meanwhile, SQLite would refuse the write at once, however long it may wait.
    """
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
