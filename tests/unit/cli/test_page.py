"""Asking for a page over TLS, from a server of this test with a CA of this test."""

from __future__ import annotations

import datetime
import http.server
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sanso import page

NAME = "faults.test"


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


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    """A CA whose own certificate is also the server's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("ca")
    (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "ca.key").write_bytes(key.private_bytes(*formats))
    return folder / "ca.crt"


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
