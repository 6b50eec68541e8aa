"""What a server and an app see of each other: every response passes through wsgiref.validate."""

import sys
from wsgiref.validate import validator

import pytest
from conftest import CALLER_ID, SAMPLED, TRACE_ID, UNSAMPLED, Response, asking, environ_of, page, respond

import sanso_tracing
from sanso_tracing.recording import CURRENT

TRACEPARENTS = pytest.mark.parametrize("traceparent", [SAMPLED, UNSAMPLED, None])
PLAIN = [("Content-Type", "text/plain")]


def streaming(*chunks):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        yield from chunks

    return app


def failing(error):
    def app(environ, start_response):
        raise error

    return app


def failing_midway(error):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"a part"
        raise error

    return app


def test_server_span_is_the_callers_child(spans, get):
    get(page, path="/a", REQUEST_METHOD="PUT")
    span = spans.server
    assert (span.trace, span.parent, span.name, span.status) == (TRACE_ID, CALLER_ID, "PUT /a", 0)
    assert span.flags == 0x301
    assert span.attributes == {"http.request.method": "PUT", "url.path": "/a", "http.response.status_code": 200}
    assert span.start < span.end


def test_each_request_has_a_span_id_of_its_own(spans, get):
    get(page)
    get(page)
    assert len({span.id for line in spans.lines for span in line}) == 2


@pytest.mark.parametrize("traceparent", [None, UNSAMPLED, SAMPLED.upper(), "nonsense"])
def test_request_that_is_not_sampled_is_not_written(spans, get, traceparent):
    assert get(page, traceparent=traceparent).text == "hello"
    assert spans.lines == []


@pytest.mark.parametrize(
    ("raw", "path"),
    [(b"/caf\xc3\xa9", "/café"), (b"/\xe4\xb8\x89", "/三"), (b"/caf\xe9", "/caf\N{REPLACEMENT CHARACTER}")],
)
def test_path_is_read_as_utf8(spans, get, raw, path):
    get(page, path=raw.decode("latin-1"))
    assert spans.server.attributes["url.path"] == path


def test_path_holds_where_the_app_is_mounted(spans, get):
    get(page, path="/a", SCRIPT_NAME="/shop")
    assert spans.server.attributes["url.path"] == "/shop/a"


def test_query_string_is_not_in_the_span(spans, get):
    get(page, QUERY_STRING="token=secret")
    assert "secret" not in spans.path.read_text()


@pytest.mark.parametrize(("status", "error"), [("204 No Content", 0), ("404 Not Found", 0), ("503 Unavailable", 2)])
def test_only_5xx_is_an_error(spans, get, status, error):
    def app(environ, start_response):
        start_response(status, [] if status.startswith("204") else PLAIN)
        return []

    get(app)
    assert spans.server.status == error
    assert spans.server.attributes["http.response.status_code"] == int(status[:3])
    assert spans.server.attributes.get("error.type") == (status[:3] if error else None)


# Exceptions


@TRACEPARENTS
@pytest.mark.parametrize("error", [KeyError("voucher"), SystemExit(3)])
@pytest.mark.parametrize("app", [failing, failing_midway])
def test_exception_passes_unchanged(install, app, error, traceparent):
    with pytest.raises(type(error)) as raised:
        respond(install(app(error)), traceparent=traceparent)
    assert raised.value is error
    assert CURRENT.get() is None


@pytest.mark.parametrize("error", [KeyError, SystemExit])
@pytest.mark.parametrize(("app", "status"), [(failing, 500), (failing_midway, 200)])
def test_span_names_the_exceptions_class(spans, get, app, status, error):
    with pytest.raises(error):
        get(app(error("a secret")))
    span = spans.server
    assert (span.status, span.attributes["error.type"]) == (2, error.__name__)
    assert span.attributes["http.response.status_code"] == status
    assert "secret" not in spans.path.read_text()


def test_exception_in_close_is_in_the_span(spans, get):
    with pytest.raises(OSError, match="gone"):
        get(lambda environ, start_response: Closable(page(environ, start_response), error=OSError("gone")))
    assert spans.server.attributes["error.type"] == "OSError"


@TRACEPARENTS
def test_app_that_returns_nothing_fails_as_ever(install, traceparent):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)

    with pytest.raises(TypeError, match="iter"):
        iter(install(app)(environ_of(traceparent=traceparent), lambda status, headers: None))
    assert CURRENT.get() is None


# Bodies


