"""A site that nobody finds: the inventory has a typing error in the app's server_names."""

import client
from cryptography import x509


def test_request(lab):
    lab.page()


def test_certificate(lab):
    expected = f"a certificate for {lab.name}, and no other name"
    try:
        certificate = x509.load_der_x509_certificate(client.handshake(lab.server, lab.name).certificate)
    except OSError as error:
        lab.expect(expected, f"none: {error}", ok=False)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = names.get_values_for_type(x509.DNSName)
    lab.expect(expected, f"one for {', '.join(found)}", found == [lab.name])
