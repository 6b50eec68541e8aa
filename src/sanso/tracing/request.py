"""Sends one HTTP request to a server at its address, and notes when it got how far."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit

CONNECT_SECONDS = 10
SECONDS = 75  # longer than nginx waits for an app, so that it is nginx who says that it took too long
BLOCK = 65536
PORTS = {"https": 443, "http": 80}
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What the request says of itself, and what joins the tiers' evidence: nobody else's to set.
OWN_HEADERS = ("connection", "content-length", "host", "traceparent", "transfer-encoding", "x-sanso-trace")

# The wall clock as it was when this began, and steady since: one that is set meanwhile doesn't tear a request apart.
_BEGAN = time.time_ns() - time.monotonic_ns()


def now() -> int:
    """Nanoseconds since 1970."""
    return _BEGAN + time.monotonic_ns()


@dataclass(frozen=True)
class Call:
    """A request that can be sent. One that could not, or that would smuggle in a second header, is a ValueError.

    url: under which name, and for what, is asked; address: of the server that is asked; data: the body.
    """

    url: str
    address: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    data: bytes | None = None
    seconds: float = SECONDS

    def __post_init__(self):
        if CONTROL.search(self.url):
            raise ValueError("a URL holds no control characters")
        if self.parts.scheme not in ("http", "https") or not self.parts.hostname:
            raise ValueError(f"{self.url} isn't an http:// or https:// URL")
        if "@" in self.parts.netloc:
            raise ValueError("a user in the URL is not sent: use a header")
        if not self.port:  # urlsplit itself refuses others than 0 to 65535
            raise ValueError("0 isn't a port")
        if not TOKEN.fullmatch(self.method):
            raise ValueError(f"{self.method!r} isn't a method")
        for name, value in self.headers:
            if not TOKEN.fullmatch(name):
                raise ValueError(f"{name!r} isn't the name of a header")
            if CONTROL.search(value.replace("\t", " ")):
                raise ValueError(f"the value of the header {name} holds control characters")
            if name.lower() in OWN_HEADERS:
                raise ValueError(f"the header {name} is the trace's own")

    @cached_property
    def parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def secure(self) -> bool:
        return self.parts.scheme == "https"

    @property
    def host(self) -> str:
        """The name under which is asked."""
        return self.parts.hostname

    @property
    def port(self) -> int:
        given = self.parts.port
        return PORTS[self.parts.scheme] if given is None else given

    @property
    def target(self) -> str:
        """What is asked for there: the path and the query. Bytes that a request line can't hold are escaped."""
        path = f"{self.parts.path or '/'}{f'?{self.parts.query}' if self.parts.query else ''}"
        return re.sub(r"[^\x21-\x7e]+", lambda match: quote(match[0], errors="surrogateescape"), path)


@dataclass
class Exchange:
    """What came of a call.

    events: when (ns) it got how far: start, connected, tls, sent, first_byte, end; headers: by their names in lower
    case; body: its first bytes, where they were to be kept; size: of all of it; error: what ended it early.
    """

    events: dict[str, int] = field(default_factory=dict)
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    size: int = 0
    tls: str = ""
    error: Exception | None = None


def context(ca: Path | str | None = None) -> ssl.SSLContext:
    """Trusts what this computer trusts, and the certificates of the CA in the file `ca`."""
    found = ssl.create_default_context()
    if ca:
        found.load_verify_locations(ca)
    return found


def send(call: Call, tls: ssl.SSLContext, headers: dict[str, str] | None = None, keep: int = 0) -> Exchange:
    """Send a call with these headers too, and read all of its answer; the body's first `keep` bytes are kept."""
    exchange = Exchange()
    connection = _Connection(call, tls if call.secure else None, exchange.events)
    exchange.events["start"] = now()
    try:
        connection.connect()
        exchange.tls = connection.sock.version() if call.secure else ""
        with contextlib.suppress(BrokenPipeError):  # whoever takes no more of the body may have answered already
            _ask(connection, call, headers or {})
        exchange.events["sent"] = now()
        with connection.getresponse() as answer:
            _read(answer, exchange, call, keep)
    except (OSError, http.client.HTTPException) as error:
        exchange.error = error
    finally:
        exchange.events["end"] = now()
        connection.close()
    return exchange


def _ask(connection, call, headers):
    own = {"User-Agent": "sanso", "Accept": "*/*"}
    if call.data is not None:
        own["Content-Type"] = "application/x-www-form-urlencoded"
    given = {name.lower() for name, _ in call.headers}
    connection.putrequest(call.method, call.target, skip_accept_encoding=True)
    for name, value in own.items():
        if name.lower() not in given:
            connection.putheader(name, value)
    for name, value in (*call.headers, *headers.items(), ("Connection", "close")):
        connection.putheader(name, value.encode(errors="surrogateescape"))
    if call.data is not None:
        connection.putheader("Content-Length", str(len(call.data)))
    connection.endheaders(call.data)


def _read(answer, exchange, call, keep):
    exchange.events["first_byte"] = answer.first_byte
    exchange.status = answer.status
    for name, value in answer.getheaders():
        said = exchange.headers.get(name.lower())
        exchange.headers[name.lower()] = f"{said}, {value}" if said else value
    promised = answer.length
    while block := answer.read1(BLOCK):
        exchange.size += len(block)
        exchange.body += block[: max(0, keep - len(exchange.body))]
        if now() - exchange.events["start"] > call.seconds * 1e9:  # a stream that never ends
            raise TimeoutError(f"no end within {call.seconds:g} s")
    if promised is not None and exchange.size < promised:  # http.client itself minds only a broken chunk
        raise http.client.IncompleteRead(b"", promised - exchange.size)


class _Response(http.client.HTTPResponse):
    first_byte = 0

    def begin(self):
        self.fp.peek(1)
        self.first_byte = now()
        super().begin()


class _Connection(http.client.HTTPConnection):
    """To the call's address, whatever its name is; over TLS if there is a context."""

    response_class = _Response

    def __init__(self, call, tls, events):
        super().__init__(call.host, call.port)
        # What it calls itself: http.client leaves the port out of the header Host only if it is this one.
        self.default_port = PORTS[call.parts.scheme]
        self.call, self.context, self.events = call, tls, events

    def connect(self):
        self.sock = socket.create_connection((self.call.address, self.call.port), CONNECT_SECONDS)
        self.events["connected"] = now()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context:
            self.sock = self.context.wrap_socket(self.sock, server_hostname=self.call.host)
            self.events["tls"] = now()
        self.sock.settimeout(self.call.seconds)
