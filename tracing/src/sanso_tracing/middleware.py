"""The WSGI middleware: from the server's call of the app until it closes the response.

https://peps.python.org/pep-3333/
"""

from collections.abc import Callable, Iterable

from .context import may_be_sampled, parse
from .recording import CURRENT, Request, SampledRequest
from .writer import Writer


class Middleware:
    """`app`, traced. Each request's Request is CURRENT while the app's code runs, and at no other time."""

    def __init__(self, app: Callable, writer: Writer, server_timing: bool):
        self.app = app
        self.writer = writer
        self.server_timing = server_timing

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        request = self.request_of(environ)
        if request is None:
            return self.app(environ, start_response)

        def start_measured(status, headers, exc_info=None):
            if self.server_timing:
                headers = [*headers, ("Server-Timing", request.server_timing())]  # beside one of the app's own
            write = start_response(status, headers, exc_info) if exc_info else start_response(status, headers)
            request.status = status
            return write

        token = CURRENT.set(request)
        try:
            body = self.app(environ, start_measured)
            return self.rest_of(body, request)
        except BaseException as error:
            request.fail(error)
            request.finish()
            raise
        finally:
            CURRENT.reset(token)

    def request_of(self, environ: dict) -> Request | None:
        """What to measure; None is nothing."""
        if CURRENT.get() is not None:  # installed around an app that installed it by itself
            return None
        traceparent = environ.get("HTTP_TRACEPARENT", "")
        trace = parse(traceparent) if may_be_sampled(traceparent) else None
        if trace is not None and trace.sampled:
            path = text(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))
            return SampledRequest(trace, text(environ.get("REQUEST_METHOD", "")), path, self.writer)
        return Request() if self.server_timing else None

    def rest_of(self, body: Iterable[bytes], request: Request) -> Iterable[bytes]:
        """The response's body, wrapped only if code of the app may still run in it: a server knows its own
        wsgi.file_wrapper, and a list's length."""
        if isinstance(body, list | tuple):
            request.finish()
            return body
        if request.status is not None and not request.sampled:  # its headers have said all that is measured
            return body
        return Body(body, request)


class Body:
    """An iterable of the app, which ends its request when the server closes it."""

    def __init__(self, body: Iterable[bytes], request: Request):
        self.body = body
        self.chunks = iter(body)
        self.request = request

    def __iter__(self):
        return self

    def __next__(self) -> bytes:
        return self.run(self.chunks.__next__)

    def close(self) -> None:
        try:
            if hasattr(self.body, "close"):
                self.run(self.body.close)
        finally:
            self.request.finish()

    def run(self, step: Callable):
        token = CURRENT.set(self.request)
        try:
            return step()
        except StopIteration:
            raise
        except BaseException as error:
            self.request.fail(error)
            raise
        finally:
            CURRENT.reset(token)


def text(value: str) -> str:
    """A string of the environ, which holds bytes one to a character, as what those say in UTF-8."""
    return value.encode("latin-1", "replace").decode("utf-8", "replace")
