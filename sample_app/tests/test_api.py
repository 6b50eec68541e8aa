from urllib.parse import urlsplit

import pytest

ERRORS = "/api/projects/shop/errors"
FINE = '"type": "KeyError", "message": "x"'


def nested(levels):
    return {"a": nested(levels - 1)} if levels > 1 else {}


def test_a_report_answers_with_its_id_and_its_page(client, report):
    answer = report()
    assert answer.status_code == 201
    assert answer.json["url"] == answer.location == f"http://localhost/projects/shop/errors/{answer.json['id']}"
    assert client.get(urlsplit(answer.location).path).status_code == 200


def test_what_was_reported_is_listed(client, report, stopped_clock):
    context = {"user": {"id": 7, "tags": ["a", None, True, 1.5]}}
    id = report(context=context).json["id"]
    (error,) = client.get(ERRORS).json["errors"]
    assert error.pop("group")
    assert error == {
        "id": id,
        "time": "2026-03-02T06:30:00.000000+00:00",
        "type": "KeyError",
        "message": "'voucher'",
        "backtrace": ["checkout.py:88 in total"],
        "context": context,
    }


def test_a_project_without_errors_has_an_empty_list(client, report):
    report(project="till")
    assert client.get(ERRORS).json == {"errors": [], "next": None}


def test_backtrace_and_context_may_be_left_out(client):
    assert client.post(ERRORS, json={"type": "KeyError", "message": ""}).status_code == 201
    (error,) = client.get(ERRORS).json["errors"]
    assert (error["backtrace"], error["context"]) == ([], {})


@pytest.mark.parametrize("text", ["🍵 三好", "a\0b", "'; DROP TABLE error; --", "\u202e\ufeff", "x" * 10_000])
def test_any_text_is_kept_as_it_is(client, report, text):
    assert report(message=text, backtrace=[text[:1000]], context={text: text[:9]}).status_code == 201
    (error,) = client.get(ERRORS).json["errors"]
    assert (error["message"], error["backtrace"], error["context"]) == (text, [text[:1000]], {text: text[:9]})
    assert client.get(f"/projects/shop/errors/{error['id']}").status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "t" * 200},
        {"backtrace": ["f" * 1000] * 200},
        {"context": {"a": "c" * (16 * 1024 - 9)}},
        {"context": nested(levels=32)},
        {"context": {"least": -(2**63), "most": 2**64 - 1}},
    ],
    ids=["type", "backtrace", "context", "nested", "integers"],
)
def test_a_report_at_its_limits_is_taken(report, changes):
    assert report(**changes).status_code == 201


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": ""}, "type must be"),
        ({"type": " \n"}, "type must be"),
        ({"type": None}, "type must be"),
        ({"type": "t" * 201}, "type must be"),
        ({"message": 7}, "message must be"),
        ({"message": "m" * 10_001}, "message must be"),
        ({"backtrace": "main.py:7"}, "backtrace must be"),
        ({"backtrace": [7]}, "backtrace must be"),
        ({"backtrace": ["f" * 1001]}, "backtrace must be"),
        ({"backtrace": ["f"] * 201}, "backtrace must be"),
        ({"backtrace": None}, "backtrace must be"),
        ({"context": []}, "context must be"),
        ({"context": {"a": "c" * (16 * 1024 - 8)}}, "context must be"),
        ({"context": nested(levels=33)}, "nested too deep"),
        ({"colour": "red"}, "Unknown field: colour."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_report_with_a_wrong_field_is_refused_with_the_reason(report, changes, reason):
    answer = report(**changes)
    assert answer.status_code == 422
    assert reason in answer.json["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("{", 400),
        (b"\xff\xfe\xfd", 400),
        ("[" * 200_000, 400),
        (f'{{{FINE}, "context": {{"n": {"9" * 5000}}}}}', 400),
        ("[]", 422),
        ("null", 422),
        ('"text"', 422),
        ('{"type": "KeyError"}', 422),
        ('{"message": "x"}', 422),
        ('{"type": "\\ud800", "message": "x"}', 422),
        (f'{{{FINE}, "\\udfff": 1}}', 422),
        (f'{{{FINE}, "context": {{"\\ud83c": 1}}}}', 422),
        (f'{{{FINE}, "context": {{"n": NaN}}}}', 422),
        (f'{{{FINE}, "context": {{"n": 1e999}}}}', 422),
        (f'{{{FINE}, "context": {{"n": {2**64}}}}}', 422),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_body_that_is_no_report_is_refused(client, body, status):
    answer = client.post(ERRORS, data=body, content_type="application/json")
    assert answer.status_code == status, answer.text
    assert answer.json["error"]
    assert client.get(ERRORS).json["errors"] == []


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_refused(client, content_type):
    answer = client.post(ERRORS, data="{}", content_type=content_type)
    assert answer.status_code == 415
    assert "application/json" in answer.json["error"]


def test_a_body_over_256_kib_is_refused(report):
    answer = report(message="m" * 256 * 1024)
    assert answer.status_code == 413
    assert answer.json["error"]
