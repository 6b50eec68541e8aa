"""Certificates from a real ACME CA: when an order goes wrong, the one that serves stays, and the reason is said."""

import contextlib
import ipaddress

import acme
import pytest
from client import handshake
from cryptography import x509

UNIT = "certbot.service"
SECRET = "ba5e1c0d5ec2e7"  # stands in the hook, and nowhere else

HOOK = f"""#!/usr/bin/python3
# {SECRET}
import json, sys, urllib.request
action, record, value = sys.argv[1:]
data = {{"host": f"{{record}}.", "value": value}}
verb = {{"add": "set-txt", "remove": "clear-txt"}}[action]
urllib.request.urlopen("URL/" + verb, json.dumps(data).encode(), 10).close()
"""


@pytest.fixture(scope="module")
def ca(server, tmp_path_factory):
    bridge = str(ipaddress.ip_network(server.settings["machine_subnet"])[1])
    with acme.authority(bridge, server.address, tmp_path_factory.mktemp("acme")) as found:
        yield found


@pytest.fixture(scope="module")
def run(server):
    """run(command, *words) on the machine; it must succeed. Returns what it says."""
    return server.host.check_output


@pytest.fixture(scope="module")
def build(play, ca):
    """build(**variables) runs the layer with certificates from the CA."""

    def build(**variables):
        wanted = {"nginx_certificates": "acme", "acme_agree_tos": True, "acme_directory": ca.directory}
        return play("web", **{**wanted, "acme_ca_certificate": str(ca.trust), **variables})

    return build


@pytest.fixture(scope="module")
def first(server, build, play, run, app):
    """The first run with the CA, on a machine that the local CA's certificates serve, and nginx's process before it."""
    nginx = run("systemctl show --property=MainPID --value nginx.service")
    yield build(), nginx
    if server.host.file("/usr/local/sbin/sanso-acme").exists:  # a test failed before the last one
        play("web")
    run(f"systemctl reset-failed {UNIT} || true")


@pytest.fixture
def served(server, app):
    """served() is the certificate that a client gets under the app's name."""
    return lambda: x509.load_der_x509_certificate(handshake(server, app.host_name).certificate)


@pytest.fixture
def stays(server, app, run, served):
    """Whatever happens in the test: afterwards the same certificate serves, from the same file."""
    before, file = served(), run("sha256sum /etc/nginx/tls/*.pem")
    yield
    assert run("sha256sum /etc/nginx/tls/*.pem") == file
    assert served() == before
    run("systemctl reload nginx.service")
    assert served() == before


@pytest.fixture
def renew(server, run):
    """renew() starts what the timer starts: (whether it succeeded, what it said)."""

    def renew():
        run(f"systemctl reset-failed {UNIT} || true")
        begin = run("date +%s.%N")
        done = server.host.run(f"systemctl start {UNIT}")
        said = run("journalctl --no-pager --output=cat --unit=%s --since=@%s", UNIT, begin)
        failed = UNIT in run("systemctl list-units --failed --plain --no-legend")
        assert failed == (done.rc != 0)  # tests/tiers notices it, too
        return done.rc == 0, said

    yield renew
    run(f"systemctl reset-failed {UNIT} || true")


@pytest.fixture
def due(run, app):
    """The time for a renewal has come."""
    path = f"/etc/letsencrypt/renewal/sanso-{app.name}.conf"
    run("sed -i '1i renew_before_expiry = 200 days' %s", path)
    yield
    run("sed -i '/^renew_before_expiry/d' %s", path)


@pytest.fixture
def missing(run, app):
    """certbot has no certificate any more, so that the next run orders one."""
    run("certbot delete --non-interactive --cert-name %s || true", f"sanso-{app.name}")


@contextlib.contextmanager
def changed(run, path, command):
    """A file of the machine is another one for a while: `command` changes it, %s."""
    run("cp --archive %s /root/kept", path)
    try:
        run(command, path)
        yield
    finally:
        run("cp --archive /root/kept %s && rm /root/kept", path)


# In this order: each test begins with what the one before left, nginx serving a certificate from the CA.


def test_first_order_replaces_the_local_cas_certificate_in_the_same_run(first, ca, served, run, server):
    done, nginx = first
    assert done.succeeded, done.said
    found = {site.name: handshake(server, site.name).certificate for site in server.sites}
    assert [name for name, der in found.items() if not ca.signed(x509.load_der_x509_certificate(der))] == []
    assert run("systemctl show --property=MainPID --value nginx.service") == nginx  # reloaded, not restarted


