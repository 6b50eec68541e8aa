"""What is measured of the request that is being served: its time, its database calls and, if sampled, its spans."""

import sys
from collections.abc import Callable
from contextvars import ContextVar
from time import perf_counter_ns, time_ns

from .context import TraceContext, new_span_id, sql_comment
from .spans import CLIENT, ERROR, SERVER, UNSET, Span
from .writer import Writer, warn_once

SCOPE = "sanso_tracing"
READINGS = 3  # of the clocks
# Gives a span's attributes once the call is over, by the exception that it raised.
Describe = Callable[[BaseException | None], dict]


class Request:
    """A request that isn't sampled: only what Server-Timing says is measured."""

    sampled = False

    def __init__(self):
        self.started = perf_counter_ns()
        self.statements = 0
        self.database_ns = 0
        self.status: str | None = None  # such as "200 OK", once the app has said it

    def server_timing(self) -> str:
        """The value of the header, in milliseconds: so far."""
        timing = f"app;dur={(perf_counter_ns() - self.started) / 1e6:.1f}"
        if self.database_ns:
            plural = "" if self.statements == 1 else "s"
            timing += f', db;dur={self.database_ns / 1e6:.1f};desc="{self.statements} statement{plural}"'
        return timing

    def call(self, name: str, describe: Describe) -> "Call":
        """A call to the database, to be made in its with statement.

        `name` is the operation, such as SELECT; `describe` gives the span's further attributes.
        """
        return Call(self)

    def fail(self, error: BaseException) -> None:
        """Note what the app raised."""

    def finish(self) -> None:
        """The app is done with it."""


class Call:
    comment = ""  # what has to stand in front of the statement

    def __init__(self, request: Request):
        self.request = request

    def __enter__(self):
        self.started = perf_counter_ns()
        return self

    def __exit__(self, kind, error, traceback):
        self.request.database_ns += perf_counter_ns() - self.started


class SampledRequest(Request):
    """A request that is sampled: its span and those of its calls are written when it ends."""

    def __init__(self, trace: TraceContext, method: str, path: str, writer: Writer):
        super().__init__()
        self.sampled = True
        self.trace = trace
        self.writer = writer
        # The clock may be set while we measure: spans of one request are all counted from here.
        self.epoch = epoch()
        self.span = Span(trace.trace_id, new_span_id(), trace.span_id, f"{method} {path}", SERVER, self.now())
        self.span.remote_parent = True
        self.span.attributes = {"http.request.method": method, "url.path": path}
        self.spans: list[Span] = [self.span]
        self.sdk_spans: list = []  # those of the OpenTelemetry SDK, which adds to them
        self.sdk_facts: dict[str, dict] = {}  # what we know about them, by their id
        self.sdk = find_sdk(self)

    def now(self) -> int:
        """Nanoseconds since 1970."""
        return self.epoch + perf_counter_ns()

    def call(self, name: str, describe: Describe) -> Call:
        if not self.sampled:  # finished, and a thread that it left behind goes on
            return Call(self)
        sdk_span = self.sdk.current(self) if self.sdk else None
        if sdk_span and sdk_span.is_database:
            return DescribedCall(self, sdk_span.id, describe)
        return RecordedCall(self, sdk_span.id if sdk_span else self.span.id, name, describe)

    def fail(self, error: BaseException) -> None:
        self.span.status = ERROR
        self.span.attributes["error.type"] = type(error).__name__

    def finish(self) -> None:
        if not self.sampled:
            return
        self.sampled = False
        self.span.end = self.now()
        self._note_status()
        spans = {SCOPE: self.spans}
        try:
            if self.sdk:
                spans = self.sdk.merge(self)
        except Exception as error:  # a version of the SDK that we don't know
            warn_once(f"the OpenTelemetry SDK's spans can't be read: {error!r}")
        self.writer.write(spans)

    def _note_status(self) -> None:
        failed = self.span.status == ERROR
        # Every server answers 500 if the app raised before it said anything.
        status = (self.status or ("500" if failed else ""))[:3]
        if status.isdecimal():
            self.span.attributes["http.response.status_code"] = int(status)
        if status.startswith("5") and not failed:
            self.span.status = ERROR
            self.span.attributes["error.type"] = status


def epoch() -> int:
    """What perf_counter_ns() said in 1970. Of some readings the quickest: one may be held up between the two clocks."""
    readings = []
    for _ in range(READINGS):
        before, wall, after = perf_counter_ns(), time_ns(), perf_counter_ns()
        readings.append((after - before, wall - (before + after) // 2))
    return min(readings)[1]


class DescribedCall(Call):
    """A call that another library's span stands for: what that doesn't know is noted."""

    def __init__(self, request: SampledRequest, span_id: str, describe: Describe):
        super().__init__(request)
        self.span_id = span_id
        self.describe = describe
        self.comment = sql_comment(request.trace.trace_id, span_id)

    def __exit__(self, kind, error, traceback):
        super().__exit__(kind, error, traceback)
        self.request.sdk_facts[self.span_id] = self.describe(error)


class RecordedCall(Call):
    """A call that has a span of its own."""

    def __init__(self, request: SampledRequest, parent_id: str, name: str, describe: Describe):
        super().__init__(request)
        self.describe = describe
        self.span = Span(request.trace.trace_id, new_span_id(), parent_id, name, CLIENT, request.now())
        self.comment = sql_comment(request.trace.trace_id, self.span.id)

    def __exit__(self, kind, error, traceback):
        super().__exit__(kind, error, traceback)
        self.span.end = self.request.now()
        self.span.attributes = {"db.operation.name": self.span.name, **self.describe(error)}
        self.span.status = UNSET if error is None else ERROR
        self.request.spans.append(self.span)


def find_sdk(request: SampledRequest):
    """Our module `otel`, if the app uses the OpenTelemetry SDK.

    Looked for at each sampled request: a worker may set the SDK up after the fork, or late.
    """
    if "opentelemetry.sdk.trace" not in sys.modules:
        return None
    try:
        from . import otel

        return otel if otel.attach(request) else None
    except Exception as error:
        warn_once(f"the OpenTelemetry SDK isn't one that we know: {error!r}")
        return None


# The request that is being served in this context: a thread, a greenlet.
CURRENT: ContextVar[Request | None] = ContextVar("sanso_tracing_request", default=None)
