import hashlib
import hmac
import json
from itertools import pairwise

import pytest
from conftest import queued
from kombu.exceptions import OperationalError
from sqlalchemy import select, update

from sample_app import webhooks
from sample_app.models import Delivery, Error, db

ERRORS = "/api/projects/shop/errors"
SECRET = "only the two of us know"


@pytest.fixture
def client(sending):
    return sending.test_client()


@pytest.fixture
def webhook(receiver):
    return {"url": f"{receiver.url}/hooks?token=hush", "secret": SECRET, "headers": {"Authorization": "Bearer hush"}}


@pytest.fixture
def job(report, webhook, sending):
    """The key of a webhook that is queued, in the app's context."""
    id = int(report(webhook=webhook).json["id"])
    with sending.app_context():
        yield "shop", id


@pytest.fixture
def clock(monkeypatch):
    """The seconds since 1970, which the test sets."""
    now = [1_800_000_000]
    monkeypatch.setattr(webhooks, "now", lambda: now[0])
    return now


def row(key):
    db.session.rollback()
    return db.session.get_one(Delivery, key)


def state(key):
    return row(key).state


# What comes with a report


def test_a_webhook_is_queued_with_the_report(client, report, webhook, sending):
    answer = report(webhook=webhook)
    assert answer.status_code == 201
    assert queued(sending) == [("shop", int(answer.json["id"]))]
    found = client.get(answer.json["webhook"]).json
    assert (found["state"], found["attempts"], found["error"]) == ("queued", 0, answer.json["id"])


def test_a_report_without_a_webhook_queues_none(report, sending):
    assert "webhook" not in report().json
    assert queued(sending) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"url": 7}, "webhook.url must be a string"),
        ({"url": "https://example.org/" + "u" * 2000}, "webhook.url must be a string"),
        ({"url": "ftp://example.org/"}, "must begin with https:// or http://"),
        ({"url": "file:///etc/passwd"}, "must begin with https:// or http://"),
        ({"url": "https://"}, "no host"),
        ({"url": "https://[::1"}, "no URL"),
        ({"url": "https://example.org:99999/"}, "no URL"),
        ({"url": "https://aoi:hush@example.org/"}, "belong into a header"),
        ({"url": "https://example.org/ \r\nHost: elsewhere"}, "ASCII without spaces"),
        ({"url": "https://三層.example.org/"}, "ASCII without spaces"),
        ({"secret": "short"}, "webhook.secret must be"),
        ({"secret": None}, "webhook.secret must be"),
        ({"headers": []}, "webhook.headers must be an object"),
        ({"headers": {str(number): "" for number in range(21)}}, "at most 20 headers"),
        ({"headers": {"A": 7}}, "A must be a string"),
        ({"headers": {"A": "a\r\nHost: elsewhere"}}, "A must be a string"),
        ({"headers": {"A": "a" * 1001}}, "A must be a string"),
        ({"headers": {"A b": ""}}, "a name that no header can have"),
        ({"headers": {"": ""}}, "a name that no header can have"),
        ({"headers": {"host": "elsewhere"}}, "host can't be chosen"),
        ({"headers": {"Content-Length": "1"}}, "Content-Length can't be chosen"),
        ({"headers": {"Faults-Signature": "sha256="}}, "Faults-Signature can't be chosen"),
        ({"colour": "red"}, "webhook must be an object of"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_webhook_is_refused_with_the_reason(report, webhook, sending, changes, reason):
    answer = report(webhook=webhook | changes)
    assert answer.status_code == 422
    assert reason in answer.json["error"]
    assert queued(sending) == []


@pytest.mark.parametrize("webhook", [None, [], "https://example.org", {}, {"url": "https://example.org"}])
def test_what_is_no_webhook_is_refused(report, webhook):
    answer = report(webhook=webhook)
    assert (answer.status_code, "webhook must be" in answer.json["error"]) == (422, True)


@pytest.mark.parametrize(
    ("settings", "missing"),
    [({}, "REDIS_URL"), ({"WEBHOOK_KEY": "k" * 32}, "REDIS_URL"), ({"REDIS_URL": "memory://"}, "WEBHOOK_KEY")],
)
def test_a_server_that_cannot_send_webhooks_says_so(make, webhook, settings, missing):
    client = make(**settings).test_client()
    answer = client.post(ERRORS, json={"type": "KeyError", "message": "", "webhook": webhook})
    assert answer.status_code == 422
    assert f"it has no {missing}" in answer.json["error"]
    assert client.post(ERRORS, json={"type": "KeyError", "message": ""}).status_code == 201
    assert len(client.get(ERRORS).json["errors"]) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]"])
