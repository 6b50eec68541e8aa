"""A span, and how the OpenTelemetry protocol writes spans in JSON.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# A span's kind, as in the protocol: who answers a call, and who makes one.
SERVER, CLIENT = 2, 3
# A span's status, as in the protocol.
UNSET, ERROR = 0, 2
# Flags beside the trace context's own: that it is known whether the parent is in another process, and that it is.
KNOWS_REMOTE, IS_REMOTE = 0x100, 0x200


@dataclass(slots=True)
class Span:
    trace_id: str
    id: str
    parent_id: str
    name: str
    kind: int
    start: int  # nanoseconds since 1970
    end: int = 0
    remote_parent: bool = False
    attributes: dict = field(default_factory=dict)
    status: int = UNSET

    def as_otlp(self) -> dict:
        return {
            "traceId": self.trace_id,
            "spanId": self.id,
            "parentSpanId": self.parent_id,
            "flags": 0x01 | KNOWS_REMOTE | (IS_REMOTE if self.remote_parent else 0),
            "name": self.name,
            "kind": self.kind,
            "startTimeUnixNano": str(self.start),
            "endTimeUnixNano": str(self.end),
            "attributes": attributes_as_otlp(self.attributes),
            "status": {"code": self.status} if self.status else {},
        }


def export(spans: Mapping[str, Sequence[Span]], resource: Mapping) -> str:
    """One line of OTLP/JSON, without its line feed: an ExportTraceServiceRequest.

    `spans` by their scope, the library that made them; `resource` are the attributes of the process.
    """
    scopes = [{"scope": {"name": scope}, "spans": [span.as_otlp() for span in made]} for scope, made in spans.items()]
    resource_spans = {"resource": {"attributes": attributes_as_otlp(resource)}, "scopeSpans": scopes}
    return json.dumps({"resourceSpans": [resource_spans]}, separators=(",", ":"))


def attributes_as_otlp(attributes: Mapping) -> list[dict]:
    return [{"key": key, "value": value_as_otlp(value)} for key, value in attributes.items()]


def value_as_otlp(value) -> dict:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}  # 64 bits, which JSON's numbers can't be trusted with
        case float():
            return {"doubleValue": value}
        case bytes():
            return {"bytesValue": base64.b64encode(value).decode()}
        case list() | tuple():
            return {"arrayValue": {"values": [value_as_otlp(item) for item in value]}}
        case _:
            return {"stringValue": str(value)}
