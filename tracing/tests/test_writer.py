import json
import os

import pytest
from conftest import SAMPLED, page, respond

import sanso_tracing
from sanso_tracing import writer


@pytest.fixture(autouse=True)
def nothing_warned(monkeypatch):
    monkeypatch.setattr(writer, "_warned_in", None)


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def resource(line: str) -> dict:
    attributes = json.loads(line)["resourceSpans"][0]["resource"]["attributes"]
    return {attribute["key"]: next(iter(attribute["value"].values())) for attribute in attributes}


def test_each_sampled_request_adds_one_line(spans, get):
    get(page)
    get(page)
    assert [len(line) for line in spans.lines] == [1, 1]


def test_new_file_is_closed_to_others(spans, get, umask):
    get(page)
    assert oct(spans.path.stat().st_mode & 0o777) == "0o640"


def test_existing_files_mode_is_kept(spans, get):
    spans.path.touch(0o600)
    get(page)
    assert oct(spans.path.stat().st_mode & 0o777) == "0o600"


def test_renamed_file_is_followed_by_a_new_one(spans, get, tmp_path):
    get(page)
    spans.path.rename(tmp_path / "spans.jsonl.1")
    get(page)
    assert len(spans.lines) == 1


def test_truncated_file_starts_anew(spans, get):
    get(page)
    os.truncate(spans.path, 0)
    get(page)
    assert len(spans.lines) == 1


def test_line_is_one_write(spans, get, monkeypatch):
    writes = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: writes.append(data) or write(file, data))
    get(page)
    assert b"".join(writes) == spans.path.read_bytes()
    assert len(writes) == 1


def test_line_names_the_service_and_the_process_that_wrote_it(spans, get, monkeypatch):
    get(page)
    assert resource(spans.path.read_text()) == {"service.name": "shop", "process.pid": str(os.getpid())}


def test_process_is_the_one_that_writes_not_the_one_that_installed(spans, install, monkeypatch):
    application = install(page)
    monkeypatch.setattr(os, "getpid", lambda: 4711)
    respond(application, traceparent=SAMPLED)
    assert resource(spans.path.read_text())["process.pid"] == "4711"


def test_environment_names_file_and_service(spans, monkeypatch):
    monkeypatch.setenv("SANSO_TRACING_FILE", str(spans.path))
    monkeypatch.setenv("SANSO_TRACING_SERVICE", "from the environment")
    respond(sanso_tracing.install(page), traceparent=SAMPLED)
    assert resource(spans.path.read_text())["service.name"] == "from the environment"


def test_service_without_a_name_is_app(spans):
    respond(sanso_tracing.install(page, file=str(spans.path)), traceparent=SAMPLED)
    assert resource(spans.path.read_text())["service.name"] == "app"


def test_without_a_file_no_spans_are_written(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    assert respond(sanso_tracing.install(page), traceparent=SAMPLED).text == "hello"
    assert not list(tmp_path.iterdir())
    assert not caplog.messages


@pytest.mark.parametrize("file", ["/dev/full", "/nowhere/spans.jsonl", "/", "a\0b"])
def test_file_that_can_not_be_written_costs_no_request(file, caplog):
    response = respond(sanso_tracing.install(page, file=file), traceparent=SAMPLED)
    assert (response.status, response.text) == ("200 OK", "hello")
    (message,) = caplog.messages
    assert file in message


def test_line_that_fits_only_in_part_is_logged(get, monkeypatch, caplog):
    monkeypatch.setattr(os, "write", lambda file, data: 10)
    assert get(page).text == "hello"
    (message,) = caplog.messages
    assert "disk is full" in message


def test_failure_is_logged_once_for_each_process(monkeypatch, caplog):
    application = sanso_tracing.install(page, file="/nowhere/spans.jsonl")
    for _ in range(2):
        respond(application, traceparent=SAMPLED)
    assert len(caplog.messages) == 1
    monkeypatch.setattr(os, "getpid", lambda: 4711)
    respond(application, traceparent=SAMPLED)
    assert len(caplog.messages) == 2
