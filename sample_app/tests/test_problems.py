import pytest

SECRETS = ["Traceback", "OperationalError", "pymysql", "absent.sock'"]


@pytest.mark.parametrize("path", ["/", "/projects/shop", "/projects/shop/groups/a", "/projects/shop/errors/1"])
def test_without_the_database_a_page_says_so(client_without_database, path):
    page = client_without_database.get(path)
    assert (page.status_code, page.mimetype) == (503, "text/html")
    assert "MySQL: no answer" in page.text
    assert not [secret for secret in SECRETS if secret in page.text]


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", {"type": "KeyError", "message": "x"})])
def test_without_the_database_the_api_says_so(client_without_database, method, body):
    answer = client_without_database.open("/api/projects/shop/errors", method=method, json=body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json == {"error": "The database can't answer. Try again in a moment; the app's log says why."}


def test_the_log_says_why_the_database_cannot_answer(client_without_database, caplog):
    client_without_database.get("/")
    assert "Can't connect to MySQL server" in caplog.text


def test_an_unknown_page_is_a_page(client):
    page = client.get("/nothing")
    assert (page.status_code, page.mimetype) == (404, "text/html")


def test_an_unknown_address_of_the_api_is_json(client):
    answer = client.get("/api/nothing")
    assert answer.status_code == 404
    assert answer.json["error"]


def test_a_wrong_method_is_json_and_names_the_right_ones(client):
    answer = client.delete("/api/projects/shop/errors")
    assert answer.status_code == 405
    assert answer.json["error"]
    assert {"GET", "POST"} <= answer.allow.as_set(preserve_casing=True)


@pytest.mark.parametrize(("path", "mimetype"), [("/broken", "text/html"), ("/api/broken", "application/json")])
def test_a_bug_shows_no_trace(app, client, path, mimetype):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule(path, view_func=lambda: 1 / 0)
    answer = client.get(path)
    assert (answer.status_code, answer.mimetype) == (500, mimetype)
    assert "ZeroDivisionError" not in answer.text
