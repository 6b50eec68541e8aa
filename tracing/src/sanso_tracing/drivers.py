"""The database drivers: each call on a connection is measured, and a sampled request's statements carry its trace.

PyMySQL and mysqlclient, with whatever stands on them. Their connection classes are patched, since every cursor ends
there, with the parameters already put in. Only public methods are used, so these have neither comment nor span: what a
driver sends on its own while it connects (a part of the span `connect`), ping(), autocommit(), select_db().
"""

import re
import sys
from collections.abc import Callable
from functools import wraps
from time import perf_counter_ns

from .recording import CURRENT, Request
from .writer import warn_once

# The first word of a statement, behind comments and parentheses. Possessive: no statement makes it search for long.
OPERATION = re.compile(r"(?:[\s(]|/\*.*?\*/|(?:--\s|#)[^\n]*\n)*+(\w+)", re.DOTALL)
# So much of a statement is searched for it: what an ORM puts in front is a comment of a line or two.
OPERATION_WITHIN = 1000


def patch_pymysql(connection: type) -> None:
    for name in ("begin", "commit", "rollback"):
        setattr(connection, name, measured_transaction(getattr(connection, name), name.upper(), describe_pymysql))
    connection.query = measured_query(connection.query, describe_pymysql)
    connection.connect = measured_connect(connection.connect, describe_pymysql)


def patch_mysqlclient(connection: type) -> None:
    for name in ("commit", "rollback"):  # its begin() is a query()
        setattr(connection, name, measured_transaction(getattr(connection, name), name.upper(), describe_mysqlclient))
    connection.query = measured_query(connection.query, describe_mysqlclient)
    connection.__init__ = measured_connect(remember_peer(connection.__init__), describe_mysqlclient)


DRIVERS = {"pymysql.connections": patch_pymysql, "MySQLdb.connections": patch_mysqlclient}


def patch_all() -> None:
    """Patch the drivers that are imported, and the others when they will be. Twice is as good as once."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
    for name in DRIVERS:
        if name in sys.modules:
            patch(sys.modules[name])


def patch(module) -> None:
    try:
        if not hasattr(module.Connection, "_sanso_tracing_patched"):
            module.Connection._sanso_tracing_patched = True
            DRIVERS[module.__name__](module.Connection)
    except Exception as error:
        warn_once(f"{module.__name__} isn't one that we know, its statements are not traced: {error!r}")


class Finder:
    """Finds drivers as Python's own finders do, and has them patched once they have run.

    mysqlclient imports its connections when the first is made: in the midst of a request.
    """

    def find_spec(self, name, path=None, target=None):
        if name not in DRIVERS:
            return None
        for finder in sys.meta_path:
            spec = None if isinstance(finder, Finder) else finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader.exec_module = followed_by_patch(spec.loader.exec_module)
                return spec
        return None


def followed_by_patch(exec_module: Callable) -> Callable:
    @wraps(exec_module)
    def exec_and_patch(module):
        exec_module(module)
        if module.__name__ in DRIVERS:  # a zip file's loader is one for all its modules
            patch(module)

    return exec_and_patch


# What takes the place of the drivers' methods


def measured_query(original: Callable, describe: Callable) -> Callable:
    @wraps(original)
    def query(connection, sql, *args, **kwargs):
        request = CURRENT.get()
        if request is None:
            return original(connection, sql, *args, **kwargs)
        if not request.sampled:
            return timed(request, original, connection, sql, *args, **kwargs)
        request.statements += 1
        with request.call(operation(sql), lambda error: describe(connection) | describe_error(error)) as call:
            return original(connection, commented(sql, call.comment), *args, **kwargs)

    return query


def timed(request: Request, original: Callable, *args, **kwargs):
    """Make a call for a request that isn't sampled: time and number are all that is measured."""
    request.statements += 1
    started = perf_counter_ns()
    try:
        return original(*args, **kwargs)
    finally:
        request.database_ns += perf_counter_ns() - started


def measured_transaction(original: Callable, statement: str, describe: Callable) -> Callable:
    @wraps(original)
    def transaction(connection):
        request = CURRENT.get()
        if request is None:
            return original(connection)
        if request.sampled:  # the same statement as the driver's own, but one that can carry the comment
            connection.query(statement)
            return None
        return timed(request, original, connection)

    return transaction


def measured_connect(original: Callable, describe: Callable) -> Callable:
    @wraps(original)
    def connect(connection, *args, **kwargs):
        request = CURRENT.get()
        if request is None:
            return original(connection, *args, **kwargs)

        def describe_connect(error):
            # Why there is no connection isn't about anybody's data.
            message = {"error.message": str(error.args[-1])} if error is not None and error.args else {}
            return describe(connection) | describe_error(error) | message

        with request.call("connect", describe_connect):
            token = CURRENT.set(None)  # the statements that set a connection up are a part of this span
            try:
                return original(connection, *args, **kwargs)
            finally:
                CURRENT.reset(token)

    return connect


def operation(sql: str | bytes | bytearray) -> str:
    """The statement's first word, in capitals: it says what is done, and nothing of what is stored."""
    start = sql[:OPERATION_WITHIN]
    found = OPERATION.match(start if isinstance(start, str) else start.decode("latin-1"))
    return found[1].upper() if found else "statement"


def commented(sql: str | bytes | bytearray, comment: str) -> str | bytes | bytearray:
    if not comment:
        return sql
    return comment + sql if isinstance(sql, str) else comment.encode() + sql


# What is known of a connection


def describe_pymysql(connection) -> dict:
    socket = getattr(connection, "unix_socket", None)  # a subclass may differ
    return {
        "db.system.name": "mysql",
        "network.transport": "unix" if socket else "tcp",
        "network.peer.address": socket or getattr(connection, "host", ""),
        **connection_id(connection),
    }


def describe_mysqlclient(connection) -> dict:
    peer = getattr(connection, "_sanso_tracing_peer", {})
    return {"db.system.name": "mysql", **peer, **connection_id(connection)}


def remember_peer(original: Callable) -> Callable:
    """mysqlclient's __init__, which leaves where it connects to on the connection: the driver itself forgets it."""

    @wraps(original)
    def connect(connection, *args, **kwargs):
        arguments = dict(zip(("host", "user", "password", "database", "port", "unix_socket"), args, strict=False))
        arguments |= kwargs
        host, socket = arguments.get("host") or "localhost", arguments.get("unix_socket")
        connection._sanso_tracing_peer = {
            # MySQL's client library takes a socket for this host, with a path of its own if none is given.
            "network.transport": "unix" if host == "localhost" else "tcp",
            "network.peer.address": socket or host if host == "localhost" else host,
        }
        return original(connection, *args, **kwargs)

    return connect


def connection_id(connection) -> dict:
    """MySQL's number of the connection; one that failed, or was closed, has none: mysqlclient's is 0 then."""
    try:
        number = int(connection.thread_id())
    except Exception:
        number = 0
    return {"mysql.connection_id": number} if number else {}


def describe_error(error: BaseException | None) -> dict:
    """MySQL's error number, or the exception's class. Not its message, which may quote what was to be stored."""
    if error is None:
        return {}
    number = error.args[0] if error.args else None
    return {"error.type": str(number) if isinstance(number, int) and number else type(error).__name__}
