"""The first full trace: a report that came in through the front door, and that every tier wrote something about."""

import json
from datetime import datetime

API = "/api/projects/lab/errors"
SECONDS = 1  # what an error's id, made by the app, may be off nginx's times


def test_report(lab):
    error = reports(lab)[0]
    lab.page(f"/projects/lab/errors/{error['id']}")


def test_post(lab):
    brought(lab)


def test_trace(lab):
    lines = brought(lab)
    served = entries(lab, f"/var/log/sanso/{lab.app.name}/uwsgi.jsonl")
    seen = {(each["trace_id"], each["parent_id"]) for each in served}
    followed = [line for line in lines if line["flags"] == "01" and (line["trace_id"], line["span_id"]) in seen]
    last = lines[-1]
    said = f"nginx gave its trace {last['trace_id']} the flags {last['flags']}, and uWSGI wrote nothing of it"
    lab.expect("nginx and uWSGI wrote of it under the same trace id", said, bool(followed))


def reports(lab) -> list[dict]:
    """What has the word of this attempt, as the app says it."""
    answer = lab.ask(API)
    lab.expect(f"200 for {API}", answer.status, answer.status == 200)
    errors = answer.data["errors"]
    found = [error for error in errors if error["message"] == lab.token]
    wanted = "an error of the project lab whose message is the word in /root/word"
    lab.expect(wanted, f"no report has that word, of {len(errors)} in the project lab", bool(found))
    return found


def brought(lab) -> list[dict]:
    """nginx's lines of what brought such reports: answered 201, at the time that a report's id holds."""
    times = [datetime.fromisoformat(error["time"]).timestamp() for error in reports(lab)]
    posts = [line for line in entries(lab, "/var/log/sanso/nginx/access.jsonl") if is_post(lab, line)]
    found = [line for line in posts if any(is_of(line, at) for at in times)]
    lab.expect(
        "nginx's access log has the POST that brought it, answered 201",
        f"it has {len(posts)} such requests, none of its time",
        bool(found),
    )
    return found


def is_of(line: dict, at: float) -> bool:
    return line["msec"] - line["request_time"] - SECONDS <= at <= line["msec"] + SECONDS


def is_post(lab, line: dict) -> bool:
    return (line["method"], line["host"], line["uri"], line["status"]) == ("POST", lab.name, API, 201)


def entries(lab, file: str) -> list[dict]:
    return [json.loads(line) for line in lab.lines(lab.run("cat %s", file))]