class Closable:
    def __init__(self, chunks, error=None):
        self.chunks, self.error = chunks, error
        self.closed = 0

    def __iter__(self):
        return iter(self.chunks)

    def close(self):
        self.closed += 1
        if self.error:
            raise self.error


@TRACEPARENTS
def test_close_reaches_the_app_once(install, traceparent):
    body = Closable([b"a", b"b"])

    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        return body

    assert respond(install(app), traceparent=traceparent).text == "ab"
    assert body.closed == 1


@TRACEPARENTS
def test_stream_is_passed_chunk_by_chunk(install, traceparent):
    response = respond(install(streaming(b"a", b"", b"b")), traceparent=traceparent)
    assert response.chunks == [b"a", b"", b"b"]


def test_span_ends_when_the_server_closes_the_stream(spans, install):
    def start_response(status, headers):
        assert not spans.lines

    body = install(streaming(b"a", b"b"))(environ_of(traceparent=SAMPLED), start_response)
    assert list(body) == [b"a", b"b"]
    assert not spans.lines
    body.close()
    assert spans.server.status == 0


def test_span_is_written_once_however_often_it_is_closed(spans, install):
    body = install(streaming(b"a"))(environ_of(traceparent=SAMPLED), lambda status, headers: None)
    list(body)
    body.close()
    body.close()
    assert len(spans.lines) == 1


def test_client_that_goes_away_is_no_error(spans, get):
    ended = []

    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        try:
            yield b"a"
            yield b"b"
        finally:
            ended.append(True)

    assert get(app, at_most=1).text == "a"
    assert ended
    assert spans.server.status == 0


def test_stream_that_is_never_read_is_written(spans, install):
    install(streaming(b"a"))(environ_of(traceparent=SAMPLED), lambda status, headers: None).close()
    assert len(spans.lines) == 1


@TRACEPARENTS
def test_list_stays_a_list(spans, install, traceparent):
    """A server may set Content-Length by its length."""
    assert install(page)(environ_of(traceparent=traceparent), lambda status, headers: None) == [b"hello"]
    assert len(spans.lines) == (traceparent == SAMPLED)


def test_file_wrapper_of_an_unsampled_request_reaches_the_server(install):
    class FileWrapper(Closable):
        pass

    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"]([b"a"])

    environ = environ_of(**{"wsgi.file_wrapper": FileWrapper})
    assert type(install(app)(environ, lambda status, headers: None)) is FileWrapper


def test_head_is_traced(spans, get):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        return []

    assert get(app, REQUEST_METHOD="HEAD").text == ""
    assert spans.server.name == "HEAD /"


@TRACEPARENTS
def test_write_reaches_the_server(install, traceparent):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)(b"written, ")
        return [b"returned"]

    assert respond(install(app), traceparent=traceparent).text == "written, returned"


def changing_its_mind(environ, start_response):
    start_response("200 OK", PLAIN)
    try:
        raise KeyError("voucher")
    except KeyError:
        start_response("500 Oops", [*PLAIN, ("X-Failed", "yes")], sys.exc_info())
    return [b"sorry"]


@TRACEPARENTS
def test_second_start_response_replaces_the_first(install, traceparent):
    response = respond(install(changing_its_mind), traceparent=traceparent)
    assert (response.status, response.text) == ("500 Oops", "sorry")
    assert ("X-Failed", "yes") in response.headers
    assert len(response.timing) == 1


def test_span_has_the_second_status(spans, get):
    get(changing_its_mind)
    assert spans.server.attributes["http.response.status_code"] == 500


def test_second_start_response_that_comes_too_late_raises(spans, get):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"a part"
        try:
            raise KeyError("voucher")
        except KeyError:
            start_response("500 Oops", PLAIN, sys.exc_info())

    with pytest.raises(KeyError, match="voucher"):
        get(app)
    assert spans.server.attributes["http.response.status_code"] == 200


@TRACEPARENTS
@pytest.mark.parametrize("app", [page, streaming(b"a", b"b"), streaming(), changing_its_mind])
def test_apps_side_keeps_to_the_specification(install, app, traceparent):
    application = validator(install(validator(app)))
    body = application(environ_of(traceparent=traceparent), lambda status, headers, exc_info=None: lambda data: None)
    list(body)
    body.close()


def test_apps_headers_are_not_changed_in_place(get):
    headers = [*PLAIN]

    def app(environ, start_response):
        start_response("200 OK", headers)
        return []

    get(app)
    assert headers == PLAIN


# Installed


