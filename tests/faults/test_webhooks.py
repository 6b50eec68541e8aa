"""A webhook that was accepted is delivered, whatever is killed meanwhile; and what can't be delivered is seen."""

import json
import time
import uuid
from pathlib import Path

import client
import pytest
from stand_in import of_the_tool, standing_in

pytestmark = of_the_tool

# Answers a POST to /NAME/SECONDS/STATUS… after so many seconds, with the first status that it hasn't given yet, at the
# end with 200. What it got lies in its log, a line when a request comes and one when it is answered.
RECEIVER = """
import http.server, json, time
given = {}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        _, name, seconds, *statuses = self.path.split("/")
        turn = given[name] = given.get(name, -1) + 1
        note(name, 1)
        time.sleep(float(seconds))
        self.send_response(int(statuses[turn]) if turn < len(statuses) else 200)
        self.end_headers()
        note(name, -1)
def note(name, change):
    with open("LOG", "a") as file:
        print(json.dumps([name, change]), file=file)
http.server.ThreadingHTTPServer(("127.0.0.1", 9099), Handler).serve_forever()
"""
# In seconds, a third of what they are: how long the job of a worker that was killed is waited for.
SOONER = {"LONGEST = 25": "LONGEST = 8", "LEASE = 30": "LEASE = 10", "VISIBLE = 40": "VISIBLE = 13"}
UNIT, LOG = "sanso-receiver.service", "/run/sanso-receiver.log"


@pytest.fixture(scope="module")
def sending(server, app, play, describe):
    """The sample app as it sends webhooks, with a receiver on the same machine."""
    host, description = server.host, describe()
    description |= {
        "redis": True,
        "workers": {"webhooks": {"command": "celery --app sample_app.worker worker --beat", "network": True}},
        "environment": {"WEBHOOK_ALLOW_PRIVATE": "1", "WEBHOOK_ATTEMPTS": "2"},
        "secrets": {"WEBHOOK_KEY": uuid.uuid4().hex},
    }
    jobs = Path(description["source"], "src/sample_app/jobs.py")
    text = jobs.read_text()
    for old, new in SOONER.items():
        assert old in text
        text = text.replace(old, new)
    jobs.write_text(text)
    with standing_in(server, app, play, description):
        host.check_output("rm -f %s", LOG)
        host.check_output(f"systemd-run --quiet --unit={UNIT} python3 -c %s", RECEIVER.replace("LOG", LOG))
        yield app
        host.check_output(f"systemctl stop {UNIT}; rm -f {LOG}")


@pytest.fixture
def send(server, sending):
    """send(what the receiver does, its name) reports an error with a webhook; returns the address of the webhook."""

    def send(does, name=None):
        url = f"http://127.0.0.1:9099/{name or uuid.uuid4().hex}/{does}"
        report = {"type": "Probe", "message": "", "webhook": {"url": url, "secret": "secret of ours"}}
        answer = client.request(server, sending.host_name, "/api/projects/sanso-check/errors", "POST", body=report)
        assert answer.status == 201, answer
        return "/api/projects/sanso-check/webhooks/" + json.loads(answer.body)["webhook"].rpartition("/")[2]

    return send


@pytest.fixture
def became(server, sending):
    """became(webhook) waits for its end, and returns what the app says of it."""

    def became(webhook, seconds=90):
        end = time.monotonic() + seconds
        while (found := json.loads(client.request(server, sending.host_name, webhook).body))["state"] == "queued":
            assert time.monotonic() < end, (found, server.host.run(f"journalctl -n 50 -u '{worker(sending)}'").stdout)
            time.sleep(0.5)
        return found

    return became


def worker(app):
    return f"app-{app.name}-worker-webhooks@*.service"


def received(server):
    lines = server.host.check_output(f"cat {LOG}").splitlines()
    return [json.loads(line) for line in lines]


def in_hand(server, name):
    """Wait until the receiver has got it."""
    server.host.check_output(f"timeout 30 sh -c 'until grep -q {name} {LOG}; do sleep 0.1; done'")


def test_webhook_is_delivered(send, became):
    found = became(send("0"))
    assert (found["state"], found["attempts"]) == ("delivered", 1), found


def test_webhook_that_is_not_taken_is_sent_again(send, became):
    found = became(send("0/500"))
    assert (found["state"], found["attempts"]) == ("delivered", 2), found


def test_webhook_in_flight_survives_the_kill_of_its_worker(server, sending, send, became):
    webhook = send("4", "killed")
    in_hand(server, "killed")
    server.host.check_output(f"systemctl kill --signal=KILL '{worker(sending)}'")
    found = became(webhook)
    assert (found["state"], found["attempts"]) == ("delivered", 2), found


def test_webhook_in_flight_ends_before_its_worker_is_restarted(server, sending, send, became):
    webhook = send("4", "restarted")
    in_hand(server, "restarted")
    server.host.check_output(f"systemctl restart '{worker(sending)}'")
    found = became(webhook)
    assert (found["state"], found["attempts"]) == ("delivered", 1), found


def test_webhook_waits_for_a_redis_that_is_down(server, sending, send, became):
    server.host.check_output(f"systemctl stop {sending.redis_unit}")
    try:
        webhook = send("0")
    finally:
        server.host.check_output(f"systemctl start {sending.redis_unit}")
        server.host.check_output(f"systemctl start --all '{worker(sending)}'")
    assert became(webhook)["state"] == "delivered"


def test_no_more_webhooks_are_sent_at_a_time_than_two(server, send, became):
    webhooks = [send("1", f"many{number}") for number in range(6)]
    assert {became(webhook)["state"] for webhook in webhooks} == {"delivered"}
    at_a_time, most = 0, 0
    for _, change in (line for line in received(server) if line[0].startswith("many")):
        at_a_time += change
        most = max(most, at_a_time)
    assert most == 2


def test_webhook_that_failed_is_seen_until_it_is_sent_again(server, sending, send, became):
    webhook = send("0/410")
    assert became(webhook)["said"] == "410 Gone"
    flask = f"sanso-app run {sending.name} -- flask --app sample_app webhooks"
    id = webhook.rpartition("/")[2]
    listed = server.host.run(f"{flask} failed")
    assert (listed.rc, id in listed.stdout) == (1, True), listed
    server.host.check_output(f"{flask} retry sanso-check/{id}")
    assert became(webhook)["state"] == "delivered"
    assert id not in server.host.run(f"{flask} failed").stdout
