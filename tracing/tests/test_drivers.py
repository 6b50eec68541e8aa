"""PyMySQL on a socket, with SQLAlchemy on top of it: what MySQL is told, and what the spans say."""

import contextvars
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pymysql
import pytest
import sqlalchemy
from conftest import SAMPLED, TRACE_ID, UNSAMPLED, asking, page, respond

from sanso_tracing import drivers, writer
from sanso_tracing.drivers import operation

UNTRACED = pytest.mark.parametrize("traceparent", [None, UNSAMPLED])
DATABASE_IS_DOWN = "2003"


def connecting(*args, then=lambda connection: None, **kwargs):
    """An app that opens a connection."""

    def app(environ, start_response):
        with pymysql.connect(*args, **kwargs) as connection:
            then(connection)
        return page(environ, start_response)

    return app


def comment(span_id: str) -> str:
    return f"/*traceparent='00-{TRACE_ID}-{span_id}-01'*/ "


# Statements


def test_statement_names_its_span(spans, get, mysql, connection):
    get(asking(connection, "SELECT 1", "SELECT 2"))
    first, second = spans.calls
    assert mysql.statements == [f"{comment(first.id)}SELECT 1", f"{comment(second.id)}SELECT 2"]


def test_statements_span_is_the_server_spans_child(spans, get, connection):
    get(asking(connection, "SELECT 1"))
    (span,) = spans.calls
    assert (span.trace, span.parent, span.name, span.status) == (TRACE_ID, spans.server.id, "SELECT", 0)
    assert span.flags == 0x101
    assert spans.server.start <= span.start <= span.end <= spans.server.end


def test_statements_span_says_which_connection_it_used(spans, get, mysql, connection):
    get(asking(connection, "SELECT 1"))
    assert spans.calls[0].attributes == {
        "db.operation.name": "SELECT",
        "db.system.name": "mysql",
        "network.transport": "unix",
        "network.peer.address": str(mysql.path),
        "mysql.connection_id": connection.thread_id(),
    }


def test_spans_hold_no_sql(spans, get, connection):
    get(asking(connection, "SELECT 'aoi@example.org'"))
    assert "aoi" not in spans.path.read_text()


@pytest.mark.parametrize("statement", [b"SELECT 1", bytearray(b"SELECT 1"), "SELECT '三'", "SELECT '%s' -- 100%"])
def test_every_kind_of_string_is_a_statement(spans, get, mysql, connection, statement):
    def app(environ, start_response):
        connection.query(statement)
        return page(environ, start_response)

    get(app)
    plain = statement if isinstance(statement, str) else statement.decode()
    assert mysql.statements == [comment(spans.calls[0].id) + plain]


def test_parameters_are_put_in_as_ever(get, mysql, connection):
    def app(environ, start_response):
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s, '%%'", ("it's",))
        return page(environ, start_response)

    get(app)
    assert mysql.statements[0].endswith(r"*/ SELECT 'it\'s', '%'")


@pytest.mark.parametrize(
    "cursor",
    [pymysql.cursors.Cursor, pymysql.cursors.DictCursor, pymysql.cursors.SSCursor, pymysql.cursors.SSDictCursor],
)
def test_every_cursor_is_traced(spans, get, connection, cursor):
    def app(environ, start_response):
        with connection.cursor(cursor) as opened:
            opened.execute("SELECT 1")
            assert len(opened.fetchall()) == 1
        return page(environ, start_response)

    get(app)
    assert [span.name for span in spans.calls] == ["SELECT"]


@pytest.mark.parametrize("name", ["begin", "commit", "rollback"])
def test_transactions_statements_are_traced(spans, get, mysql, connection, name):
    def app(environ, start_response):
        assert getattr(connection, name)() is None
        return page(environ, start_response)

    get(app)
    assert spans.calls[0].name == name.upper()
    assert mysql.statements == [comment(spans.calls[0].id) + name.upper()]


def test_error_is_the_databases_number_without_its_message(spans, get, connection):
    with pytest.raises(pymysql.err.ProgrammingError):
        get(asking(connection, "SELECT 1 FROM absent"))
    (span,) = spans.calls
    assert (span.status, span.attributes["error.type"]) == (2, "1146")
    assert "error.message" not in span.attributes


