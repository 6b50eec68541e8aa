import ipaddress
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sample_app import outbound


@pytest.fixture
def names(monkeypatch):
    """What host names lead to, in `table`, and which of them were looked up, in `asked`."""

    table, asked = {}, []

    def lookup(host, port, **keywords):
        asked.append(host)
        if host not in table:
            raise socket.gaierror(-2, "Name or service not known")
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (families[ipaddress.ip_address(address).version], socket.SOCK_STREAM, 6, "", (address, port))
            for address in table[host]
        ]

    monkeypatch.setattr(outbound.socket, "getaddrinfo", lookup)
    return SimpleNamespace(table=table, asked=asked)


@pytest.fixture
def listening():
    """listening(talk) lets talk(connection) answer one client, and returns the port."""
    threads, sockets = [], []

    def listening(talk):
        listener = socket.create_server(("127.0.0.1", 0))
        sockets.append(listener)

        def serve():
            try:
                connection, _ = listener.accept()
                with connection:
                    talk(connection)
            except OSError:  # the client left
                pass

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return listener.getsockname()[1]

    yield listening
    for listener in sockets:
        listener.shutdown(socket.SHUT_RDWR)  # also where nobody came
    for thread in threads:
        thread.join()
    for listener in sockets:
        listener.close()


@pytest.fixture
def certificate(tmp_path):
    """A PEM file for hooks.example.org that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.org")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    encoded = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = tmp_path / "certificate.pem"
    path.write_bytes(encoded + made.public_bytes(serialization.Encoding.PEM))
    return path


def post(url, private=True):
    return outbound.post(url, b"{}", {"Content-Type": "application/json"}, private)


def answering(text):
    def talk(connection):
        got = b""
        while not got.endswith(b"{}"):
            got += connection.recv(65536)
        connection.sendall(text)

    return talk


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "255.255.255.255", "224.0.0.1", "239.1.1.1", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "ff0e::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a00:1::", "64:ff9b::7f00:1", "64:ff9b:1::1"),
        "2001:0:102:304:0:0:80ff:fffe",  # Teredo of 127.0.0.1
    ],
)
def test_an_address_of_ones_own_is_not_public(address):
    assert outbound.is_public(address) is False


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_an_address_on_the_internet_is_public(address):
    assert outbound.is_public(address) is True


@pytest.mark.parametrize("found", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::1"]], ids=str)
def test_a_name_that_leads_home_is_refused(names, found):
    names.table["hooks.example.org"] = found
    with pytest.raises(outbound.Refused, match="not a public one"):
        post("http://hooks.example.org/", private=False)


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1"])
def test_another_way_to_write_an_address_leads_nowhere_else(host):
    with pytest.raises((outbound.Refused, outbound.Unreachable)):
        post(f"http://{host}:9/", private=False)


def test_a_name_is_looked_up_once(names, receiver):
    """What was checked is what is connected to: there is no second answer, which could be another one."""
    names.table["hooks.example.org"] = ["127.0.0.1"]
    assert post(f"http://hooks.example.org:{urlsplit(receiver.url).port}/") == 204
    assert names.asked == ["hooks.example.org"]


def test_a_name_that_is_not_there_may_come_back(names):
    with pytest.raises(outbound.Unreachable, match="was not found"):
        post("http://hooks.example.org/")


def test_the_second_address_is_tried_too(names, receiver, monkeypatch):
    names.table["hooks.example.org"] = ["::1", "127.0.0.1"]
    assert post(f"http://hooks.example.org:{urlsplit(receiver.url).port}/") == 204


def test_the_receiver_is_told_which_of_its_names_is_meant(names, receiver):
    names.table["hooks.example.org"] = ["127.0.0.1"]
    port = urlsplit(receiver.url).port
    post(f"http://hooks.example.org:{port}/a/b?c=d#e")
    (got,) = receiver.requests
    assert (got.path, got.headers["Host"]) == ("/a/b?c=d", f"hooks.example.org:{port}")


def test_a_redirect_is_not_followed(receiver):
    receiver.answers = [307]
    assert post(receiver.url) == 307
    assert len(receiver.requests) == 1


def test_a_proxy_of_this_computer_is_not_used(receiver, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert post(receiver.url) == 204


def drip(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"A: a\r\n")
        time.sleep(0.02)


def silent(connection):
    while connection.recv(65536):
        pass


def endless(connection):
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.02)


@pytest.mark.parametrize("talk", [silent, endless])
def test_a_receiver_that_takes_its_time_is_left(listening, monkeypatch, talk):
    monkeypatch.setattr(outbound, "ALL", 0.4)
    begun = time.monotonic()
    with pytest.raises(outbound.Unreachable, match="took too long"):
        post(f"http://127.0.0.1:{listening(talk)}/")
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "talk",
    [drip, answering(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000), answering(b"SSH-2.0-OpenSSH_10.0\r\n")],
    ids=["headers without end", "a header without end", "another protocol"],
)
def test_an_answer_that_is_no_answer_is_left(listening, talk):
    with pytest.raises(outbound.Unreachable, match="not HTTP"):
        post(f"http://127.0.0.1:{listening(talk)}/")


def test_a_body_is_not_read(listening):
    begun = time.monotonic()
    port = listening(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\na"))
    assert post(f"http://127.0.0.1:{port}/") == 200
    assert time.monotonic() - begun < 2


def test_what_the_receiver_says_is_repeated_nowhere(listening):
    """It may be what we sent: our secrets."""
    talk = answering(b"HTTP/1.1 5xx Bearer hush\r\n\r\n")
    with pytest.raises(outbound.Unreachable) as failure:
        post(f"http://127.0.0.1:{listening(talk)}/")
    assert "hush" not in str(failure.value)


@pytest.fixture
def secured(listening, certificate):
    """The port of a receiver with TLS."""

    def talk(connection):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        with context.wrap_socket(connection, server_side=True) as inner:
            answering(b"HTTP/1.1 202 Accepted\r\n\r\n")(inner)

    return listening(talk)


def test_tls_is_spoken_with_the_name_of_the_url(names, secured, certificate, monkeypatch):
    names.table["hooks.example.org"] = ["127.0.0.1"]
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(outbound.ssl, "create_default_context", lambda: trusting)
    assert post(f"https://hooks.example.org:{secured}/") == 202


def test_a_certificate_of_another_name_is_refused(names, secured, certificate, monkeypatch):
    names.table["elsewhere.example.org"] = ["127.0.0.1"]
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(outbound.ssl, "create_default_context", lambda: trusting)
    with pytest.raises(outbound.Unreachable, match="its certificate is not valid"):
        post(f"https://elsewhere.example.org:{secured}/")


def test_a_certificate_that_nobody_signed_is_refused(names, secured):
    names.table["hooks.example.org"] = ["127.0.0.1"]
    with pytest.raises(outbound.Unreachable, match="its certificate is not valid"):
        post(f"https://hooks.example.org:{secured}/")


def test_tls_that_takes_its_time_is_left(names, listening, monkeypatch):
    monkeypatch.setattr(outbound, "ALL", 0.4)
    names.table["hooks.example.org"] = ["127.0.0.1"]
    with pytest.raises(outbound.Unreachable, match="took too long"):
        post(f"https://hooks.example.org:{listening(silent)}/")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://hooks.example.org/services/T0/hush?token=hush#hush", "https://hooks.example.org"),
        ("http://[2606:4700::1111]:8080/hush", "http://[2606:4700::1111]:8080"),
    ],
)
def test_of_a_url_only_what_is_no_secret_is_shown(url, origin):
    assert outbound.origin(outbound.split(url)) == origin
