from __future__ import annotations

import json
import time
from datetime import datetime
from types import SimpleNamespace

import pytest

from sanso.tracing import CouldNotTrace
from sanso.tracing.evidence import Clock
from sanso.verbs import logs

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NOW = datetime.now().replace(microsecond=0).timestamp()


def line(text, tier="web", at=0.0, **more):
    return {"time": NOW + at, "tier": tier, "source": "nginx", "pid": 7, "text": text, **more}


@pytest.fixture
def said(monkeypatch, server, programs):
    """What the server's logs hold; said.asked is what was asked for."""

    class Evidence:
        lines, notes, ahead, asked = [], [], 0, []

        def __init__(self, way, user, option):
            self.asked.append(("as", user))

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def clock(self, pings):
            return Clock(int(self.ahead * 1e9), 0)

        def logs(self, tiers, since, count):
            self.asked.append(("logs", tiers, round(since - NOW), count))
            return {"lines": self.lines, "notes": self.notes}

        def request(self, id, tiers):
            self.asked.append(("request", id, tiers))
            return {"lines": self.lines, "notes": self.notes}

    monkeypatch.setattr(logs, "Evidence", Evidence)
    return Evidence


def clock(at=0.0):
    return f"{datetime.fromtimestamp(NOW + at):%H:%M:%S}"


def test_lines_are_shown_in_the_order_of_time(sanso, said):
    said.lines = [line("later", at=0.25), line("sooner", "db")]
    done = sanso("logs")
    assert done.stdout.splitlines() == [f"{clock()}.000 db  nginx: sooner", f"{clock()}.250 web nginx: later"]


def test_logs_are_asked_for_as_root(sanso, said):
    """The journal is nobody else's."""
    sanso("logs")
    assert ("as", "root") in said.asked


@pytest.mark.parametrize(
    ("words", "tiers"),
    [
        ([], ["web", "app", "db"]),
        (["--tier", "os"], ["os"]),
        (["--tier", "db", "--tier", "web"], ["web", "db"]),
        (["--request", TRACE], ["web", "app", "db"]),
    ],
)
def test_tiers_are_those_that_were_named(sanso, said, words, tiers):
    said.lines = [line("x")]
    sanso("logs", *words)
    assert tiers in said.asked[-1]


def test_since_is_a_span(sanso, said):
    sanso("logs", "--since", "2h")
    assert abs(said.asked[-1][2] + NOW - (time.time() - 7200)) <= 60


def test_since_is_a_moment(sanso, said):
    sanso("logs", "--since", f"{datetime.fromtimestamp(NOW - 7200):%Y-%m-%dT%H:%M:%S}")
    assert said.asked[-1][2] == -7200


def test_time_of_day_is_todays(sanso, said):
    sanso("logs", "--since", "00:00")
    midnight = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    assert abs(said.asked[-1][2] + NOW - midnight) <= 60


def test_since_that_is_no_time_is_wrong_usage(sanso, said):
    done = sanso("logs", "--since", "yesterday-ish")
    assert (done.exit_code, "is no time" in done.stderr) == (2, True)


def test_times_are_those_of_this_computers_clock(sanso, said):
    """A server whose clock is an hour ahead is asked by its own, and shown by ours."""
    said.ahead, said.lines = 3600, [line("x", at=3600)]
    done = sanso("logs", "--since", f"{datetime.fromtimestamp(NOW - 60):%Y-%m-%dT%H:%M:%S}")
    assert done.stdout.startswith(clock())
    assert said.asked[-1][2] == 3540


def test_line_of_several_lines_is_indented(sanso, said):
    said.lines = [line("Traceback:\n  File")]
    assert sanso("logs").stdout.splitlines()[1] == "      File"


def test_nothing_said_is_said(sanso, said):
    done = sanso("logs")
    assert (done.exit_code, done.stdout.startswith("Nothing was said since")) == (0, True)


def test_what_could_not_be_read_is_named(sanso, said):
    said.notes = ["/var/log/mysql/slow.log: No such file or directory"]
    assert "web1: /var/log/mysql/slow.log: No such file or directory" in sanso("logs").stdout


def test_several_hosts_are_told_apart_and_merged(sanso, said, hosts):
    hosts(web1={"groups": ["web"]}, db1={"groups": ["db"]})
    said.lines = [line("x")]
    done = sanso("logs")
    assert done.stdout.splitlines() == [f"{clock()}.000 web db1 nginx: x", f"{clock()}.000 web web1 nginx: x"]
    assert [each[1] for each in said.asked if each[0] == "logs"] == [["db"], ["web"]]


# One request


@pytest.mark.parametrize("id", [TRACE, f"00-{TRACE}-00f067aa0ba902b7-01"], ids=["trace id", "traceresponse"])
def test_request_is_found_by(sanso, said, id):
    said.lines = [line("x", sure=True)]
    assert sanso("logs", "--request", id).exit_code == 0
    assert said.asked[-1][:2] == ("request", TRACE)


def test_request_that_nobody_knows_is_a_failure(sanso, said):
    done = sanso("logs", "--request", TRACE)
    assert (done.exit_code, f"no tier knows the request {TRACE}" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "words", [["--request", "x"], ["--request", TRACE, "--follow"], ["--json", "-f"], ["--tier", "cache"]]
)
def test_words_that_make_no_sense_are_wrong_usage(sanso, said, words):
    assert sanso("logs", *words).exit_code == 2


def test_json_holds_the_lines(sanso, said):
    said.lines = [line("x")]
    (found,) = json.loads(sanso("logs", "--json").stdout)["lines"]
    assert (found["text"], found["host"], found["tier"]) == ("x", "web1", "web")


# Following


def test_following_shows_each_line_once(sanso, said, monkeypatch):
    rounds = iter([[line("first")], [line("first"), line("second", at=1)], [line("second", at=1)]])
    said.lines = next(rounds)

    def pause(seconds):
        said.lines = next(rounds, None)
        if said.lines is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(logs, "time", SimpleNamespace(sleep=pause))
    done = sanso("logs", "--follow")
    assert [text.split()[-1] for text in done.stdout.splitlines()] == ["first", "second"]
    assert done.exit_code == 0


# What goes wrong


def test_server_that_can_not_be_asked_is_no_verdict(sanso, server, programs):
    programs.fake("ssh", "print('connect: Connection refused', file=sys.stderr); sys.exit(255)")
    assert sanso("logs").exit_code == 3


def test_tool_that_fails_is_no_verdict(sanso, said, monkeypatch):
    def fails(*_):
        raise CouldNotTrace("it has no tool", "install it")

    monkeypatch.setattr(said, "logs", fails)
    done = sanso("logs")
    assert (done.exit_code, "it has no tool" in done.stderr, "install it" in done.stderr) == (3, True, True)
