import pytest
from sqlalchemy import insert

from sample_app import webhooks
from sample_app.models import Delivery, db, id_at, time_of

PAGE, API = "/projects/shop/webhooks", "/api/projects/shop/webhooks"


@pytest.fixture
def client(sending):
    return sending.test_client()


@pytest.fixture
def runner(sending):
    return sending.test_cli_runner()


@pytest.fixture
def add(sending, report):
    """add(state, …) reports an error whose webhook has come to that; returns its id."""

    def add(state, project="shop", **changes):
        id = int(report(project=project).json["id"])
        ended = None if state == "queued" else 1_800_000_000
        row = {"state": state, "receiver": "https://example.org", "attempts": 8, "said": "", "due": 1, "ended": ended}
        with sending.app_context():
            db.session.execute(insert(Delivery).values(project=project, id=id, **row | changes))
            db.session.commit()
        return id

    return add


@pytest.fixture
def some(add):
    """One of each state, the failed one first."""
    return [add("failed", status=500, said="500 Internal Server Error"), add("delivered"), add("queued", attempts=1)]


def test_a_failed_webhook_is_seen_on_the_first_page(client, add):
    for state in ("failed", "failed", "delivered"):
        add(state)
    add("delivered", project="till")
    text = client.get("/").text
    assert "Webhooks failed: 2" in text
    assert text.count("Webhooks failed") == 1


def test_a_project_says_how_many_webhooks_came_to_what(client, some):
    text = client.get("/projects/shop").text
    assert [f"1 {state}" in text for state in ("failed", "delivered", "queued")] == [True] * 3


def test_an_error_says_what_became_of_its_webhook(client, some):
    text = client.get(f"/projects/shop/errors/{some[0]}").text
    assert "Webhook to https://example.org" in text
    assert "failed: 500 Internal Server Error" in text


def test_the_page_lists_webhooks_newest_first(client, some):
    text = client.get(PAGE).text
    assert [text.index(f"errors/{id}") for id in some] == sorted(
        (text.index(f"errors/{id}") for id in some), reverse=True
    )
    assert "500 Internal Server Error" in text


@pytest.mark.parametrize("state", ["queued", "delivered", "failed"])
def test_those_of_one_state_can_be_asked_for(client, some, state):
    found = client.get(API, query_string={"state": state}).json["webhooks"]
    assert [each["state"] for each in found] == [state]
    assert client.get(PAGE, query_string={"state": state}).text.count("/errors/") == 1


def test_older_ones_of_the_same_state_are_a_link_away(client, add):
    ids = [add(state) for state in ("failed", "delivered", "failed", "delivered")]
    first = client.get(PAGE, query_string={"state": "failed", "limit": 1}).text
    assert f"{PAGE}?state=failed&amp;after={ids[2]}" in first
    answer = client.get(API, query_string={"state": "failed", "limit": 1, "after": ids[2]}).json
    assert [each["error"] for each in answer["webhooks"]] == [str(ids[0])]


@pytest.mark.parametrize("path", [PAGE, API])
def test_an_unknown_state_is_refused(client, path):
    answer = client.get(path, query_string={"state": "<b>"})
    assert answer.status_code == 400
    assert "queued, delivered, failed" in answer.text


def test_another_program_reads_what_became_of_it(client, some):
    assert client.get(f"{API}/{some[0]}").json == {
        "error": str(some[0]),
        "state": "failed",
        "receiver": "https://example.org",
        "attempts": 8,
        "status": 500,
        "said": "500 Internal Server Error",
        "due": None,
        "ended": "2027-01-15T08:00:00+00:00",
    }


def test_a_webhook_that_is_not_there_is_a_404(client, report):
    assert client.get(f"{API}/{report().json['id']}").status_code == 404


def test_a_project_without_webhooks_has_an_empty_page(client, report):
    report()
    assert client.get(PAGE).status_code == 200
    assert "Webhooks" not in client.get("/projects/shop").text


def test_the_command_lists_what_failed_and_says_so_by_its_exit_code(runner, some):
    result = runner.invoke(args=["webhooks", "failed"])
    assert result.exit_code == 1
    assert f"shop/{some[0]}" in result.output
    assert "500 Internal Server Error" in result.output
    assert [str(id) in result.output for id in some[1:]] == [False, False]


def test_if_nothing_failed_the_command_says_nothing(runner, add):
    add("delivered")
    result = runner.invoke(args=["webhooks", "failed"])
    assert (result.exit_code, result.output) == (0, "")


def test_what_failed_can_be_sent_again(runner, sending, report, receiver):
    receiver.answers = [410]
    id = int(report(webhook={"url": receiver.url, "secret": "secret of ours"}).json["id"])
    with sending.app_context():
        webhooks.deliver("shop", id)
    result = runner.invoke(args=["webhooks", "retry", f"shop/{id}"])
    assert (result.exit_code, result.output) == (0, "1 queued again.\n")
    with sending.app_context():
        webhooks.deliver("shop", id)
        assert db.session.get_one(Delivery, ("shop", id)).state == "delivered"


def test_only_what_failed_is_sent_again(runner, client, some):
    assert runner.invoke(args=["webhooks", "retry", "--all"]).output == "1 queued again.\n"
    assert len(client.get(API, query_string={"state": "delivered"}).json["webhooks"]) == 1


def test_another_failed_one_stays_as_it_is(runner, client, add):
    one, other = add("failed"), add("failed")
    assert runner.invoke(args=["webhooks", "retry", f"shop/{one}"]).output == "1 queued again.\n"
    (found,) = client.get(API, query_string={"state": "failed"}).json["webhooks"]
    assert found["error"] == str(other)


@pytest.mark.parametrize("words", [[], ["shop"], ["shop/abc"], ["shop/" + "9" * 30], ["shop/1", "--all"]], ids=str)
def test_what_is_to_be_sent_again_must_be_clear(runner, words):
    assert runner.invoke(args=["webhooks", "retry", *words]).exit_code == 2


def test_what_is_not_queued_can_be_queued_by_hand(runner, add):
    add("queued")
    assert runner.invoke(args=["webhooks", "requeue"]).output == "1 queued.\n"
    assert runner.invoke(args=["webhooks", "requeue"]).output == "0 queued.\n"


def test_a_receiver_is_never_markup(client, add):
    add("failed", receiver="<script>", said="<script>")
    assert "<script>" not in client.get(PAGE).text + client.get("/").text


def test_an_errors_time_is_its_webhooks(client, add):
    id = add("delivered")
    assert id_at(time_of(id)) == id
    assert time_of(id).isoformat() in client.get(PAGE).text
