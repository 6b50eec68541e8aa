"""A client on this computer that finds a server at its address and asks under any name, without DNS."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import warnings
from dataclasses import dataclass

import pytest
from evidence import CouldNotCheck

SECONDS = 10


@dataclass(frozen=True, repr=False)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    @property
    def data(self):
        """Its JSON."""
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"{self.status}\n{self.headers}{self.text[:500]}"


@dataclass(frozen=True)
class Handshake:
    version: str
    alpn: str | None
    certificate: bytes  # DER


class Connection(http.client.HTTPConnection):
    """To `address`, whatever the name is; over TLS if there is a context."""

    def __init__(self, address: str, name: str, context: ssl.SSLContext | None, seconds=SECONDS):
        super().__init__(name, timeout=seconds)
        self.address, self.context = address, context

    def connect(self):
        self.sock = socket.create_connection((self.address, 443 if self.context else 80), self.timeout)
        if self.context:
            self.sock = self.context.wrap_socket(self.sock, server_hostname=self.host)


def trusting() -> ssl.SSLContext:
    """Takes any certificate: whether it is the right one is a rule of its own, and doesn't hide the others."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def only(version: ssl.TLSVersion) -> ssl.SSLContext:
    """Speaks one version of TLS, an old one too."""
    if not getattr(ssl, f"HAS_{version.name}"):
        raise CouldNotCheck(f"could not check: this computer's OpenSSL lacks {version.name}")
    context = trusting()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")  # OpenSSL lets go of what is old on this level only
    return context


def knock(server, port: int) -> str:
    """What a TCP port says within a second to somebody who wants to come in."""
    try:
        socket.create_connection((server.address, port), timeout=1).close()
    except TimeoutError:
        return "no answer"
    except ConnectionRefusedError:
        return "refused"
    return "open"


def request(
    server, name: str, path="/", method="GET", *, secure=True, body=None, headers=None, seconds=SECONDS
) -> Answer:
    """Ask the web server for `path` under `name`. A dict as body goes as JSON."""
    headers = dict(headers or {})
    if isinstance(body, dict):
        body, headers["Content-Type"] = json.dumps(body), "application/json"
    connection = Connection(server.address, name, trusting() if secure else None, seconds)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def handshake(server, name: str | None, context: ssl.SSLContext | None = None) -> Handshake:
    """Say hello over TLS, under no name if it is None."""
    with (
        socket.create_connection((server.address, 443), SECONDS) as plain,
        (context or trusting()).wrap_socket(plain, server_hostname=name) as tls,
    ):
        return Handshake(tls.version(), tls.selected_alpn_protocol(), tls.getpeercert(binary_form=True))


def refusal(server, name: str | None, context: ssl.SSLContext | None = None) -> str:
    """The server's reason not to shake hands, as OpenSSL calls it; empty if it does."""
    try:
        handshake(server, name, context)
    except ssl.SSLError as error:
        return error.reason
    return ""


# Traces

TRACE_RESPONSE = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>0[01])")


def require_traces(server):
    if server.settings["nginx_trace_sampling"] == "disabled":
        pytest.skip("nginx takes no part in traces (nginx_trace_sampling)")


def trace_response(answer: Answer) -> re.Match:
    """The parts of an answer's `traceresponse`."""
    match = TRACE_RESPONSE.fullmatch(answer.headers.get("traceresponse", ""))
    assert match, answer
    return match


def trace_id(answer: Answer) -> str:
    return trace_response(answer)["trace"]