def test_other_error_is_its_class(spans, get, connection):
    connection.close()
    with pytest.raises(pymysql.err.InterfaceError):
        get(asking(connection, "SELECT 1"))
    assert spans.calls[0].attributes["error.type"] == "InterfaceError"


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("SELECT 1", "SELECT"),
        ("  insert into a values (1)", "INSERT"),
        (b"\n\tUPDATE a", "UPDATE"),
        (bytearray(b"DELETE"), "DELETE"),
        ("(SELECT 1) UNION (SELECT 2)", "SELECT"),
        ("/* a */ /* b\n */SELECT 1", "SELECT"),
        ("-- a SELECT\n# b\nREPLACE", "REPLACE"),
        ("", "statement"),
        ("'aoi'", "statement"),
        ("/* never ends", "statement"),
        (" " * 5000 + "SELECT", "statement"),
        ("/*" * 5000, "statement"),
        ("-- \n" * 5000 + "'", "statement"),
        ("/**/" * 200 + "'", "statement"),
    ],
)
def test_operation_is_the_statements_first_word(sql, word):
    assert operation(sql) == word


# Whose statements


@UNTRACED
def test_statement_of_an_unsampled_request_is_untouched(get, mysql, connection, traceparent):
    def app(environ, start_response):
        connection.begin()
        connection.query("SELECT 1")
        connection.commit()
        return page(environ, start_response)

    (timing,) = get(app, traceparent=traceparent).timing
    assert mysql.statements == ["BEGIN", "SELECT 1", "COMMIT"]
    assert 'desc="3 statements"' in timing


def test_statement_outside_of_requests_is_untouched(get, mysql, connection):
    get(asking(connection, "SELECT 1"))
    connection.query("SELECT 2")
    connection.commit()
    assert mysql.statements[1:] == ["SELECT 2", "COMMIT"]


def test_statement_of_another_thread_is_untouched(spans, get, mysql, connection):
    def app(environ, start_response):
        thread = threading.Thread(target=connection.query, args=("SELECT 1",), **NO_CONTEXT)
        thread.start()
        thread.join()
        return page(environ, start_response)

    get(app)
    assert mysql.statements == ["SELECT 1"]
    assert spans.calls == []


# Python 3.14 can be told to hand the context to every thread.
NO_CONTEXT = {"context": contextvars.Context()} if sys.version_info >= (3, 14) else {}


def test_statement_of_a_thread_that_got_the_context_is_traced(spans, get, connection):
    def app(environ, start_response):
        with ThreadPoolExecutor() as pool:
            pool.submit(contextvars.copy_context().run, connection.query, "SELECT 1").result()
        return page(environ, start_response)

    get(app)
    assert [span.name for span in spans.calls] == ["SELECT"]


def test_statement_after_its_request_is_untouched(spans, get, mysql, connection):
    kept = []

    def app(environ, start_response):
        kept.append(contextvars.copy_context())
        return page(environ, start_response)

    get(app)
    kept[0].run(connection.query, "SELECT 1")
    kept[0].run(connection.commit)
    assert mysql.statements == ["SELECT 1", "COMMIT"]
    assert spans.calls == []


# Connections


def test_connecting_has_a_span(spans, get, mysql):
    numbers = []
    get(connecting(unix_socket=str(mysql.path), then=lambda connection: numbers.append(connection.thread_id())))
    (span,) = spans.calls
    assert (span.name, span.parent, span.status) == ("connect", spans.server.id, 0)
    assert span.attributes == {
        "db.operation.name": "connect",
        "db.system.name": "mysql",
        "network.transport": "unix",
        "network.peer.address": str(mysql.path),
        "mysql.connection_id": numbers[0],
    }


def test_statements_that_set_a_connection_up_are_a_part_of_connecting(spans, get, mysql):
    get(connecting(unix_socket=str(mysql.path), init_command="SET time_zone = 'UTC'"))
    assert [span.name for span in spans.calls] == ["connect"]
    assert "SET time_zone = 'UTC'" in mysql.statements


def test_database_that_is_down_is_in_the_span(spans, get, tmp_path):
    with pytest.raises(pymysql.err.OperationalError) as raised:
        get(connecting(unix_socket=str(tmp_path / "absent.sock")))
    (span,) = spans.calls
    assert (span.name, span.status) == ("connect", 2)
    assert span.attributes["error.type"] == DATABASE_IS_DOWN
    assert span.attributes["error.message"] == raised.value.args[1]
    assert span.attributes["network.peer.address"].endswith("absent.sock")
    assert "mysql.connection_id" not in span.attributes


def test_tcp_is_said_to_be_tcp(spans, get):
    with pytest.raises(pymysql.err.OperationalError):
        get(connecting(host="127.0.0.1", port=1))
    attributes = spans.calls[0].attributes
    assert (attributes["network.transport"], attributes["network.peer.address"]) == ("tcp", "127.0.0.1")


