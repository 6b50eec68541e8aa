"""Asking for a page over TLS, from a server of this test with a CA of this test."""

from __future__ import annotations

import http.server
import ssl
import threading

import pytest
from traced_server import NAME

from sanso import page

START = "<html><title>\n  Projects &amp; faults </title></html>"


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers with `pages`: path → (status, Location, body)."""

    def do_GET(self):
        status, location, body = self.pages[self.path]
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *words):
        pass


@pytest.fixture
def server(ca, monkeypatch):
    """A web server on this computer, with `pages` to set; port 443 is taken to be its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, ca.with_suffix(".key"))
    handler = type("Handler", (Pages,), {"pages": {"/": (302, "/start", ""), "/start": (200, None, START)}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        monkeypatch.setattr(page, "PORT", running.server_port)
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield handler
        running.shutdown()
        thread.join()


def test_title_of_the_page_behind_redirects_is_read(server, ca):
    assert page.fetch(NAME, "127.0.0.1", ca) == page.Answer(200, "Projects & faults", START)


def test_error_is_an_answer(server, ca):
    server.pages["/"] = (502, None, "<title>Bad Gateway</title>")
    assert page.fetch(NAME, "127.0.0.1", ca).status == 502


def test_redirect_to_another_server_is_not_followed(server, ca):
    server.pages |= {"/": (301, "https://elsewhere.test/there", ""), "/there": (200, None, "")}
    assert page.fetch(NAME, "127.0.0.1", ca).status == 301


def test_redirects_in_a_circle_end(server, ca):
    server.pages["/"] = (302, "/", "")
    assert page.fetch(NAME, "127.0.0.1", ca).status == 302


def test_certificate_of_an_unknown_ca_is_no_answer(server):
    with pytest.raises(page.NoAnswer, match="certificate verify failed"):
        page.fetch(NAME, "127.0.0.1", None)


def test_certificate_for_another_name_is_no_answer(server, ca):
    with pytest.raises(page.NoAnswer, match="certificate verify failed"):
        page.fetch("other.test", "127.0.0.1", ca)


def test_server_that_is_not_there_is_no_answer(ca, monkeypatch):
    monkeypatch.setattr(page, "PORT", 1)
    with pytest.raises(page.NoAnswer, match="refused"):
        page.fetch(NAME, "127.0.0.1", ca)
