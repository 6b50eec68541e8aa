"""A steady load on a server, from this computer: which requests failed, and how."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

import client

SECONDS = 30  # for one request: it may wait while what answers it starts anew
PAUSE = 0.1  # between two requests of one client: eight ask about 70 times a second, and leave room for the rest


class Load:
    """Clients that ask for `path` one time after the other, while the block runs; every second one stays connected.

    pause: in seconds, between two requests of one of them.
    said: what came of the requests, the status (or the error's name) to how often. problems: each error, whole, and
    each answer but 200.
    """

    def __init__(self, server, name: str, path: str = "/readyz", clients: int = 8, pause: float = PAUSE):
        self.server, self.name, self.path, self.clients, self.pause = server, name, path, clients, pause
        self.said: Counter[str] = Counter()
        self.problems: list[str] = []
        self._tls, self._over = client.trusting(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self):
        self._thread.start()
        self.wait_for(self.clients)
        return self

    def __exit__(self, error, *_):
        if not error:
            self.wait_for(self.clients)
        self._over.set()
        self._thread.join()  # what is on its way ends too

    def wait_for(self, more: int, seconds: float = 60):
        """Until so many more have been answered."""
        wanted, until = self.said.total() + more, time.monotonic() + seconds
        while self.said.total() < wanted:
            assert time.monotonic() < until, f"not {more} more answers within {seconds} s: {dict(self.said)}"
            time.sleep(0.05)

    @property
    def failed(self) -> Counter[str]:
        return Counter({word: count for word, count in self.said.items() if word != "200"})

    def _note(self, problem: str):
        self.problems.append(f"{time.strftime('%H:%M:%S')} {problem}")

    async def _all(self):
        await asyncio.gather(*(self._client(number % 2 == 0) for number in range(self.clients)))

    async def _client(self, stays: bool):
        connection = None
        while not self._over.is_set():
            if connection and connection[0].at_eof():  # told in time, as to any browser
                connection = self._close(connection)
            try:
                connection = connection or await asyncio.wait_for(self._connect(), SECONDS)
                word, goes_on = await asyncio.wait_for(self._ask(*connection, stays), SECONDS)
            except (OSError, TimeoutError, EOFError, ValueError) as error:
                word, goes_on = type(error).__name__, False
                self._note(f"{word}: {error}")
            self.said[word] += 1
            if connection and not goes_on:
                connection = self._close(connection)
            await asyncio.sleep(self.pause)
        self._close(connection)

    def _connect(self):
        return asyncio.open_connection(self.server.address, 443, ssl=self._tls, server_hostname=self.name)

    @staticmethod
    def _close(connection):
        if connection:
            connection[1].transport.abort()

    async def _ask(self, reader, writer, stays: bool) -> tuple[str, bool]:
        """The status, and whether the connection may be used again."""
        kept = "keep-alive" if stays else "close"
        writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {self.name}\r\nConnection: {kept}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        lines = head.split("\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), None)
        body = await (reader.read() if length is None else reader.readexactly(length))
        if head.split()[1] != "200":
            self._note(f"{head.split()[1]}: {body[:500].decode(errors='replace')}")
        return head.split()[1], stays and length is not None and "connection: close" not in lines
