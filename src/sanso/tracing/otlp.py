"""A trace as OTLP/JSON, which Jaeger, Tempo and the tools of OpenTelemetry import."""

from __future__ import annotations

from sanso.tracing.spans import Span

SCOPE = {"name": "sanso.tracing"}
SAMPLED, IS_REMOTE_KNOWN = 0x1, 0x100
ERROR = 2


def export(trace_id: str, spans: list[Span], app: str) -> dict:
    """One resource for each tier, in the order in which the request went through them."""
    tiers: dict[str, list[Span]] = {}
    for span in spans:
        tiers.setdefault(span.tier, []).append(span)
    return {"resourceSpans": [resource(tier, trace_id, those, app) for tier, those in tiers.items()]}


def resource(tier: str, trace_id: str, spans: list[Span], app: str) -> dict:
    name = app if tier == "app" and app else tier
    about = {"service.name": name, "service.namespace": "sanso"}
    return {
        "resource": {"attributes": attributes(about)},
        "scopeSpans": [{"scope": SCOPE, "spans": [as_otlp(trace_id, span) for span in spans]}],
    }


def as_otlp(trace_id: str, span: Span) -> dict:
    return {
        "traceId": trace_id,
        "spanId": span.id,
        **({"parentSpanId": span.parent} if span.parent else {}),
        "flags": SAMPLED | IS_REMOTE_KNOWN,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end),
        "attributes": attributes({**span.attributes, "sanso.tier": span.tier}),
        "status": {"code": ERROR} if span.error else {},
    }


def attributes(values: dict) -> list[dict]:
    return [{"key": key, "value": value(each)} for key, each in values.items()]


def value(each) -> dict:
    if isinstance(each, bool):
        return {"boolValue": each}
    if isinstance(each, int):
        return {"intValue": str(each)}
    return {"doubleValue": each} if isinstance(each, float) else {"stringValue": str(each)}
