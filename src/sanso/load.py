"""A steady load of GET and POST over HTTPS, and an account of every request: what goes wrong can't be missing from it.

Half of the clients open a connection for each request, the others keep theirs, as browsers and programs do.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

SECONDS = 30  # within which an answer must come
WAIT = 60  # for several, however slow the computer is
# Between two requests of one client, in seconds, where nobody says otherwise: eight of them ask about 70 times a second
# then, and two cores have room for the rest.
PAUSE = 0.1
WANTED = {"GET": 200, "POST": 201}
TOLD = b"x-generation:"  # the header by which an app says which release it is


class CouldNotAccount(Exception):
    """The load itself went wrong: nothing is known."""


@dataclass(frozen=True)
class Problem:
    """A request that was not answered as it should be. at: when it was sent; what: in a word or two, to be counted."""

    at: float
    method: str
    what: str
    said: str


@dataclass
class Account:
    """What became of the requests.

    acknowledged: what the POSTs held that were answered 201: it has to be in the database. renewed: GETs on a kept
    connection that the server had just closed, asked again on a new one, as every client does (RFC 9112, 9.3.1).
    generations: what answers said of their release, and when it was said first.
    """

    sent: int = 0
    answers: Counter = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    renewed: int = 0
    slowest: float = 0
    generations: dict[str, float] = field(default_factory=dict)

    def good(self) -> int:
        return sum(count for (method, status), count in self.answers.items() if status == WANTED[method])

    def check(self):
        """Every request is either an answer that was wanted, or a problem."""
        if self.sent != self.good() + len(self.problems):
            raise CouldNotAccount(f"{self.sent} requests, but {self.good()} answers and {len(self.problems)} problems")
        if not all(any(asked == method for asked, _ in self.answers) for method in WANTED):
            raise CouldNotAccount(f"no load: {dict(self.answers)}, {self.problems[:3]}")

    def lost(self, stored: Counter) -> list[str]:
        """What was acknowledged, and isn't in the database."""
        return sorted(self.acknowledged - stored.keys())


def twice(stored: Counter) -> list[str]:
    return sorted(text for text, count in stored.items() if count > 1)


class Closed(Exception):
    """The server closed a connection that was kept, before it said anything to this request."""


class Load:
    """Clients that ask one after another: three of four GETs for `page`, the rest POSTs to `reports`."""

    def __init__(
        self, address: str, port: int, name: str, *, page: str, reports: str, clients: int = 8, pause: float = PAUSE
    ):
        self.address, self.port, self.name = address, port, name
        self.paths, self.clients, self.pause = {"GET": page, "POST": reports}, clients, pause
        self.account = Account()
        self.numbers = itertools.count(1)
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    @contextlib.contextmanager
    def on(self) -> Iterator[Account]:
        """Ask until the block ends, and wait for the answers to what was asked by then."""
        self.over, broken = threading.Event(), []

        def work():
            try:
                asyncio.run(self.all())
            except Exception as error:
                broken.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield self.account
        finally:
            self.over.set()
            thread.join()
        if broken:
            raise CouldNotAccount(f"a client broke: {broken[0]!r}") from broken[0]

    def wait(self, count: int):
        """Until so many more requests have come to their end, however they did."""
        goal = self.done() + count
        until = time.monotonic() + WAIT
        while self.done() < goal:
            if time.monotonic() > until:
                raise CouldNotAccount(f"nothing comes to an end any more: {self.account.problems[-3:]}")
            time.sleep(PAUSE)

    def done(self) -> int:
        return sum(self.account.answers.values()) + len(self.account.problems)

    async def all(self):
        async with asyncio.TaskGroup() as group:
            for number in range(self.clients):
                group.create_task(self.client(keeps=number % 2 == 0))

    async def client(self, keeps: bool):
        connection = None
        try:
            while not self.over.is_set():
                number = next(self.numbers)
                method = "POST" if number % 4 == 0 else "GET"
                connection = await self.one(method, f"load {number}", connection)
                if connection and not keeps:
                    await leave(connection[1])
                    connection = None
                await asyncio.sleep(self.pause)
        finally:
            if connection:
                await leave(connection[1])

    async def one(self, method: str, text: str, connection):
        """One request, and what becomes of it. Returns the connection where it can be used again."""
        self.account.sent += 1
        began, at = time.monotonic(), time.time()
        if connection and connection[0].at_eof():  # the server has said so in time
            await leave(connection[1])
            connection = None
        try:
            async with asyncio.timeout(SECONDS):
                try:
                    connection, status, goes_on, body = await self.ask(method, text, connection)
                except Closed:
                    if method != "GET":
                        raise
                    self.account.renewed += 1
                    connection, status, goes_on, body = await self.ask(method, text, None)
        except (OSError, EOFError, ValueError, KeyError, Closed, asyncio.LimitOverrunError) as error:
            self.account.problems.append(Problem(at, method, kind(error), repr(error)))
            return None
        finally:
            self.account.slowest = max(self.account.slowest, time.monotonic() - began)
        try:
            self.note(method, text, status, body, at)
        except BaseException:  # a fault of ours: it ends the load
            await leave(connection[1])
            raise
        if goes_on:
            return connection
        await leave(connection[1])
        return None

    def note(self, method: str, text: str, status: int, body: bytes, at: float):
        self.account.answers[method, status] += 1
        if status != WANTED[method]:
            self.account.problems.append(Problem(at, method, f"status {status}", body[:200].decode(errors="replace")))
        elif method == "POST":
            self.account.acknowledged.add(text)

    async def ask(self, method: str, text: str, connection):
        kept = connection is not None
        reader, writer = connection or await asyncio.open_connection(
            self.address, self.port, ssl=self.context, server_hostname=self.name
        )
        try:
            body = json.dumps({"type": "Load", "message": text}).encode() if method == "POST" else b""
            head = f"{method} {self.paths[method]} HTTP/1.1\r\nHost: {self.name}\r\nContent-Length: {len(body)}\r\n"
            try:
                writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
                await writer.drain()
                first = await reader.read(1)
            except ConnectionError as error:
                raise Closed(str(error)) if kept else error from error
            if not first:
                raise Closed() if kept else EOFError("closed before an answer")
            return (reader, writer), *await self.answer(reader, first)
        except BaseException:
            await leave(writer)
            raise

    async def answer(self, reader, first: bytes):
        head = (first + await reader.readuntil(b"\r\n\r\n")).lower()
        lines = head.split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
        if fields.get(b"transfer-encoding") == b"chunked":
            body = b"".join([chunk async for chunk in chunks(reader)])
        else:
            body = await reader.readexactly(int(fields[b"content-length"]))
        if said := fields.get(TOLD.rstrip(b":")):
            self.account.generations.setdefault(said.decode(), time.monotonic())
        return int(lines[0].split(b" ")[1]), fields.get(b"connection") != b"close", body


async def leave(writer):
    """Close a connection. What the other side thinks of that is nothing that it owed us."""
    writer.close()
    try:
        async with asyncio.timeout(1):
            await writer.wait_closed()
    except OSError:
        writer.transport.abort()


async def chunks(reader):
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)


def kind(error: Exception) -> str:
    """What happened to a request, in words to be counted."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return "reset"
    if isinstance(error, Closed):
        return "closed while kept"
    if isinstance(error, EOFError):
        return "broken off"
    return type(error).__name__
