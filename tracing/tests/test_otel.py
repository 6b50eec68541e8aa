"""The OpenTelemetry SDK in the app: its spans, ids and parents go before ours."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import flask
import pytest
from conftest import CALLER_ID, SAMPLED, TRACE_ID, UNSAMPLED, Spans, page, respond
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.pymysql import PyMySQLInstrumentor
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.propagate import extract
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from sanso_tracing import writer

FLASK, PYMYSQL = "opentelemetry.instrumentation.flask", "opentelemetry.instrumentation.pymysql"
OURS = "sanso_tracing"


@pytest.fixture(scope="session")
def exporter():
    """Where the app's own SDK sends its spans: a process has one provider, and keeps it."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture(autouse=True)
def nothing_warned(monkeypatch):
    monkeypatch.setattr(writer, "_warned_in", None)


@pytest.fixture
def exported(exporter):
    exporter.clear()
    return exporter.get_finished_spans


@pytest.fixture
def shop(exported, connection):
    """A Flask app that runs what a test puts into `shop.work`, with a connection that the SDK may have instrumented."""
    app = flask.Flask("shop")
    app.work = lambda connection: None

    @app.get("/<path:path>")
    def view(path):
        app.work(app.connection)
        return "hello"

    app.connection = connection
    return app


@pytest.fixture
def instrumented(shop):
    """The same, instrumented from top to bottom."""
    FlaskInstrumentor().instrument_app(shop)
    shop.connection = PyMySQLInstrumentor().instrument_connection(shop.connection)
    yield shop
    FlaskInstrumentor().uninstrument_app(shop)


