"""Asks a web server for a page, at its address and under its name, with the CA that signed its certificate."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from sanso.tracing import request

PORT, SECONDS = 443, 10
REDIRECTS = 5
KEPT = 100_000  # bytes of a page


@dataclass(frozen=True)
class Answer:
    status: int
    title: str
    start: str  # of the body


class NoAnswer(Exception):
    """No HTTP answer came, for the reason in the message."""


def fetch(name: str, address: str, ca: Path | None) -> Answer:
    """GET https://name/ from the server at `address`, and follow redirects that stay on it."""
    context = request.context(ca)
    port = "" if PORT == 443 else f":{PORT}"
    path = "/"
    for _ in range(REDIRECTS):
        call = request.Call(f"https://{name}{port}{path}", address, seconds=SECONDS)
        answer = request.send(call, context, keep=KEPT)
        if answer.error:
            raise NoAnswer(f"https://{name}/ at {address} doesn't answer: {answer.error}") from answer.error
        location = answer.headers.get("location", "")
        target = urlsplit(urljoin(f"https://{name}{path}", location))
        if not location or target.hostname != name or target.scheme != "https":
            break
        path = target._replace(scheme="", netloc="").geturl() or "/"
    body = answer.body.decode(errors="replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", body, re.DOTALL | re.IGNORECASE)
    return Answer(answer.status, html.unescape(" ".join(title[1].split())) if title else "", body[:500])