def test_an_address_that_is_not_public_is_refused_at_once(make, webhook, host):
    client = make(REDIS_URL="memory://", WEBHOOK_KEY="k" * 32).test_client()
    webhook["url"] = f"http://{host}/"
    answer = client.post(ERRORS, json={"type": "KeyError", "message": "", "webhook": webhook})
    assert (answer.status_code, "not a public one" in answer.json["error"]) == (422, True)


# What is kept of it


def test_nothing_secret_can_be_read_in_the_database(job, sending):
    stored = str(db.session.execute(select(*Delivery.__table__.columns)).all())
    assert "127.0.0.1" in stored
    assert [word for word in (SECRET, "hush", "/hooks") if word in stored] == []


def test_nothing_but_the_key_is_in_the_queue(job, sending):
    with sending.extensions["celery"].connection_for_read() as connection, connection.SimpleQueue("celery") as queue:
        message = queue.get_nowait()
        message.ack()
    assert message.payload[:2] == [list(job), {}]
    assert [word for word in (SECRET, "hush", "127.0.0.1") if word in str((message.payload, message.headers))] == []


def test_once_it_is_delivered_its_secrets_are_gone(job):
    webhooks.deliver(*job)
    assert row(job).sealed is None


# A delivery


def test_the_receiver_gets_the_error(job, receiver, client):
    webhooks.deliver(*job)
    (got,) = receiver.requests
    (error,) = client.get(ERRORS).json["errors"]
    page = f"http://localhost/projects/shop/errors/{job[1]}"
    assert json.loads(got.body) == {"project": "shop", "error": error, "url": page}
    assert got.path == "/hooks?token=hush"
    assert got.headers["Content-Type"] == "application/json"
    assert got.headers["Authorization"] == "Bearer hush"
    assert got.headers["Idempotency-Key"] == f"shop/{job[1]}"


def test_the_receiver_can_tell_who_sent_it(job, receiver):
    webhooks.deliver(*job)
    (got,) = receiver.requests
    signed = got.headers["Faults-Timestamp"].encode() + b"." + got.body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert got.headers["Faults-Signature"] == f"sha256={expected}"


@pytest.mark.parametrize("status", [200, 201, 204])
def test_what_the_receiver_takes_is_delivered(job, receiver, status):
    receiver.answers = [status]
    webhooks.deliver(*job)
    assert (state(job), row(job).status) == ("delivered", status)


def test_what_was_delivered_is_not_sent_again(job, receiver):
    for _ in range(3):
        webhooks.deliver(*job)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_what_the_receiver_does_not_take_is_sent_again_later(job, receiver, clock, status):
    clock[0] = row(job).due
    receiver.answers = [status]
    webhooks.deliver(*job)
    assert (state(job), row(job).status, row(job).attempts) == ("queued", status, 1)
    assert 5 <= row(job).due - clock[0] <= 10
    webhooks.deliver(*job)
    assert len(receiver.requests) == 1
    clock[0] = row(job).due
    assert webhooks.requeue() == 1
    webhooks.deliver(*job)
    assert (state(job), row(job).attempts) == ("delivered", 2)


@pytest.mark.parametrize(("status", "reason"), [(410, "410 Gone"), (302, "redirects are not followed")])
def test_what_will_never_be_taken_is_given_up_at_once(job, receiver, status, reason):
    receiver.answers = [status]
    webhooks.deliver(*job)
    assert (state(job), len(receiver.requests)) == ("failed", 1)
    assert reason in row(job).said


def test_after_so_many_attempts_it_is_given_up(job, receiver, clock, sending):
    sending.config["WEBHOOK_ATTEMPTS"] = "3"
    receiver.answers = [500] * 9
    for _ in range(9):
        clock[0] = row(job).due
        webhooks.deliver(*job)
    assert (state(job), row(job).attempts, len(receiver.requests)) == ("failed", 3, 3)
    assert row(job).ended == clock[0]


