"""A real ACME CA on this computer: Pebble, which Let's Encrypt tests with, and its name server, which answers as told.

It proves names as the public CA does: over port 80 of the machine, or by DNS records. Nothing of it is kept.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from evidence import CouldNotCheck

SECONDS = 10  # to start
# Without them, Pebble waits, rejects and remembers by chance: no test depends on luck.
WITHOUT_LUCK = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}


@dataclass(frozen=True)
class Authority:
    directory: str
    trust: Path  # what vouches for its API, and for what it signs
    log: Path
    names: str  # the URL that tells its name server what to answer

    @property
    def asked(self) -> int:
        """How often it was asked for anything."""
        return self.log.read_text().count("-> calling handler()")

    @property
    def orders(self) -> int:
        return self.log.read_text().count("POST /order-plz ")

    @property
    def visits(self) -> int:
        """How often it looked for a proof over HTTP."""
        return self.log.read_text().count("Attempting to validate w/ HTTP")

    def tell(self, what: str, **data):
        """Say to the name server what it answers: tell("add-a", host=…, addresses=[…])."""
        urllib.request.urlopen(f"{self.names}/{what}", json.dumps(data).encode(), SECONDS).close()

    @contextlib.contextmanager
    def sent_elsewhere(self, name: str):
        """To the CA, and to nobody else, the name leads to this computer, where nobody listens."""
        self.tell("add-a", host=name, addresses=["127.0.0.1"])
        try:
            yield
        finally:
            self.tell("clear-a", host=name)

    def signed(self, certificate: x509.Certificate) -> bool:
        return "Pebble" in certificate.issuer.rfc4514_string()


def certify(address: str, folder: Path):
    """Make api.pem and api.key: for the API itself, which speaks HTTPS only."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the API of Pebble")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "api.pem").write_bytes(certificate.public_bytes(encoding))
    (folder / "api.key").write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))


def free_port(address: str, kind=socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def fetch(url: str, process: subprocess.Popen, log: Path) -> bytes:
    """The answer, as soon as there is one."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=SECONDS, context=ssl._create_unverified_context()) as answer:
                return answer.read()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > end:
                raise CouldNotCheck(f"{process.args[0]} doesn't answer ({error}):\n{log.read_text()}") from error
            time.sleep(0.05)


@contextlib.contextmanager
def authority(address: str, machine: str, folder: Path):
    """Run it on this computer's `address`; every name leads to the machine."""
    missing = [program for program in ("pebble", "pebble-challtestsrv") if not shutil.which(program)]
    if missing:
        raise CouldNotCheck(f"{' and '.join(missing)} isn't here. Next: apt-get install pebble")
    certify(address, folder)
    api, management, names, tell = (free_port(address) for _ in range(4))
    settings = {
        "listenAddress": f"{address}:{api}",
        "managementListenAddress": f"{address}:{management}",
        "certificate": str(folder / "api.pem"),
        "privateKey": str(folder / "api.key"),
        "httpPort": 80,
        "tlsPort": 443,
        "certificateValidityPeriod": 90 * 86400,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    resolver = ["pebble-challtestsrv", "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]
    resolver += ["-dns01", f"{address}:{names}", "-management", f"{address}:{tell}", "-defaultIPv4", machine]
    pebble = ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"{address}:{names}"]
    with running(resolver, folder / "names.log"), running(pebble, folder / "pebble.log") as process:
        root = fetch(f"https://{address}:{management}/roots/0", process, folder / "pebble.log")
        (folder / "trust.pem").write_bytes((folder / "api.pem").read_bytes() + root)
        found = Authority(
            f"https://{address}:{api}/dir", folder / "trust.pem", folder / "pebble.log", f"http://{address}:{tell}"
        )
        yield found


@contextlib.contextmanager
def running(command: list[str], log: Path):
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **WITHOUT_LUCK})
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def reason(text: str) -> str:
    """What the CA itself said, out of certbot's words."""
    found = re.search(r"Detail: .*", text)
    return found[0] if found else ""
