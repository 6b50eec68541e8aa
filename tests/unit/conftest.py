"""What the tests of several parts share: a CA, a server whose tiers all write what they should, a browser."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from traced_server import NAME, TracedServer
from warm_pyinfra import WarmPyinfra


@pytest.fixture(scope="session")
def ca(tmp_path_factory):
    """A CA whose own certificate is also the server's; its key lies beside it."""
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
def traced(ca, tmp_path):
    """A server on this computer that can be traced."""
    with TracedServer(tmp_path, ca) as running:
        yield running


@pytest.fixture(scope="session")
def pyinfra(tmp_path_factory):
    """pyinfra.run(words, folder) runs it with the environment of now."""
    with WarmPyinfra(tmp_path_factory.mktemp("pyinfra")) as warm:
        yield warm


@pytest.fixture
def project(tmp_path):
    """project({name: text}) makes a folder `shop` with these files."""
    folder = tmp_path / "shop"
    folder.mkdir()

    def project(files):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    return project


def browsers() -> list[str | None]:
    """Where a browser may be: those of the system, and Playwright's own. A snap's sees none of our files."""
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    return [path for path in found if path and "/snap/" not in str(Path(path).resolve()) + path] + [None]


# Not for the whole session: its event loop would be in the way of other tests'.
@pytest.fixture(scope="module")
def browser():
    """A real browser: Debian's Chromium, or else Playwright's own."""
    from playwright import sync_api  # only then: it takes longer to load than most tests run

    problems = []
    with sync_api.sync_playwright() as playwright:
        for path in browsers():
            try:
                launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            except sync_api.Error as error:
                problems.append(f"{path or 'its own'}: {error.message}")
                continue
            yield launched
            launched.close()
            return
    pytest.fail("No browser could be started: ./sanso test unit installs one.\n" + "\n".join(problems))
