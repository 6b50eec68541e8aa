def test_seed_adds_errors_in_three_projects(runner, client):
    assert runner.invoke(args=["seed"]).output == "43 errors added, 0 were there already.\n"
    assert client.get("/").text.count('href="/projects/') == 3


def test_seed_twice_adds_nothing(runner, client):
    runner.invoke(args=["seed"])
    before = client.get("/api/projects/shop/errors").json
    assert runner.invoke(args=["seed"]).output == "0 errors added, 43 were there already.\n"
    assert client.get("/api/projects/shop/errors").json == before


def test_seed_keeps_what_was_reported(runner, client, report):
    id = report().json["id"]
    runner.invoke(args=["seed"])
    assert client.get("/api/projects/shop/errors").json["errors"][0]["id"] == id


def test_what_seed_adds_is_what_an_app_could_report(runner, client):
    runner.invoke(args=["seed"])
    for error in client.get("/api/projects/shop/errors").json["errors"]:
        fields = {name: error[name] for name in ("type", "message", "backtrace", "context")}
        assert client.post("/api/projects/copy/errors", json=fields).status_code == 201
