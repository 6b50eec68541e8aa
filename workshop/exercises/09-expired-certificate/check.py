"""A certificate that has ended: signed by the right CA, for the right name, and too old."""

import datetime

import client
from cryptography import x509

DAYS = 30


def test_request(lab):
    lab.page()


def test_dates(lab):
    certificate = x509.load_der_x509_certificate(client.handshake(lab.server, lab.name).certificate)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    now = datetime.datetime.now(datetime.UTC)
    expected = f"a certificate that is good now, and for {DAYS} days more"
    ok = begins <= now and ends >= now + datetime.timedelta(days=DAYS)
    lab.expect(expected, f"one from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC", ok)


def test_key(lab):
    lab.expect("640 root:ssl-cert", lab.run("stat -c '%a %U:%G' /etc/nginx/tls/faults.pem"))
