"""A steady load on a server, from this computer, which notes each request that was not answered as it should be."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from client import trusting

SECONDS = 20  # within which an answer must come
PAUSE = 0.02  # between two requests of one client


@dataclass
class Load:
    """Clients that ask one after another, each half of them over a connection of its own for each request."""

    address: str
    name: str
    path: str = "/readyz"
    clients: int = 8
    statuses: Counter = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    slowest: float = 0

    @contextlib.contextmanager
    def on(self):
        """Ask until the block ends, and let the requests that are on their way end too."""
        self._over = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        thread.start()
        try:
            self.wait_for(self.clients)
            yield self
            self.wait_for(sum(self.statuses.values()) + self.clients)
        finally:
            self._over.set()
            thread.join()

    def wait_for(self, count: int):
        until = time.monotonic() + SECONDS
        while sum(self.statuses.values()) + len(self.problems) < count and time.monotonic() < until:
            time.sleep(PAUSE)

    async def _all(self):
        context = trusting()
        await asyncio.gather(*(self._client(context, number % 2 == 0) for number in range(self.clients)))

    async def _client(self, context, stays: bool):
        connection = None
        while not self._over.is_set():
            began = time.monotonic()
            if connection and connection[0].at_eof():  # told in time, as to any browser
                connection[1].close()
                connection = None
            try:
                connection = connection or await asyncio.wait_for(self._connect(context), SECONDS)
                status, goes_on = await asyncio.wait_for(self._ask(*connection, stays), SECONDS)
                self.statuses[status] += 1
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                kind = "on a connection of before" if stays and connection else "on a new connection"
                self.problems.append(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error} {kind}")
                goes_on = False
            self.slowest = max(self.slowest, time.monotonic() - began)
            if connection and not goes_on:
                connection[1].close()
                connection = None
            await asyncio.sleep(PAUSE)
        if connection:
            connection[1].close()

    def _connect(self, context):
        return asyncio.open_connection(self.address, 443, ssl=context, server_hostname=self.name)

    async def _ask(self, reader, writer, stays):
        kept = "keep-alive" if stays else "close"
        writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {self.name}\r\nConnection: {kept}\r\n\r\n".encode())
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:"))
        await reader.readexactly(length)
        return int(head.split(" ", 2)[1]), stays and "connection: close" not in head
