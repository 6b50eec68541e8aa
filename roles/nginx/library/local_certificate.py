#!/usr/bin/python
"""A certificate authority of one's own, in a folder, and certificates signed by it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: local_certificate
short_description: Certificates for a machine without a public name, signed by a CA in a folder
description:
  - Makes the CA (ca.crt, ca.key; ten years; it may sign names below a host, nothing else) the first time, and then
    <host>/<name>.pem for each certificate, which holds certificate, CA and private key in this order.
  - A certificate is kept as long as its names are the same, this CA signed it, and a third of its time is left. One
    that is no longer asked for is removed.
options:
  directory: {description: Folder of the CA. Made with mode 0700., type: path, required: true}
  host: {description: The machine that they are for., type: str, required: true}
  certificates: {description: Name of each one to the host names that it is good for., type: dict, required: true}
  days: {description: How long a new one is good for., type: int, default: 90}
requirements: [cryptography]
"""

RETURN = r"""
paths: {description: "Name to PEM file (certificate, CA, key) of each one that is there.", type: dict, returned: always}
"""

import contextlib
import datetime
import fcntl
import os
from pathlib import Path

from ansible.module_utils.basic import missing_required_lib
from ansible.module_utils.sanso_module import serve
from ansible.module_utils.sanso_trial import Failed

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    x509 = None

CA_DAYS = 3650
ANY_CLOCK = datetime.timedelta(hours=1)  # a machine whose clock is a little behind believes a new certificate too


def now():
    return datetime.datetime.now(datetime.UTC)


def common_name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])  # 64: X.520's limit


def builder(subject, issuer, key, days, is_ca):
    """What a CA's certificate and a server's have in common."""
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    usage |= {"digital_signature": not is_ca, "key_cert_sign": is_ca, "crl_sign": is_ca}
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - ANY_CLOCK)
        .not_valid_after(now() + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def pem(thing):
    if isinstance(thing, x509.Certificate):
        return thing.public_bytes(serialization.Encoding.PEM)
    return thing.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write(path, content, mode):
    """Replace a file at once, never readable by others for a moment."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    new.rename(path)


@contextlib.contextmanager
def alone(directory):
    """Wait for whoever is at work in that folder: of two runs that begin with it at once, each would make a CA."""
    folder = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(folder, fcntl.LOCK_UN)  # gevent, on which pyinfra runs, closes files later
        os.close(folder)


def load_ca(directory):
    """The CA as (certificate, key), or None where it was never made. Half of one is an OSError."""
    certificate, key = directory / "ca.crt", directory / "ca.key"
    if not certificate.exists() and not key.exists():
        return None
    return (
        x509.load_pem_x509_certificate(certificate.read_bytes()),
        serialization.load_pem_private_key(key.read_bytes(), password=None),
    )


def make_ca(directory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = common_name(f"Local CA of {os.uname().nodename}")
    certificate = builder(name, name, key, CA_DAYS, is_ca=True).sign(key, hashes.SHA256())
    write(directory / "ca.key", pem(key), 0o600)
    write(directory / "ca.crt", pem(certificate), 0o644)
    return certificate, key


def good(path, ca, dns_names):
    """Tell whether the certificate there can stay."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        certificate.verify_directly_issued_by(ca)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # absent, unreadable, another CA's: whatever it is, a new one replaces it
        return False
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return set(names.get_values_for_type(x509.DNSName)) == set(dns_names) and end - now() > (end - start) / 3


def make(path, ca, ca_key, dns_names, days):
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        builder(common_name(dns_names[0]), ca.subject, key, days, is_ca=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    write(path, pem(certificate) + pem(ca) + pem(key), 0o600)


def run(arguments, checking):
    if x509 is None:
        raise Failed(missing_required_lib("cryptography"))
    directory, host, wanted = Path(arguments["directory"]), arguments["host"], arguments["certificates"]
    folder = directory / host
    paths = {name: folder / f"{name}.pem" for name in wanted}
    try:
        if wanted and not checking:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
        with alone(directory) if directory.exists() else contextlib.nullcontext():
            ca = load_ca(directory)
            new = [name for name in wanted if ca is None or not good(paths[name], ca[0], wanted[name])]
            # Those of apps that are gone, and the one that a host had for all of them once.
            old = [*(set(folder.glob("*.pem")) - set(paths.values())), *directory.glob(f"{host}.pem")]
            if not checking:
                for path in old:
                    path.unlink()
                for name in new:
                    ca = ca or make_ca(directory)
                    make(paths[name], *ca, wanted[name], arguments["days"])
    except (OSError, ValueError) as error:
        raise Failed(f"the local CA in {directory} (nginx_local_ca_directory): {error}") from error
    # In a check, one that would be made anew is not there: what is, may be good for other names.
    there = {name: str(path) for name, path in paths.items() if path.exists() and not (checking and name in new)}
    return {"changed": bool(new or old), "paths": there}


if __name__ == "__main__":
    serve(
        run,
        {
            "directory": {"type": "path", "required": True},
            "host": {"type": "str", "required": True},
            "certificates": {"type": "dict", "required": True},
            "days": {"type": "int", "default": 90},
        },
    )