def test_attempts_are_ever_further_apart_and_never_the_same():
    pauses = [{webhooks.pause(attempt) for _ in range(100)} for attempt in range(1, 20)]
    assert [max(each) <= 10 * 2**index for index, each in enumerate(pauses)] == [True] * 19
    assert all(min(later) >= max(earlier) for earlier, later in pairwise(pauses[:9]))
    assert max(max(each) for each in pauses) <= 3600
    assert min(len(each) for each in pauses[2:]) > 10


def test_a_receiver_that_is_not_there_is_tried_again(job, receiver, monkeypatch):
    monkeypatch.setattr(webhooks.outbound, "addresses", lambda *arguments: [(2, ("127.0.0.1", 1))])
    webhooks.deliver(*job)
    assert (state(job), row(job).status, row(job).said) == ("queued", None, "connection refused")


def test_without_its_key_it_is_given_up_with_the_reason(job, make):
    with make(REDIS_URL="memory://", WEBHOOK_KEY="other" * 8).app_context():
        webhooks.deliver.run(*job)
    assert (state(job), row(job).said) == ("failed", "it was sealed with another WEBHOOK_KEY")


def test_an_address_that_is_not_public_is_not_called(job, receiver, sending):
    sending.config["WEBHOOK_ALLOW_PRIVATE"] = None
    webhooks.deliver(*job)
    assert (state(job), row(job).said) == ("failed", "its address is not a public one")
    assert receiver.requests == []


def test_no_transaction_is_open_while_the_receiver_takes_its_time(job, monkeypatch):
    open_ones = []
    monkeypatch.setattr(webhooks, "send", lambda *arguments: open_ones.append(db.session().in_transaction()) or 200)
    webhooks.deliver(*job)
    assert open_ones == [False]


# No job is lost


def test_two_workers_with_the_same_job_send_it_once(job, receiver):
    assert (webhooks.begin(*job), webhooks.begin(*job)) == (1, 0)


def test_the_job_of_a_killed_worker_is_begun_anew(job, receiver, clock):
    clock[0] = row(job).due
    webhooks.begin(*job)  # and no more of it
    clock[0] += webhooks.LEASE - 1
    assert webhooks.requeue() == 0
    clock[0] += 1
    assert webhooks.requeue() == 1
    webhooks.deliver(*job)
    assert (state(job), row(job).attempts) == ("delivered", 2)


def test_a_job_that_kills_its_worker_each_time_is_given_up(job, receiver, clock):
    for _ in range(20):
        clock[0] = row(job).due
        webhooks.begin(*job)
    clock[0] = row(job).due
    webhooks.deliver(*job)
    assert (state(job), row(job).said) == ("failed", "the worker was lost in its last attempt")
    assert receiver.requests == []


def test_without_redis_the_report_is_taken_and_the_webhook_is_queued_later(
    client, report, webhook, sending, monkeypatch
):
    def refuse(*arguments):
        raise OperationalError("Connection refused")

    with monkeypatch.context() as patch, sending.app_context():
        patch.setattr(webhooks.deliver._get_current_object(), "apply_async", refuse)
        answer = report(webhook=webhook)
        assert webhooks.requeue() == 0
    assert answer.status_code == 201
    assert queued(sending) == []
    with sending.app_context():
        assert webhooks.requeue() == 1
        assert webhooks.requeue() == 0
    assert queued(sending) == [("shop", int(answer.json["id"]))]


def test_what_redis_lost_is_queued_again(job, sending, clock):
    queued(sending)
    clock[0] = row(job).due + webhooks.LOST
    assert webhooks.requeue() == 0
    clock[0] += 1
    assert webhooks.requeue() == 1
    assert queued(sending) == [job]


def test_the_worker_queues_by_itself_what_is_not(job, sending):
    queued(sending)
    db.session.execute(update(Delivery).values(queued=None))
    db.session.commit()
    sending.extensions["celery"].tasks["sample_app.webhooks.sweep"]()
    assert queued(sending) == [job]
    assert sending.extensions["celery"].conf.beat_schedule["sweep"]["task"] == "sample_app.webhooks.sweep"


def test_an_error_that_is_gone_fails_its_webhook(job):
    db.session.delete(db.session.get_one(Error, job))
    db.session.commit()
    webhooks.deliver(*job)
    assert (state(job), row(job).said) == ("failed", "the error was removed")