def test_twice_is_once(spans, install):
    application = install(install(page))
    assert len(respond(application, traceparent=SAMPLED).timing) == 1
    assert len(spans.line) == 1


@TRACEPARENTS
def test_around_an_app_that_installed_it_is_once(spans, install, traceparent):
    inner = install(streaming(b"a"))
    application = install(lambda environ, start_response: inner(environ, start_response))
    assert len(respond(application, traceparent=traceparent).timing) == 1
    assert sum(map(len, spans.lines)) == (traceparent == SAMPLED)


# Server-Timing


@TRACEPARENTS
def test_every_response_says_how_long_the_app_took(install, traceparent):
    (timing,) = respond(install(page), traceparent=traceparent).timing
    name, duration = timing.split(";dur=")
    assert name == "app"
    assert float(duration) >= 0


@TRACEPARENTS
@pytest.mark.parametrize(("statements", "said"), [(1, "1 statement"), (2, "2 statements")])
def test_response_says_how_long_the_database_took(install, connection, statements, said, traceparent):
    (timing,) = respond(install(asking(connection, *["SELECT 1"] * statements)), traceparent=traceparent).timing
    app, database = timing.split(", ")
    assert database.startswith("db;dur=")
    assert database.endswith(f';desc="{said}"')
    assert float(database.split(";")[1][4:]) <= float(app[8:])


@TRACEPARENTS
def test_statements_of_a_generator_before_its_headers_count(install, connection, traceparent):
    def app(environ, start_response):
        connection.query("SELECT 1")
        yield from asking(connection, "SELECT 2")(environ, start_response)

    (timing,) = respond(install(app), traceparent=traceparent).timing
    assert 'desc="2 statements"' in timing


def test_apps_own_server_timing_is_kept(install):
    def app(environ, start_response):
        start_response("200 OK", [*PLAIN, ("Server-Timing", "cache;desc=hit")])
        return []

    own, ours = respond(install(app)).timing
    assert own == "cache;desc=hit"
    assert ours.startswith("app;dur=")


@TRACEPARENTS
@pytest.mark.parametrize("word", ["off", "OFF"])
def test_server_timing_is_switched_off_by_the_environment(install, monkeypatch, word, traceparent):
    monkeypatch.setenv("SANSO_TRACING_SERVER_TIMING", word)
    assert respond(install(page), traceparent=traceparent).timing == []


@TRACEPARENTS
def test_server_timing_is_switched_off_by_the_argument(install, traceparent):
    assert respond(install(page, server_timing=False), traceparent=traceparent).timing == []


def test_argument_goes_before_the_environment(install, monkeypatch):
    monkeypatch.setenv("SANSO_TRACING_SERVER_TIMING", "off")
    assert respond(install(page, server_timing=True)).timing


# Whose statements


def test_statements_of_a_stream_belong_to_its_request(spans, get, connection):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        for _ in range(2):
            connection.query("SELECT 1")
            yield b"a"

    get(app)
    assert [span.parent for span in spans.calls] == [spans.server.id] * 2


def test_statements_in_close_belong_to_the_request(spans, get, connection):
    class Body(Closable):
        def close(self):
            connection.query("COMMIT")

    get(lambda environ, start_response: Body(page(environ, start_response)))
    assert [span.name for span in spans.calls] == ["COMMIT"]


def test_two_streams_at_once_keep_apart(spans, install, connection):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"a"
        connection.query(f"SELECT '{environ['PATH_INFO']}'")
        yield b"b"

    application = install(app)
    bodies = [application(environ_of(path, SAMPLED), lambda status, headers: None) for path in ("/1", "/2")]
    for _ in zip(*bodies, strict=True):
        assert CURRENT.get() is None
    for body in reversed(bodies):
        body.close()
    assert [[span.name for span in line] for line in spans.lines] == [["GET /2", "SELECT"], ["GET /1", "SELECT"]]
    assert all(line[1].parent == line[0].id for line in spans.lines)


def test_response_is_the_same_without_sampling(install):
    sampled, unsampled = (respond(install(page), Response(), traceparent=one) for one in (SAMPLED, UNSAMPLED))
    assert (sampled.status, sampled.text) == (unsampled.status, unsampled.text)
    assert [name for name, _ in sampled.headers] == [name for name, _ in unsampled.headers]


def test_apps_environment_is_untouched(install):
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        return page(environ, start_response)

    environ = environ_of(traceparent=SAMPLED)
    sanso_tracing.install(app)(environ, lambda status, headers: None)
    assert seen == environ
