"""A WSGI server that holds both sides to PEP 3333, the file of spans, and a MySQL that says little."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pymysql
import pytest
from mysql import MySQL

import sanso_tracing

TRACE_ID, CALLER_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE_ID}-{CALLER_ID}-01"
UNSAMPLED = f"00-{TRACE_ID}-{CALLER_ID}-00"


@dataclass
class Response:
    status: str = ""
    headers: list = field(default_factory=list)
    chunks: list = field(default_factory=list)

    @property
    def text(self) -> str:
        return b"".join(self.chunks).decode()

    @property
    def timing(self) -> list[str]:
        return [value for name, value in self.headers if name == "Server-Timing"]


def environ_of(path="/", traceparent=None, **more) -> dict:
    environ = {"SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "", **more}
    if traceparent:
        environ["HTTP_TRACEPARENT"] = traceparent
    setup_testing_defaults(environ)
    return environ


def respond(application, response=None, at_most=None, **request) -> Response:
    """Serve one request, as a server would; after `at_most` chunks, the client goes away."""
    response = response or Response()

    def start_response(status, headers, exc_info=None):
        if exc_info and response.chunks:  # headers went out with the first chunk
            raise exc_info[1]
        response.status, response.headers = status, headers
        return response.chunks.append

    body = validator(application)(environ_of(**request), start_response)
    try:
        for chunk in body:
            response.chunks.append(chunk)
            if len(response.chunks) == at_most:
                break
    finally:
        body.close()
    return response


@dataclass
class Spans:
    """What was written: one list of spans for each line, with their attributes as a dict."""

    path: object

    @property
    def lines(self) -> list[list[SimpleNamespace]]:
        text = self.path.read_text() if self.path.exists() else ""
        return [[self.read(scope, span) for scope, span in self.of(json.loads(line))] for line in text.splitlines()]

    @property
    def line(self) -> list[SimpleNamespace]:
        (line,) = self.lines
        return line

    @property
    def server(self) -> SimpleNamespace:
        (server,) = [span for span in self.line if span.kind == 2]
        return server

    @property
    def calls(self) -> list[SimpleNamespace]:
        return [span for span in self.line if span.kind == 3]

    @staticmethod
    def of(line):
        (resource,) = line["resourceSpans"]
        return [(made["scope"]["name"], span) for made in resource["scopeSpans"] for span in made["spans"]]

    @staticmethod
    def read(scope, span):
        attributes = {}
        for attribute in span["attributes"]:
            ((kind, value),) = attribute["value"].items()
            attributes[attribute["key"]] = int(value) if kind == "intValue" else value
        return SimpleNamespace(
            scope=scope,
            id=span["spanId"],
            parent=span["parentSpanId"],
            trace=span["traceId"],
            name=span["name"],
            kind=span["kind"],
            start=int(span["startTimeUnixNano"]),
            end=int(span["endTimeUnixNano"]),
            status=span["status"].get("code", 0),
            flags=span["flags"],
            attributes=attributes,
        )


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("FILE", "SERVICE", "SERVER_TIMING"):
        monkeypatch.delenv(f"SANSO_TRACING_{name}", raising=False)


@pytest.fixture
def spans(tmp_path):
    return Spans(tmp_path / "spans.jsonl")


@pytest.fixture
def install(spans):
    def install(app, **options):
        return sanso_tracing.install(app, **{"file": str(spans.path), "service": "shop"} | options)

    return install


@pytest.fixture
def get(install):
    """Serve one sampled request of an app that is traced."""

    def get(app, **request):
        return respond(install(app), **{"traceparent": SAMPLED} | request)

    return get


@pytest.fixture
def mysql(tmp_path):
    with MySQL(tmp_path / "mysqld.sock") as mysql:
        yield mysql


@pytest.fixture
def connection(mysql):
    """An open connection of PyMySQL, with nothing said on it yet."""
    connection = pymysql.connect(unix_socket=str(mysql.path), user="shop")
    mysql.statements.clear()
    yield connection
    if connection.open:
        connection.close()


def page(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def asking(connection, *statements):
    """An app that asks the database this."""

    def app(environ, start_response):
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        return page(environ, start_response)

    return app