def select(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'aoi@example.org'")


def of_scope(spans: Spans, scope: str) -> list[SimpleNamespace]:
    return [span for span in spans.line if span.scope == scope]


def ids(span) -> tuple[str, str, str]:
    """A span's id, its parent's and its name, as the SDK exported it."""
    return f"{span.context.span_id:016x}", f"{span.parent.span_id:016x}" if span.parent else "", span.name


def test_sdks_server_span_takes_the_place_of_ours(instrumented, spans, get, exported):
    get(instrumented.wsgi_app, path="/a")
    (sdk_span,) = exported()
    (span,) = spans.line
    assert (span.id, span.parent, span.name) == ids(sdk_span)
    assert (span.scope, span.kind, span.parent, span.trace) == (FLASK, 2, CALLER_ID, TRACE_ID)
    assert (span.start, span.end) == (sdk_span.start_time, sdk_span.end_time)
    assert span.attributes["http.status_code"] == 200
    assert span.flags == 0x301


def test_statement_names_the_sdks_span(instrumented, spans, get, exported, mysql):
    instrumented.work = select
    get(instrumented.wsgi_app, path="/a")
    server, call = of_scope(spans, FLASK) + of_scope(spans, PYMYSQL)
    assert len(spans.line) == 2
    assert call.parent == server.id
    assert {(span.id, span.parent, span.name) for span in spans.line} == set(map(ids, exported()))
    assert mysql.statements == [f"/*traceparent='00-{TRACE_ID}-{call.id}-01'*/ SELECT 'aoi@example.org'"]


def test_written_copy_has_what_the_sdk_does_not_know_and_no_sql(instrumented, spans, get, exported, mysql):
    instrumented.work = select
    get(instrumented.wsgi_app, path="/a")
    (call,) = of_scope(spans, PYMYSQL)
    assert call.attributes["network.peer.address"] == str(mysql.path)
    assert call.attributes["mysql.connection_id"] == 41
    assert "aoi" not in spans.path.read_text()
    (sdk_span,) = [span for span in exported() if "db.system" in span.attributes]
    assert "aoi" in sdk_span.attributes["db.statement"]
    assert "network.peer.address" not in sdk_span.attributes


def test_failed_statement_is_an_error_in_the_sdks_span(instrumented, spans, get):
    instrumented.work = lambda connection: connection.cursor().execute("SELECT 1 FROM absent")
    get(instrumented.wsgi_app, path="/a")
    (call,) = of_scope(spans, PYMYSQL)
    assert (call.status, call.attributes["error.type"]) == (2, "1146")


def test_statement_that_the_sdk_does_not_see_has_our_span_below_the_sdks(instrumented, spans, get, mysql):
    instrumented.work = lambda connection: connection.commit()
    get(instrumented.wsgi_app, path="/a")
    (server,), (commit,) = of_scope(spans, FLASK), of_scope(spans, OURS)
    assert (commit.name, commit.parent) == ("COMMIT", server.id)
    assert mysql.statements == [f"/*traceparent='00-{TRACE_ID}-{commit.id}-01'*/ COMMIT"]


def test_our_span_is_the_child_of_the_apps_own(instrumented, spans, get):
    def work(connection):
        with trace.get_tracer("shop").start_as_current_span("pay"):
            connection.commit()

    instrumented.work = work
    get(instrumented.wsgi_app, path="/a")
    (server,), (pay,), (commit,) = (of_scope(spans, scope) for scope in (FLASK, "shop", OURS))
    assert (pay.name, pay.kind, pay.parent, commit.parent) == ("pay", 1, server.id, pay.id)
    assert pay.flags == 0x101


def test_statement_outside_of_the_sdks_server_span_is_its_child(instrumented, spans, get, connection):
    def middleware(environ, start_response):
        connection.query("SELECT 1")
        return instrumented.wsgi_app(environ, start_response)

    get(middleware, path="/a")
    (server,), (call,) = of_scope(spans, FLASK), of_scope(spans, OURS)
    assert call.parent == server.id


def test_sdks_middleware_around_ours_is_written(spans, install, exported):
    respond(OpenTelemetryMiddleware(install(page)), traceparent=SAMPLED)
    (span,), (sdk_span,) = spans.line, exported()
    assert (span.id, span.parent, span.name) == ids(sdk_span)
    assert span.start <= span.end <= sdk_span.end_time


def test_app_without_instrumentation_has_our_spans(shop, spans, get, exported):
    def work(connection):
        with trace.get_tracer("shop").start_as_current_span("pay"):
            select(connection)

    shop.work = work
    get(shop.wsgi_app, path="/a")
    assert [span.name for span in spans.line] == ["GET /a", "SELECT"]
    assert spans.calls[0].parent == spans.server.id
    (own,) = exported()  # in a trace of its own, as ever
    assert own.parent is None


def test_statement_in_a_span_of_another_trace_has_our_span(shop, spans, get, mysql):
    shop.connection = PyMySQLInstrumentor().instrument_connection(shop.connection)
    shop.work = select
    get(shop.wsgi_app, path="/a")
    assert [span.scope for span in spans.line] == [OURS, OURS]
    assert spans.calls[0].id in mysql.statements[0]


def test_sdk_that_does_not_sample_leaves_it_to_us(shop, spans, get, exported):
    FlaskInstrumentor().instrument_app(shop, tracer_provider=TracerProvider(sampler=ALWAYS_OFF))
    shop.work = select
    get(shop.wsgi_app, path="/a")
    assert [span.scope for span in spans.line] == [OURS, OURS]
    assert spans.calls[0].parent == spans.server.id


def test_sdks_middleware_that_does_not_sample_leaves_it_to_us(spans, install, caplog):
    application = OpenTelemetryMiddleware(install(page), tracer_provider=TracerProvider(sampler=ALWAYS_OFF))
    respond(application, traceparent=SAMPLED)
    assert [span.scope for span in spans.line] == [OURS]
    assert not caplog.messages


def test_only_a_server_span_of_the_callers_takes_the_place_of_ours(shop, spans, get):
    def work(connection):
        tracer = trace.get_tracer("shop")
        with (
            tracer.start_as_current_span("job", context=extract({"traceparent": SAMPLED})),
            tracer.start_as_current_span("an app within", kind=trace.SpanKind.SERVER),
        ):
            pass

    shop.work = work
    get(shop.wsgi_app, path="/a")
    assert [span.name for span in spans.line] == ["GET /a", "job", "an app within"]


def test_sdk_that_is_imported_and_not_set_up_leaves_it_to_us(shop, spans, get, monkeypatch, caplog):
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    shop.work = select
    get(shop.wsgi_app, path="/a")
    assert [span.scope for span in spans.line] == [OURS, OURS]
    assert not caplog.messages


def test_sdk_that_we_do_not_know_costs_no_request(shop, spans, get, monkeypatch, caplog):
    def get_tracer_provider():
        raise AttributeError("renamed")

    monkeypatch.setattr(trace, "get_tracer_provider", get_tracer_provider)
    shop.work = select
    assert get(shop.wsgi_app, path="/a").text == "hello"
    assert [span.scope for span in spans.line] == [OURS, OURS]
    (message,) = caplog.messages
    assert "renamed" in message


def test_sdks_spans_that_we_can_not_read_cost_no_request(instrumented, spans, get, monkeypatch, caplog):
    from sanso_tracing import otel

    monkeypatch.setattr(otel, "convert", lambda span, request: span.renamed)
    assert get(instrumented.wsgi_app, path="/a").text == "hello"
    assert [span.scope for span in spans.line] == [OURS]
    (message,) = caplog.messages
    assert "renamed" in message


def test_spans_are_noted_once_however_many_requests(instrumented, spans, install):
    application = install(instrumented.wsgi_app)
    for _ in range(3):
        respond(application, traceparent=SAMPLED, path="/a")
    assert [len(line) for line in spans.lines] == [1, 1, 1]


def test_sdk_follows_the_flag_of_the_caller(instrumented, spans, get, exported, mysql):
    instrumented.work = select
    get(instrumented.wsgi_app, path="/a", traceparent=UNSAMPLED)
    assert spans.lines == []
    assert exported() == ()
    assert mysql.statements == ["SELECT 'aoi@example.org'"]


def test_sdks_spans_of_a_request_without_a_trace_are_not_ours(instrumented, spans, get, exported):
    get(instrumented.wsgi_app, path="/a", traceparent=None)
    assert spans.lines == []
    assert len(exported()) == 1


def test_apps_exporter_gets_what_it_got_without_us(instrumented, install, exporter):
    def export(application):
        exporter.clear()
        respond(application, traceparent=SAMPLED, path="/a")
        spans = [json.loads(span.to_json()) for span in exporter.get_finished_spans()]
        return [[span[part] for part in ("name", "kind", "attributes", "status", "events")] for span in spans]

    instrumented.work = select
    assert export(install(instrumented.wsgi_app)) == export(instrumented.wsgi_app)


# In processes of their own


def run(script: str, *words) -> str:
    command = [sys.executable, "-W", "error", "-c", script, *map(str, words)]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


PROVIDER_BEFORE_THE_FORK = """
import os, sys, flask, sanso_tracing
from conftest import SAMPLED, respond
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider(resource=Resource({"process.pid": os.getpid()})))
app = flask.Flask("shop")
FlaskInstrumentor().instrument_app(app)
app.get("/a")(lambda: "hello")
application = sanso_tracing.install(app.wsgi_app, file=sys.argv[1])
workers = []
for _ in range(2):
    if (worker := os.fork()) == 0:
        respond(application, traceparent=SAMPLED, path="/a")
        os._exit(0)
    workers.append(worker)
    os.waitpid(worker, 0)
print(*workers)
"""


def test_provider_that_was_made_before_the_fork_is_traced_in_each_worker(spans):
    workers = run(PROVIDER_BEFORE_THE_FORK, spans.path).split()
    assert [[span.scope for span in line] for line in spans.lines] == [[FLASK], [FLASK]]
    written = [json.loads(line)["resourceSpans"][0]["resource"] for line in spans.path.read_text().splitlines()]
    assert [json.dumps(resource).count(worker) for resource, worker in zip(written, workers, strict=True)] == [1, 1]


PROVIDER_AFTER_A_REQUEST = """
import sys, flask, sanso_tracing
from conftest import SAMPLED, page, respond

app = page
application = sanso_tracing.install(lambda *words: app(*words), file=sys.argv[1])
respond(application, traceparent=SAMPLED, path="/a")
assert not any(name.startswith("opentelemetry") for name in sys.modules)

from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())
app = flask.Flask("shop")
FlaskInstrumentor().instrument_app(app)
app.get("/a")(lambda: "hello")
respond(application, traceparent=SAMPLED, path="/a")
"""


def test_sdk_is_found_once_the_app_has_set_it_up_and_never_imported_before(spans):
    run(PROVIDER_AFTER_A_REQUEST, spans.path)
    assert [[span.scope for span in line] for line in spans.lines] == [[OURS], [FLASK]]
