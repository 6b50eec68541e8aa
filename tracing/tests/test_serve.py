import importlib
import sys

import pytest
from conftest import SAMPLED, respond

SHOP = """
from types import SimpleNamespace

import sanso_tracing

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]

def create_app():
    return application

def fails():
    raise KeyError("DATABASE_URL")

site = SimpleNamespace(app=application, create_app=create_app)
traced = sanso_tracing.install(application)
config = {}
"""


@pytest.fixture
def serve(tmp_path, monkeypatch, spans):
    """Import `sanso_tracing.serve` as a server does that is started with this SANSO_WSGI."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "incomplete.py").write_text("import a_library_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SANSO_TRACING_FILE", str(spans.path))

    def serve(name):
        monkeypatch.setenv("SANSO_WSGI", name)
        sys.modules.pop("sanso_tracing.serve", None)
        return importlib.import_module("sanso_tracing.serve").application

    yield serve
    for name in ("sanso_tracing.serve", "shop", "broken", "incomplete"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "name", ["shop", "shop:application", "shop:create_app()", "shop:site.app", "shop:site.create_app()"]
)
def test_named_app_is_served_traced(serve, spans, name):
    assert respond(serve(name), traceparent=SAMPLED).text == "hello"
    assert len(spans.line) == 1


def test_app_that_traces_itself_is_traced_once(serve, spans):
    assert len(respond(serve("shop:traced"), traceparent=SAMPLED).timing) == 1
    assert len(spans.line) == 1


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("broken", ZeroDivisionError, "division by zero"),
        ("shop:fails()", KeyError, "DATABASE_URL"),
        ("incomplete", ModuleNotFoundError, "a_library_that_is_missing"),
        ("absent:app", ModuleNotFoundError, "absent"),
    ],
)
def test_what_the_app_raises_is_raised_as_it_is(serve, name, error, message):
    with pytest.raises(error, match=message) as raised:
        serve(name)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Set SANSO_WSGI .* for example shop:create_app()"),
        ("shop:absent", "SANSO_WSGI=shop:absent: module 'shop' has no attribute 'absent'"),
        ("shop:site.absent()", r"SANSO_WSGI=shop:site.absent\(\): .*no attribute 'absent'"),
        ("shop:config", "SANSO_WSGI=shop:config is a dict, not a WSGI app"),
        ("shop:config()", r"SANSO_WSGI=shop:config\(\) is a dict, not a WSGI app"),
    ],
)
def test_name_that_is_wrong_is_told_so(serve, name, message):
    with pytest.raises(RuntimeError, match=message):
        serve(name)