def test_second_run_changes_nothing_and_asks_the_ca_nothing(first, build, ca):
    before = ca.asked
    done = build()
    assert done.changed == 0, done.said
    assert ca.asked == before


def test_timer_orders_nothing_before_the_time_has_come(first, renew, run, ca):
    def workers():
        return set(run("pgrep --parent $(systemctl show --property=MainPID --value nginx.service)").split())

    orders, before = ca.orders, workers()
    succeeded, said = renew()
    assert succeeded, said
    assert ca.orders == orders
    assert workers() <= before  # a reload makes new ones


def test_renewed_certificate_serves_after_a_reload(first, due, renew, served, run, ca):
    before, nginx = served(), run("systemctl show --property=MainPID --value nginx.service")
    succeeded, said = renew()
    assert succeeded, said
    assert served() != before
    assert ca.signed(served())
    assert run("systemctl show --property=MainPID --value nginx.service") == nginx


def test_renewal_that_the_ca_refuses_fails_with_its_reason(first, stays, due, renew, ca, app):
    with ca.sent_elsewhere(app.host_name):
        succeeded, said = renew()
    assert not succeeded
    assert "connection refused" in acme.reason(said), said


def test_certificate_that_does_not_fit_its_key_is_not_served(first, stays, renew, run, app):
    key = run("readlink --canonicalize %s", f"/etc/letsencrypt/live/sanso-{app.name}/privkey.pem")
    with changed(run, key, "openssl ecparam -name prime256v1 -genkey -noout -out %s"):
        succeeded, said = renew()
    assert not succeeded
    assert "the certificate and the key do not belong together" in said


def test_certificate_that_nginx_refuses_is_taken_back_and_served_when_it_can_be(first, due, renew, run, served, app):
    before, file = served(), run("sha256sum /etc/nginx/tls/*.pem")
    with changed(run, "/etc/nginx/conf.d/sites.conf", "echo 'nonsense on;' >> %s"):
        succeeded, said = renew()
        assert not succeeded
        assert 'unknown directive "nonsense"' in said
        assert run("sha256sum /etc/nginx/tls/*.pem") == file
    assert served() == before
    run(f"sed -i '/^renew_before_expiry/d' /etc/letsencrypt/renewal/sanso-{app.name}.conf")
    assert renew()[0]
    assert served() != before


def test_order_that_the_ca_refuses_fails_the_run_with_its_reason(first, stays, missing, build, ca, app):
    with ca.sent_elsewhere(app.host_name):
        done = build()
    assert done.failed, done.said
    assert "connection refused" in acme.reason(done.said), done.said
    assert "nginx keeps its certificate" in done.said


def test_blocked_way_of_the_proof_is_said_before_the_ca_is_asked(first, stays, missing, build, run, ca):
    """Whoever comes from outside finds another server under port 80: the one of port 443."""
    before = ca.orders
    chain = "type nat hook prerouting priority dstnat; tcp dport 80 redirect to :443;"
    run(f"nft 'table inet sanso_faults {{ chain prerouting {{ {chain} }}; }}'")
    try:
        done = build()
    finally:
        run("nft delete table inet sanso_faults")
    assert done.failed, done.said
    assert "The CA would find no proof, and was not asked" in done.said
    assert done.says("which answered 400 by nginx instead of the proof")
    assert ca.orders == before


def test_ca_that_is_down_fails_the_run(first, stays, build):
    done = build(acme_directory="https://127.0.0.1:1/dir")
    assert done.failed, done.said
    assert "Connection refused" in done.said
    assert "nginx keeps its certificate" in done.said


def test_dns_hook_proves_the_names_without_http(first, build, ca, served, tmp_path, run):
    before, visits = served(), ca.visits
    hook = tmp_path / "hook"
    hook.write_text(HOOK.replace("URL", ca.names))
    done = build(acme_dns_hook=str(hook))
    assert done.succeeded, done.said
    assert served() != before
    assert ca.signed(served())
    assert ca.visits == visits
    assert run("stat --format=%U-%a /etc/sanso/acme-dns-hook") == "root-700"
    assert SECRET not in done.said


def test_without_acme_the_local_ca_serves_again_and_nothing_is_renewed(first, play, ca, served, run, app):
    before = ca.asked
    done = play("web")
    assert done.succeeded, done.said
    assert not ca.signed(served())
    ours = f"-name sanso-{app.name}.conf -o -name '*acme*'"
    assert run(f"find /etc/letsencrypt/renewal /etc/sanso /usr/local/sbin {ours}") == ""
    assert "sanso" not in run("systemctl cat certbot.service")
    assert ca.asked == before
