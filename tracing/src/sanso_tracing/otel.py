"""Apps that use the OpenTelemetry SDK: their spans are written as they are, and ours stand aside.

Imported only once the app has imported the SDK. The app's own exporters get what they always got.
"""

from weakref import WeakSet

from opentelemetry import trace
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from .recording import CURRENT, SCOPE, SampledRequest
from .spans import SERVER, Span

# The SDK's copy of a statement may hold personal data; in old and in new terms.
SQL_TEXT = ("db.statement", "db.query.text", "db.query.parameter")

_attached: WeakSet[TracerProvider] = WeakSet()


def attach(request: SampledRequest) -> bool:
    """Tell whether the app has set up the SDK; if so, its spans are noted from now on, in this process."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        return False
    if provider not in _attached:
        _attached.add(provider)
        provider.add_span_processor(Noter())
    note(request, trace.get_current_span())  # a middleware of the SDK's may stand around ours
    return True


class Noter(SpanProcessor):
    """Notes the SDK's spans in the request that they are made in. They are read when that ends."""

    def on_start(self, span: SdkSpan, parent_context=None) -> None:
        request = CURRENT.get()
        if request is not None and request.sampled:
            note(request, span)


def note(request: SampledRequest, span: trace.Span) -> None:
    if span.is_recording() and trace_id(span) == request.trace.trace_id:
        request.sdk_spans.append(span)


class Current:
    """The SDK's span that a call to the database is made in."""

    def __init__(self, span: SdkSpan):
        self.id = span_id(span)
        self.is_database = any(name in span.attributes for name in ("db.system.name", "db.system"))


def current(request: SampledRequest) -> Current | None:
    """None where the SDK has none of this trace, or doesn't sample it."""
    span = trace.get_current_span()
    return Current(span) if span in request.sdk_spans else None


def merge(request: SampledRequest) -> dict[str, list[Span]]:
    """All spans of the request by their scopes: the SDK's, and those of ours that it has no counterpart for."""
    spans = {SCOPE: request.spans}
    servers = []
    for sdk_span in request.sdk_spans:
        span = convert(sdk_span, request)
        spans.setdefault(sdk_span.instrumentation_scope.name, []).append(span)
        if span.kind == SERVER and span.parent_id == request.trace.span_id:
            servers.append(span)
    if servers:
        spans[SCOPE] = [span for span in request.spans if span is not request.span]
        for span in spans[SCOPE]:
            if span.parent_id == request.span.id:  # such as a statement of another middleware
                span.parent_id = servers[0].id
    return {scope: made for scope, made in spans.items() if made}


def convert(span: SdkSpan, request: SampledRequest) -> Span:
    attributes = {name: value for name, value in span.attributes.items() if not name.startswith(SQL_TEXT)}
    return Span(
        trace_id=trace_id(span),
        id=span_id(span),
        parent_id=format(span.parent.span_id, "016x") if span.parent else "",
        name=span.name,
        kind=span.kind.value + 1,  # the protocol's 0 is "unspecified"
        start=span.start_time,
        end=span.end_time or request.span.end,  # it may go on: in a middleware around ours, or a thread
        remote_parent=bool(span.parent and span.parent.is_remote),
        attributes=attributes | request.sdk_facts.get(span_id(span), {}),
        status=span.status.status_code.value,
    )


def trace_id(span: trace.Span) -> str:
    return format(span.get_span_context().trace_id, "032x")


def span_id(span: trace.Span) -> str:
    return format(span.get_span_context().span_id, "016x")