@UNTRACED
def test_connecting_of_an_unsampled_request_is_timed(spans, get, mysql, traceparent):
    (timing,) = get(connecting(unix_socket=str(mysql.path)), traceparent=traceparent).timing
    assert 'desc="0 statements"' in timing
    assert not any(statement.startswith("/*") for statement in mysql.statements)


# SQLAlchemy


def test_statements_of_sqlalchemy_are_traced(spans, get, mysql):
    engine = sqlalchemy.create_engine(f"mysql+pymysql://shop@localhost/shop?unix_socket={mysql.path}")

    def app(environ, start_response):
        with engine.connect() as connection:
            assert connection.scalar(sqlalchemy.text("SELECT :one"), {"one": "%"}) == "1"
            connection.commit()
        return page(environ, start_response)

    get(app)
    engine.dispose()
    assert spans.calls[0].name == "connect"
    told = [statement for statement in mysql.statements if not statement.startswith("SET ")]
    assert [re.match("/.*?([0-9a-f]{16})-01'", statement)[1] for statement in told] == [s.id for s in spans.calls[1:]]
    assert [statement.split("*/ ")[1] for statement in told][-3:] == ["SELECT '%'", "COMMIT", "ROLLBACK"]


# Patching


def test_patching_twice_is_once(spans, install, mysql, connection):
    application = install(asking(connection, "SELECT 1"))
    for _ in range(2):
        drivers.patch_all()
        install(page)
    respond(application, traceparent=SAMPLED)
    assert len(spans.calls) == 1
    assert mysql.statements[0].count("traceparent") == 1
    assert sum(isinstance(finder, drivers.Finder) for finder in sys.meta_path) == 1


DRIVER = """
class Connection:
    unix_socket, host = None, "db.test"
    def __init__(self): self.told = []
    def connect(self): "The driver's own words."
    def query(self, sql, unbuffered=False): self.told.append(sql)
    def begin(self): self.query("BEGIN")
    def commit(self): self.query("COMMIT")
    def rollback(self): self.query("ROLLBACK")
"""


@pytest.fixture
def other_pymysql(tmp_path, monkeypatch):
    """A small driver of that name, which nobody has imported."""
    (tmp_path / "pymysql").mkdir()
    (tmp_path / "pymysql/__init__.py").touch()
    (tmp_path / "pymysql/connections.py").write_text(DRIVER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pymysql")
    monkeypatch.delitem(sys.modules, "pymysql.connections")
    yield tmp_path / "pymysql/connections.py"
    sys.modules.pop("pymysql", None), sys.modules.pop("pymysql.connections", None)


def test_driver_that_is_imported_within_a_request_is_traced(spans, get, other_pymysql):
    told = []

    def app(environ, start_response):
        from pymysql.connections import Connection

        connection = Connection()
        connection.query("SELECT 1")
        told.extend(connection.told)
        return page(environ, start_response)

    get(app)
    assert told == [comment(spans.calls[0].id) + "SELECT 1"]


def test_imported_driver_keeps_its_words(install, other_pymysql):
    install(page)
    from pymysql.connections import Connection

    assert Connection.connect.__doc__ == "The driver's own words."
    assert Connection.connect.__name__ == "connect"


@pytest.mark.parametrize("text", ["", "class Connection:\n    def query(self, sql): pass\n"])
def test_unknown_driver_is_logged_and_works_as_ever(get, other_pymysql, text, caplog, monkeypatch):
    monkeypatch.setattr(writer, "_warned_in", None)
    other_pymysql.write_text(text)

    def app(environ, start_response):
        import pymysql.connections

        assert pymysql.connections.__file__ == str(other_pymysql)
        return page(environ, start_response)

    assert get(app).text == "hello"
    (message,) = caplog.messages
    assert "pymysql.connections" in message


def test_missing_driver_is_missing_as_ever(install, monkeypatch):
    install(page)
    monkeypatch.setitem(sys.modules, "MySQLdb", type(sys)("MySQLdb"))
    monkeypatch.setattr(sys.modules["MySQLdb"], "__path__", [], raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'MySQLdb.connections'"):
        import MySQLdb.connections  # noqa: F401 -- its failing is what is tested


def test_connection_that_lacks_what_we_describe_works_as_ever(spans, get, connection):
    class Odd(pymysql.connections.Connection):
        def __init__(self):
            pass

        def _execute_command(self, command, sql):
            raise ValueError("the app's own error")

        def __del__(self):
            pass

        encoding = "utf-8"

    with pytest.raises(ValueError, match="own error"):
        get(lambda environ, start_response: Odd().query("SELECT 1"))
    assert spans.calls[0].attributes["error.type"] == "ValueError"
