"""What nginx is given is good, or what it has stays: what the role nginx runs, on any folder."""

import datetime
import os

import pytest
from ansible.module_utils import sanso_certificates
from ansible.module_utils.sanso_trial import Failed
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_pem(*names, days=1, key=None, encryption=None):
    """A PEM file's text: a certificate for these names, signed by itself, and `key` or its own one."""
    own = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(own.public_key())
        .serial_number(1)
        .not_valid_before(end - datetime.timedelta(days=9))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
        .sign(own, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = (key or own).private_bytes(encoding, form, encryption or serialization.NoEncryption())
    return (certificate.public_bytes(encoding) + secret).decode()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install(checking=…, shop=(pem, names)) gives nginx these, in tmp_path/tls: the result, or why not as its msg."""
    # Whose they are, root's alone can say: tests/tiers looks at it.
    monkeypatch.setattr(sanso_certificates, "ids", lambda owner, group, checking: (os.getuid(), os.getgid()))

    def install(checking=False, only_if_missing=False, **certificates):
        described = [
            {"name": name, "names": names, "pem": pem, "only_if_missing": only_if_missing}
            for name, (pem, names) in certificates.items()
        ]
        arguments = {"directory": str(tmp_path / "tls"), "group": "ssl-cert", "certificates": described}
        try:
            return sanso_certificates.run(arguments, checking)
        except Failed as failed:
            return {"msg": str(failed)}

    return install


def there(tmp_path):
    return {path.name: path.read_text() for path in (tmp_path / "tls").glob("*")}


def test_good_ones_are_installed_once(install, tmp_path):
    shop, blog = make_pem("shop.test", "www.shop.test"), make_pem("blog.test")
    apps = {"shop": (shop, ["www.shop.test", "shop.test"]), "blog": (blog, ["blog.test"])}
    assert install(**apps) == {"changed": True, "names": ["shop", "blog"], "diff": []}
    assert there(tmp_path) == {"shop.pem": shop, "blog.pem": blog}
    assert not install(**apps)["changed"]


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        ("nonsense", "there is no certificate in it"),
        (make_pem("shop.test").partition("-----BEGIN PRIVATE")[0], "there is no private key in it"),
        (
            make_pem("shop.test", encryption=serialization.BestAvailableEncryption(b"secret")),
            "there is no private key in it that can be read without a password",
        ),
        (make_pem("shop.test", key=ec.generate_private_key(ec.SECP256R1())), "do not belong together"),
        (make_pem("shop.test", days=-1), "it has ended"),
        (make_pem("www.shop.test"), "it is not good for shop.test, but for www.shop.test"),
        (make_pem("*.shop.test"), "it is not good for shop.test"),
        (make_pem(), "but for no name"),
    ],
)
def test_bad_one_replaces_nothing_and_keeps_the_others_back(install, tmp_path, pem, reason):
    good = make_pem("shop.test")
    install(shop=(good, ["shop.test"]))
    result = install(blog=(make_pem("blog.test"), ["blog.test"]), shop=(pem, ["shop.test"]))
    assert reason in result["msg"]
    assert "PRIVATE KEY" not in result["msg"]
    assert there(tmp_path) == {"shop.pem": good}


@pytest.mark.parametrize("name", ["www.shop.test", "WWW.Shop.test", "*.shop.test"])
def test_wildcard_is_good_for_one_label(install, name):
    pem = make_pem("*.shop.test")
    assert "msg" not in install(shop=(pem, [name]))
    assert "msg" in install(shop=(pem, ["a.b.shop.test"]))


def test_further_name_is_noticed_though_the_file_is_the_same(install):
    pem = make_pem("shop.test")
    install(shop=(pem, ["shop.test"]))
    assert "it is not good for www.shop.test" in install(shop=(pem, ["shop.test", "www.shop.test"]))["msg"]


def test_certificate_of_somebody_else_is_kept(install, tmp_path):
    first = make_pem("shop.test")
    install(only_if_missing=True, shop=(first, ["shop.test"]))
    assert not install(only_if_missing=True, shop=(make_pem("shop.test"), ["shop.test"]))["changed"]
    assert there(tmp_path) == {"shop.pem": first}


def test_check_mode_judges_and_writes_nothing(install, tmp_path):
    assert install(checking=True, shop=(make_pem("shop.test"), ["shop.test"]))["changed"]
    assert install(checking=True, shop=("", ["shop.test"]))["changed"]  # the local CA would make it
    assert "msg" in install(checking=True, shop=(make_pem("a.test"), ["shop.test"]))
    assert not (tmp_path / "tls").exists()


@pytest.mark.parametrize("path", ["tls", "tls/shop.pem"])
def test_key_that_others_may_read_is_closed_again(install, tmp_path, path):
    pem = make_pem("shop.test")
    install(shop=(pem, ["shop.test"]))
    right = (tmp_path / path).stat().st_mode
    (tmp_path / path).chmod(0o777)
    assert install(checking=True, shop=(pem, ["shop.test"]))["changed"]
    assert install(shop=(pem, ["shop.test"]))["changed"]
    assert (tmp_path / path).stat().st_mode == right
