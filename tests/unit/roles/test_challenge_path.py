"""Whoever would answer the CA in the server's place is found before the CA is asked, and called by name."""

import contextlib
import errno
import http.server
import socket
import threading

import pytest
from ansible.module_utils.sanso_trial import Failed

CONTENT, PATH = "the proof", "/.well-known/acme-challenge/sanso-token"


@contextlib.contextmanager
def serving(answer):
    """An HTTP server on a port of its own: answer(path) returns (status, headers, body)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        server_version, sys_version = "Fake", ""

        def do_GET(self):
            status, headers, body = answer(self.path)
            self.send_response(status)
            for item in headers.items():
                self.send_header(*item)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def ask(load, monkeypatch):
    """ask({address: port}) runs the module for shop.test, which leads to these addresses: what it says against it."""
    module = load("roles/acme/library/challenge_path.py")

    def ask(ports, **changes):
        def connect(where, *words, **named):
            if isinstance(ports[where[0]], OSError):
                raise ports[where[0]]
            return create_connection(("127.0.0.1", ports[where[0]]), *words, **named)

        create_connection = socket.create_connection
        monkeypatch.setattr(module, "addresses", changes.get("addresses", lambda name: list(ports)))
        arguments = {"names": ["shop.test"], "path": PATH, "content": CONTENT, "server": "192.0.2.1"}
        with monkeypatch.context() as patched:
            patched.setattr(socket, "create_connection", connect)
            try:
                assert module.run(arguments, checking=False) == {"changed": False}
            except Failed as failed:
                return str(failed)
        return ""

    return ask


def good(path):
    return (200, {}, CONTENT.encode()) if path == PATH else (404, {}, b"")


def test_name_that_shows_the_proof_is_good(ask):
    with serving(good) as port:
        assert ask({"192.0.2.1": port}) == ""


def test_redirect_is_followed(ask):
    with serving(good) as port:

        def answer(path):
            return 302, {"Location": f"http://127.0.0.1:{port}{PATH}"}, b""

        with serving(answer) as first:
            assert ask({"192.0.2.1": first, "127.0.0.1": port}) == ""


def test_other_server_is_named(ask):
    with serving(lambda path: (404, {}, b"")) as port:
        said = ask({"198.51.100.7": port})
    assert "was not asked" in said
    assert f"http://shop.test{PATH}: it leads to 198.51.100.7, which answered 404 by Fake instead of the proof" in said
    assert "let the name's DNS record lead to 192.0.2.1" in said


def test_page_for_everything_is_no_proof(ask):
    with serving(lambda path: (200, {}, b"<h1>Welcome</h1>")) as port:
        assert "which answered 200 by Fake instead of the proof" in ask({"192.0.2.1": port})


def test_each_address_must_show_it(ask):
    with serving(good) as port, serving(lambda path: (404, {}, b"")) as other:
        assert "it leads to 2001:db8::7, which answered 404" in ask({"192.0.2.1": port, "2001:db8::7": other})


def test_address_without_a_route_is_passed_over(ask):
    no_route = OSError(errno.ENETUNREACH, "Network is unreachable")
    with serving(good) as port:
        assert ask({"2001:db8::1": no_route, "192.0.2.1": port}) == ""
    assert "has no route to 2001:db8::1" in ask({"2001:db8::1": no_route})


def test_closed_port_is_said(ask):
    refused = OSError(errno.ECONNREFUSED, "Connection refused")
    said = ask({"192.0.2.1": refused})
    assert "it leads to 192.0.2.1, where port 80 gave no answer (Connection refused). Next: " in said


def test_name_without_an_address_is_said(ask):
    def addresses(name):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    said = ask({}, addresses=addresses)
    assert "it has no address here (Name or service not known). Next: make a DNS record" in said
