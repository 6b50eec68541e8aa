"""A steady load on a server, from this computer: which requests failed, and how."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

import client

SECONDS = 60  # for one request: it may wait while what answers it starts anew


class Load:
    """Clients that ask for `path` one time after the other, as long as the block runs, each time on a new connection.

    said: what came of the requests, the status (or the error's name) to how often.
    """

    def __init__(self, server, name: str, path: str, clients: int = 8):
        self.server, self.name, self.path, self.clients = server, name, path, clients
        self.said: Counter[str] = Counter()
        self._tls, self._over = client.trusting(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self):
        self._thread.start()
        self.wait_for(self.clients)
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def wait_for(self, more: int, seconds: float = 60):
        """Until so many more have been answered."""
        wanted, until = self.said.total() + more, time.monotonic() + seconds
        while self.said.total() < wanted:
            assert time.monotonic() < until, f"not {more} more answers within {seconds} s: {dict(self.said)}"
            time.sleep(0.05)

    @property
    def failed(self) -> Counter[str]:
        return Counter({word: count for word, count in self.said.items() if word != "200"})

    async def _all(self):
        await asyncio.gather(*(self._one() for _ in range(self.clients)))

    async def _one(self):
        while not self._over.is_set():
            try:
                word = await asyncio.wait_for(self._ask(), SECONDS)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                word = type(error).__name__
            self.said[word] += 1

    async def _ask(self) -> str:
        reader, writer = await asyncio.open_connection(
            self.server.address, 443, ssl=self._tls, server_hostname=self.name
        )
        try:
            writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {self.name}\r\nConnection: close\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n")
            await reader.read()
        finally:
            writer.transport.abort()
        return head.split()[1].decode()
