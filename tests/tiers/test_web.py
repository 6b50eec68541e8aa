"""The web tier: what nginx lets in, under which names, and how it speaks."""

from __future__ import annotations

import base64
import http.client
import re
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from client import Connection, handshake, only, refusal, request, trusting
from cryptography import x509
from evidence import ask, journal, modes, read_attempt

GROUPS = {"web"}

VERSIONS = {f"TLSv1.{minor}": version for minor, version in enumerate(list(ssl.TLSVersion)[2:6])}
UNKNOWN = "sanso-check.invalid"
# A certificate of the usual 90 days is renewed with 30 left.
ALARM = timedelta(days=20)
NEXT = {
    "local": "run playbooks/web.yml, which renews it",
    "acme": "systemctl start certbot.service there, and journalctl --unit=certbot.service",
}
UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}


@pytest.fixture(scope="module")
def configuration(host):
    """All of nginx's configuration, as nginx reads it."""
    return ask(host, "nginx -T 2>/dev/null")


@pytest.fixture(scope="module")
def name(server):
    """A name that is served."""
    return server.sites[0].name if server.sites else pytest.skip("the inventory describes no site")


# The server


def test_nginx_runs_now_and_at_boot(host):
    service = host.service("nginx")
    assert (service.is_running, service.is_enabled) == (True, True), journal(host, "nginx.service")


def test_configuration_is_valid(host):
    done = host.run("nginx -t")
    assert done.succeeded, done.stderr


@pytest.mark.parametrize("port", [80, 443])
def test_port_is_systemd_s_and_stays_open_while_nginx_restarts(host, port):
    holders = re.findall(r'"([^"]+)",pid=1,', ask(host, "ss -Hltnp sport = :%s", str(port)))
    assert set(holders) == {"systemd"}, journal(host, "nginx.socket")


def test_nginx_is_connected_with_the_app_s_current_release(server, host, app):
    """By a link, which a release leads elsewhere while it restarts the app."""
    if "app" not in server.groups:
        pytest.skip("the apps are on another host")
    assert ask(host, "realpath %s", app.upstream) == app.socket


# Names


def test_http_redirects_to_the_same_page_over_tls(server, site):
    answer = request(server, site.name, "/a/page%20?x=1&y=%C3%A4", secure=False)
    assert (answer.status, answer.headers["Location"]) == (301, f"https://{site.name}/a/page%20?x=1&y=%C3%A4"), answer


def test_unknown_host_gets_no_answer(server):
    with pytest.raises(http.client.RemoteDisconnected):
        request(server, UNKNOWN, secure=False)


@pytest.mark.parametrize("unknown", [UNKNOWN, None], ids=["another name", "no name"])
def test_unknown_host_gets_no_handshake(server, unknown):
    assert refusal(server, unknown) == "TLSV1_UNRECOGNIZED_NAME"


def test_unknown_host_is_refused_behind_a_known_name(server, name):
    """TLS says one name, and the request another."""
    connection = Connection(server.address, name, trusting())
    try:
        connection.request("GET", "/", headers={"Host": UNKNOWN})
        status = connection.getresponse().status
    except http.client.RemoteDisconnected:
        status = None
    finally:
        connection.close()
    assert status in {None, 421}


# TLS


@pytest.mark.parametrize("version", VERSIONS)
def test_tls_version_is_spoken_only_if_wanted(server, name, version):
    profile = server.settings["nginx_tls_profile"]
    wanted = version == "TLSv1.3" or (version == "TLSv1.2" and profile == "intermediate")
    assert refusal(server, name, only(VERSIONS[version])) == ("" if wanted else "TLSV1_ALERT_PROTOCOL_VERSION")


def test_key_exchange_is_post_quantum(host, name):
    """Asked from the server itself, whose OpenSSL knows what nginx's does."""
    group = "X25519MLKEM768"
    if group not in host.run("openssl list -tls-groups").stdout:
        pytest.skip(f"its OpenSSL is older than 3.5, and has no {group}")
    said = host.run("openssl s_client -connect localhost:443 -servername %s -groups %s </dev/null", name, group)
    assert f"group: {group}" in said.stdout, said.stdout[-500:] + said.stderr


def test_session_is_not_resumed_by_a_ticket_over_tls_1_2(server, name):
    """Tickets are encrypted with one key for as long as nginx runs."""
    if server.settings["nginx_tls_profile"] == "modern":
        pytest.skip("the inventory wants no TLS 1.2")
    context = only(ssl.TLSVersion.TLSv1_2)
    with (
        socket.create_connection((server.address, 443), 10) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
    ):
        assert not tls.session.has_ticket


def test_http2_is_offered(server, site):
    context = trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert handshake(server, site.name, context).alpn == "h2"


def test_certificate_is_trusted_and_names_the_site(server, site):
    ca = server.voucher(site.app)
    try:
        handshake(server, site.name, ssl.create_default_context(cafile=ca))
    except ssl.SSLCertVerificationError as error:
        pytest.fail(f"{error.verify_message}; {ca or 'this computer'} doesn't vouch for it")


def test_certificate_ends_not_before_it_must_have_been_renewed(server, site):
    certificate = x509.load_der_x509_certificate(handshake(server, site.name).certificate)
    assert (left := certificate.not_valid_after_utc - datetime.now(UTC)) >= alarm(certificate), (
        f"{left.days} days left. Next: {NEXT.get(site.app.certificate, 'get a new one from whoever signed it')}"
    )


def alarm(certificate: x509.Certificate) -> timedelta:
    """What must be left. A renewal is due with a third left: where not even a quarter is, nobody renews it any more."""
    return min(ALARM, (certificate.not_valid_after_utc - certificate.not_valid_before_utc) / 4)


