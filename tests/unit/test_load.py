"""The load of bench/delivery misses nothing that goes wrong: a server of ours does to it what a bad release would."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from sanso import load as bench


class Server:
    """Answers as it should, but for the requests whose number `does` names: 1 is the first one.

    stored: what the POSTs held, in what a database would be.
    """

    def __init__(self, certificate: Path):
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(certificate, certificate.with_name("ca.key"))
        self.does: dict[int, str] = {}
        self.seen = 0
        self.stored: Counter = Counter()
        self.port = 0
        self.lock, self.over = threading.Lock(), threading.Event()
        self.threads: list[threading.Thread] = []

    @contextlib.contextmanager
    def on(self):
        self.listen()
        try:
            yield self
        finally:
            self.over.set()
            self.refuse()
            for thread in self.threads:
                thread.join()

    def listen(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        self.start(self.accept, self.listener)

    def refuse(self):
        """Nobody listens any more: as when a socket belongs to what is just restarted."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def start(self, what, *words):
        self.threads.append(threading.Thread(target=what, args=words))
        self.threads[-1].start()

    def accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                self.start(self.serve, listener.accept()[0])

    def serve(self, plain):
        plain.settimeout(20)
        with (
            contextlib.suppress(OSError),
            plain,
            self.context.wrap_socket(plain, server_side=True) as connection,
            connection.makefile("rb") as stream,
        ):
            while head := list(itertools.takewhile(lambda line: line.strip(), stream)):
                length = next(int(line[16:]) for line in head if line.startswith(b"Content-Length: "))
                body = stream.read(length)
                with self.lock:
                    self.seen += 1
                    does = self.does.get(self.seen, "")
                if not self.answer(head[0].split(b" ")[0], body, connection, does):
                    return

    def answer(self, method, body, connection, does) -> bool:
        if does == "close":
            return False
        if does == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if does == "hang":
            self.over.wait(20)
            return False
        status = does if does.isdigit() else "201" if method == b"POST" else "200"
        if status == "201" and does != "forget":
            self.stored[json.loads(body)["message"]] += 2 if does == "store twice" else 1
        length = 100 if does == "half" else 2
        then = "close" if does == "close after" else "keep-alive"
        fields = f"Content-Length: {length}\r\nConnection: {then}\r\nX-Generation: {self.seen // 10}"
        connection.sendall(f"HTTP/1.1 {status} x\r\n{fields}\r\n\r\n{{}}".encode())
        return does not in ("half", "close after")


@pytest.fixture
def server(ca):
    with Server(ca).on() as running:
        yield running


@pytest.fixture
def ask(server):
    """ask(count, meanwhile) puts that many requests of load on the server: the account."""

    def ask(count=40, meanwhile=lambda account: None, clients=2):
        where = ("127.0.0.1", server.port, "load.test")
        load = bench.Load(*where, page="/", reports="/reports", clients=clients, pause=0.001)
        with load.on() as account:
            meanwhile(account)
            load.wait(count)
        return account

    return ask


def kinds(account) -> Counter:
    return Counter(problem.what for problem in account.problems)


def test_good_server_has_no_problem_and_all_is_stored(server, ask):
    account = ask()
    account.check()
    assert account.problems == []
    assert account.lost(server.stored) == bench.twice(server.stored) == []
    assert account.acknowledged == set(server.stored)
    assert {method for method, _ in account.answers} == {"GET", "POST"}


@pytest.mark.parametrize(
    ("does", "what"),
    [
        ("502", "status 502"),
        ("503", "status 503"),
        ("302", "status 302"),
        ("204", "status 204"),
        ("half", "broken off"),
    ],
)
@pytest.mark.parametrize("number", [7, 8])  # a GET and a POST, of the client that keeps its connection or of the other
def test_bad_answer_is_counted(server, ask, does, what, number):
    server.does[number] = does
    account = ask()
    account.check()
    assert kinds(account) == {what: 1}


@pytest.mark.parametrize("does", ["close", "reset"])
def test_connection_that_dies_under_a_request_is_counted(server, ask, does):
    """As the requests inside a worker that is killed: nginx would say 502, and a killed nginx nothing."""
    server.does = dict.fromkeys(range(10, 30), does)
    account = ask()
    account.check()
    assert account.renewed + sum(kinds(account).values()) == 20
    assert set(kinds(account)) <= {"broken off", "reset", "closed while kept"}
    assert sum(kinds(account).values()) >= 10 - account.renewed
    assert account.problems


def test_get_on_a_connection_that_was_just_closed_is_asked_again_and_a_post_never(server, ask):
    server.does = {6: "close", 13: "close"}  # 6 is a GET, which comes again as 7; 13 is the POST of number 12
    account = ask(20, clients=1)
    account.check()
    assert account.renewed == 1
    assert [(problem.method, problem.what) for problem in account.problems] == [("POST", "closed while kept")]
    assert set(server.stored.values()) == {1}


def test_server_that_says_it_closes_is_no_problem(server, ask):
    server.does = dict.fromkeys(range(1, 100), "close after")
    account = ask()
    account.check()
    assert account.problems == []


def test_refused_connections_are_counted(server, ask):
    def meanwhile(account):
        server.refuse()
        deadline = time.monotonic() + 20
        while kinds(account)["refused"] < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        server.listen()

    account = ask(40, meanwhile)
    account.check()
    assert kinds(account)["refused"] >= 3
    assert account.good() > 10


def test_request_that_is_never_answered_is_counted(server, ask, monkeypatch):
    monkeypatch.setattr(bench, "SECONDS", 1)
    server.does[9] = "hang"
    account = ask(20)
    account.check()
    assert kinds(account) == {"no answer in time": 1}
    assert account.slowest >= 1


def test_acknowledged_report_that_is_not_stored_is_lost(server, ask):
    server.does = dict.fromkeys(range(1, 21), "forget")
    account = ask()
    assert account.problems == []
    assert account.lost(server.stored) == sorted(account.acknowledged - set(server.stored)) != []


def test_report_that_was_not_acknowledged_is_not_missed(server, ask):
    server.does = dict.fromkeys(range(1, 21), "500")
    account = ask()
    assert account.lost(server.stored) == []


def test_report_that_is_stored_twice_is_seen(server, ask):
    server.does = dict.fromkeys(range(1, 1000), "store twice")  # of two clients, nobody knows whose request comes first
    account = ask(20)
    assert bench.twice(server.stored) == sorted(account.acknowledged) != []


def test_request_without_an_end_is_not_passed_over(server, ask):
    account = ask()
    account.sent += 1
    with pytest.raises(bench.CouldNotAccount, match="requests, but"):
        account.check()


def test_load_of_one_kind_proves_nothing(server, ask):
    account = ask()
    for status in (200, 201):
        account.answers.pop(("POST", status), None)
    account.sent = account.good()
    with pytest.raises(bench.CouldNotAccount, match="no load"):
        account.check()


def test_client_that_breaks_is_no_quiet_end(ask, monkeypatch):
    monkeypatch.setattr(bench, "WANTED", {"GET": 200})  # a fault of our own
    with pytest.raises(bench.CouldNotAccount, match="a client broke"):
        ask(0, lambda account: time.sleep(0.3))


def test_first_answer_of_each_generation_is_noted(ask):
    account = ask(60)
    found = list(account.generations)
    assert found[:3] == ["0", "1", "2"]
    assert list(account.generations.values()) == sorted(account.generations.values())
