import json

import pytest

from sanso_tracing.spans import ERROR, SERVER, Span, export, value_as_otlp

SPAN = Span("a" * 32, "b" * 16, "c" * 16, "GET /", SERVER, 1795301041112345678, 1795301041112345999)


@pytest.mark.parametrize(
    ("value", "otlp"),
    [
        ("GET", {"stringValue": "GET"}),
        (200, {"intValue": "200"}),
        (True, {"boolValue": True}),
        (0.5, {"doubleValue": 0.5}),
        (b"\xff", {"bytesValue": "/w=="}),
        (("a", 1), {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}}),
        (None, {"stringValue": "None"}),
    ],
)
def test_attribute_has_the_protocols_type(value, otlp):
    assert value_as_otlp(value) == otlp


def test_span_is_written_as_the_protocol_says():
    assert SPAN.as_otlp() == {
        "traceId": "a" * 32,
        "spanId": "b" * 16,
        "parentSpanId": "c" * 16,
        "flags": 0x101,
        "name": "GET /",
        "kind": 2,
        "startTimeUnixNano": "1795301041112345678",
        "endTimeUnixNano": "1795301041112345999",
        "attributes": [],
        "status": {},
    }


def test_span_says_whether_its_parent_is_in_another_process():
    assert Span(*["a"] * 4, SERVER, 0, remote_parent=True).as_otlp()["flags"] == 0x301


def test_status_of_a_failed_span_is_2():
    assert Span(*["a"] * 4, SERVER, 0, status=ERROR).as_otlp()["status"] == {"code": 2}


def test_line_is_one_export_request():
    line = export({"ours": [SPAN], "theirs": [SPAN, SPAN]}, {"service.name": "shop", "process.pid": 7})
    assert "\n" not in line
    (resource,) = json.loads(line)["resourceSpans"]
    assert resource["resource"]["attributes"] == [
        {"key": "service.name", "value": {"stringValue": "shop"}},
        {"key": "process.pid", "value": {"intValue": "7"}},
    ]
    assert [(made["scope"]["name"], len(made["spans"])) for made in resource["scopeSpans"]] == [
        ("ours", 1),
        ("theirs", 2),
    ]