def test_timer_renews_certificates_of_acme(server, host):
    if not any(app.certificate == "acme" for app in server.apps):
        pytest.skip("the inventory has no certificate from an ACME CA")
    timer = host.service("certbot.timer")
    assert (timer.is_running, timer.is_enabled) == (True, True), journal(host, "certbot.timer")
    assert "sanso-acme renew" in ask(host, "systemctl show --property=ExecStart --value certbot.service")


@pytest.fixture(scope="module")
def certificates(configuration):
    """The files that nginx reads certificates from."""
    return named_in(configuration, "ssl_certificate")


@pytest.fixture(scope="module")
def keys(configuration):
    """The files that nginx reads private keys from."""
    return named_in(configuration, "ssl_certificate_key")


def named_in(configuration, directive):
    found = set(re.findall(rf"^\s*{directive}\s+(.+);", configuration, re.MULTILINE))
    return found or pytest.skip(f"nginx has no {directive}: it serves nothing over TLS")


def test_served_certificate_is_the_installed_one(server, host, site):
    file = f"/etc/nginx/tls/{site.app.name}.pem"
    installed = base64.b64decode(ask(host, "openssl x509 -in %s -outform DER | base64", file))
    assert handshake(server, site.name).certificate == installed, "nginx was not reloaded"


def test_no_certificate_lies_about_that_nothing_serves(host, certificates):
    """A key that nobody renews and nobody misses."""
    found = set(ask(host, "find /etc/nginx/tls /etc/nginx/server.pem -name '*.pem' 2>/dev/null || true").splitlines())
    assert found - certificates == set()


@pytest.mark.parametrize("user", ["www-data", "nobody"])
def test_private_key_is_closed_to(host, keys, user):
    attempts = {key: read_attempt(host, key, user) for key in keys}
    assert attempts == dict.fromkeys(keys, "EACCES"), "\n".join(modes(host, key) for key in keys)


# Requests


@pytest.mark.parametrize("secure", [True, False], ids=["https", "http"])
def test_server_does_not_tell_its_version(server, name, secure):
    assert request(server, name, "/sanso-check", secure=secure).headers["Server"] == "nginx"


def test_page_of_an_error_does_not_tell_the_version(server, name):
    answer = request(server, name, secure=False)
    assert re.findall(r"nginx/[\d.]+", answer.text) == [], answer


def test_body_over_the_limit_is_refused(server, site):
    """The announcement of its length is enough: the body is never sent."""
    number, unit = re.fullmatch(r"(\d+)([kmg]?)", site.app.body_max.lower()).groups()
    if not int(number):
        pytest.skip("the inventory sets no limit")
    length = int(number) * UNITS.get(unit, 1) + 1
    try:
        answer = request(
            server, site.name, site.app.at("/"), "POST", headers={"Content-Length": str(length)}, seconds=3
        )
    except TimeoutError:
        pytest.fail(f"nginx waits for a body of {length} bytes")
    assert (answer.status, answer.headers["Server"]) == (413, "nginx"), answer


# Security headers


def security_headers(server, app, answer):
    """Those of an answer, each with all its values."""
    return {name: answer.headers.get_all(name) for name in server.headers_of(app)}


def test_answer_of_the_app_has_each_security_header_once(server, site):
    answer = request(server, site.name, site.app.at("/"))
    counts = {name: len(values or []) for name, values in security_headers(server, site.app, answer).items()}
    assert counts == dict.fromkeys(counts, 1), answer


def test_answer_of_nginx_itself_has_the_inventory_s_security_headers(server, site):
    """TRACE is nobody's method here: nginx refuses it without asking the app."""
    answer = request(server, site.name, site.app.at("/"), method="TRACE")
    expected = {name: [value] for name, value in server.headers_of(site.app).items()}
    assert (answer.status, security_headers(server, site.app, answer)) == (405, expected), answer


def test_static_file_has_the_inventory_s_security_headers(server, files, static):
    answer = request(server, static.app.host_name, f"/{static.prefix}/{sorted(files)[0]}")
    expected = {name: [value] for name, value in server.headers_of(static.app).items()}
    assert security_headers(server, static.app, answer) == expected, answer


# Static files


@pytest.fixture(scope="module")
def files(host, static):
    """The static files: path below the folder, to size and time of the last change."""
    folder = f"{static.app.current}/{static.public}"
    if not host.file(folder).exists:  # a release of before there was such a folder
        folder = f"{static.app.current}/app/{static.folder.strip('/')}"
    lines = ask(host, "find -L %s/ -type f -printf '%%P %%s %%T@\\n'", folder).splitlines()
    found = {path: (int(size), int(float(time))) for path, size, time in (line.rsplit(" ", 2) for line in lines)}
    return found or pytest.skip(f"{folder} holds no file")


def test_static_file_is_served_by_nginx_itself(server, files, static):
    """Its ETag is nginx's own: time and size in hexadecimal. No app makes such a one."""
    path, (size, time) = sorted(files.items())[0]
    answer = request(server, static.app.host_name, f"/{static.prefix}/{path}")
    assert (answer.status, answer.headers["ETag"], len(answer.body)) == (200, f'"{time:x}-{size:x}"', size), answer


def test_static_text_is_compressed(server, files, static):
    large = [path for path, (size, _) in sorted(files.items()) if size > 1024]
    texts = [path for path in large if path.endswith((".css", ".js", ".svg"))]
    if not texts:
        pytest.skip("no text of more than 1 KiB among them")
    answer = request(server, static.app.host_name, f"/{static.prefix}/{texts[0]}", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip", answer


def test_static_folder_is_not_listed(server, static):
    answer = request(server, static.app.host_name, f"/{static.prefix}/")
    assert answer.status in {403, 404}, answer
