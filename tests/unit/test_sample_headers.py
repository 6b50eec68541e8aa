"""The sample app keeps the security headers that the local inventory gives it: looked at with a real browser."""

from __future__ import annotations

import threading
from pathlib import Path

import flask_migrate
import pytest
import yaml
from werkzeug.serving import make_server

from sample_app import create_app, models

ROOT = Path(__file__).parents[2]
REPORT = {"type": "ValueError", "message": "<b>x</b>", "backtrace": ["a.py:1 in b"], "context": {"host": "laptop"}}
PAGES = {
    "the projects": "/",
    "a project": "/projects/shop",
    "a project that is none": "/projects/nobody",
    "an error": "/projects/shop/errors/{id}",
    "nothing": "/nowhere",
    "an error as JSON": "/api/projects/shop/errors/{id}",
    "a static file": "/static/style.css",
    "a picture": "/static/icon.svg",
}


@pytest.fixture(scope="module")
def headers():
    """As nginx sends them."""
    always = yaml.safe_load((ROOT / "roles/nginx/vars/main.yml").read_text())["__nginx_headers_by_default"]
    apps = yaml.safe_load((ROOT / "inventory/local/group_vars/all/apps.yml").read_text())["apps"]
    return {**always, **apps[0]["headers"]}


@pytest.fixture(scope="module")
def served(tmp_path_factory, headers):
    """The URL of the app, with an error in it, and the error's id."""
    app = create_app({"DATABASE_URL": f"sqlite:///{tmp_path_factory.mktemp('faults')}/faults.db"})
    app.after_request(lambda response: response.headers.update(headers) or response)
    with app.app_context():
        flask_migrate.upgrade()
    id = app.test_client().post("/api/projects/shop/errors", json=REPORT).json["id"]
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}", id
    server.shutdown()
    thread.join()
    with app.app_context():
        models.db.engine.dispose()


@pytest.fixture
def look(browser, served):
    """look(path) opens a page, and returns the page and what its policy did not allow."""
    url, id = served
    context = browser.new_context()
    # Put into each page by the browser itself, whatever the policy allows.
    context.add_init_script("""window.violations = [];
        document.addEventListener("securitypolicyviolation",
            (event) => violations.push(`${event.violatedDirective}: ${event.blockedURI}`));""")

    def look(path):
        page = context.new_page()
        page.goto(url + path.format(id=id), wait_until="load")
        return page, page.evaluate("violations")

    yield look
    context.close()


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_page_breaks_no_rule_of_its_policy(look, path):
    assert look(path)[1] == []


def test_page_is_styled_under_its_policy(look):
    page, _ = look("/")
    assert page.evaluate("document.styleSheets[0].cssRules.length") > 0


def test_script_of_somebody_else_does_not_run(look):
    """What the policy is for, and that a broken rule is seen."""
    page, _ = look("/")
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = true'}))")
    page.wait_for_function("violations.length")
    assert (page.evaluate("window.ran"), page.evaluate("violations")) == (None, ["script-src-elem: inline"])
