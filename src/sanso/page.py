"""Asks a web server for a page, at its address and under its name, with the CA that signed its certificate."""

from __future__ import annotations

import html
import http.client
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

PORT, SECONDS = 443, 10
REDIRECTS = 5


@dataclass(frozen=True)
class Answer:
    status: int
    title: str
    start: str  # of the body


class NoAnswer(Exception):
    """No HTTP answer came, for the reason in the message."""


def fetch(name: str, address: str, ca: Path | None) -> Answer:
    """GET https://name/ from the server at `address`, and follow redirects that stay on it."""
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(ca)
    path = "/"
    try:
        for _ in range(REDIRECTS):
            status, location, body = _get(name, address, path, context)
            target = urlsplit(urljoin(f"https://{name}{path}", location or ""))
            if not location or target.hostname != name or target.scheme != "https":
                break
            path = target._replace(scheme="", netloc="").geturl() or "/"
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"https://{name}/ at {address} doesn't answer: {error}") from error
    title = re.search(r"<title[^>]*>(.*?)</title>", body, re.DOTALL | re.IGNORECASE)
    return Answer(status, html.unescape(" ".join(title[1].split())) if title else "", body[:500])


def _get(name, address, path, context):
    connection = http.client.HTTPSConnection(name, timeout=SECONDS)
    plain = socket.create_connection((address, PORT), SECONDS)
    connection.sock = context.wrap_socket(plain, server_hostname=name)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location"), answer.read(100_000).decode(errors="replace")
    finally:
        connection.close()
