"""mysqlclient, as far as tracing sees it. The real one needs a C compiler; this has its classes and its late import."""

import sys

import pytest
from conftest import TRACE_ID, UNSAMPLED, page

PACKAGE = """
def connect(*args, **kwargs):
    from MySQLdb.connections import Connection
    return Connection(*args, **kwargs)
"""
CONNECTIONS = """
class InC:
    number = 0
    def __init__(self, *args, **kwargs):
        if kwargs.get("user") == "nobody":
            raise ConnectionError(2002, "Can't connect to local server")
        self.number = 42
    def query(self, query): self.told.append(query)
    def commit(self): self.told.append("commit in C")
    def rollback(self): self.told.append("rollback in C")
    def thread_id(self): return self.number

class Connection(InC):
    def __init__(self, *args, **kwargs):
        self.told = []
        super().__init__(*args, **kwargs)
        self.query("SET NAMES utf8mb4")
    def query(self, query): InC.query(self, query)
    def begin(self): self.query(b"BEGIN")
"""


@pytest.fixture(autouse=True)
def mysqlclient(tmp_path, monkeypatch):
    (tmp_path / "MySQLdb").mkdir()
    (tmp_path / "MySQLdb/__init__.py").write_text(PACKAGE)
    (tmp_path / "MySQLdb/connections.py").write_text(CONNECTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("MySQLdb", None), sys.modules.pop("MySQLdb.connections", None)


def app_that(uses, *args, told=None, **kwargs):
    def app(environ, start_response):
        import MySQLdb

        connection = MySQLdb.connect(*args, **kwargs)
        uses(connection)
        if told is not None:
            told.extend(connection.told)
        return page(environ, start_response)

    return app


@pytest.mark.parametrize(
    ("use", "name", "statement"),
    [
        (lambda connection: connection.query("SELECT 1"), "SELECT", "SELECT 1"),
        (lambda connection: connection.query(b"SELECT 1"), "SELECT", b"SELECT 1"),
        (lambda connection: connection.query(bytearray(b"SELECT 1")), "SELECT", b"SELECT 1"),
        (lambda connection: connection.begin(), "BEGIN", b"BEGIN"),
        (lambda connection: connection.commit(), "COMMIT", "COMMIT"),
        (lambda connection: connection.rollback(), "ROLLBACK", "ROLLBACK"),
    ],
)
def test_first_statement_of_the_process_names_its_span(spans, get, use, name, statement):
    told = []
    get(app_that(use, told=told))
    connect, span = spans.calls
    assert (connect.name, span.name) == ("connect", name)
    comment = f"/*traceparent='00-{TRACE_ID}-{span.id}-01'*/ "
    assert told == [
        "SET NAMES utf8mb4",
        comment + statement if isinstance(statement, str) else comment.encode() + statement,
    ]


def test_unsampled_request_is_untouched(get):
    def use(connection):
        connection.begin()
        connection.query("SELECT 1")
        connection.commit()

    told = []
    (timing,) = get(app_that(use, told=told), traceparent=UNSAMPLED).timing
    assert told == ["SET NAMES utf8mb4", b"BEGIN", "SELECT 1", "commit in C"]
    assert 'desc="3 statements"' in timing


@pytest.mark.parametrize(
    ("args", "kwargs", "transport", "address"),
    [
        ((), {}, "unix", "localhost"),
        ((), {"unix_socket": "/a.sock"}, "unix", "/a.sock"),
        ((), {"host": "localhost", "unix_socket": "/a.sock"}, "unix", "/a.sock"),
        (("localhost", "shop", "", "shop", 3306, "/a.sock"), {}, "unix", "/a.sock"),
        (("db.test",), {}, "tcp", "db.test"),
        ((), {"host": "127.0.0.1", "port": 3307}, "tcp", "127.0.0.1"),
    ],
)
def test_spans_say_where_the_connection_goes(spans, get, args, kwargs, transport, address):
    get(app_that(lambda connection: connection.query("SELECT 1"), *args, **kwargs))
    said = [(span.attributes["network.transport"], span.attributes["network.peer.address"]) for span in spans.calls]
    assert said == [(transport, address)] * 2
    assert [span.attributes["mysql.connection_id"] for span in spans.calls] == [42, 42]


def test_database_that_is_down_is_in_the_span(spans, get):
    with pytest.raises(ConnectionError):
        get(app_that(lambda connection: None, user="nobody"))
    (span,) = spans.calls
    assert (span.name, span.status, span.attributes["error.type"]) == ("connect", 2, "2002")
    assert span.attributes["error.message"] == "Can't connect to local server"
    assert "mysql.connection_id" not in span.attributes
