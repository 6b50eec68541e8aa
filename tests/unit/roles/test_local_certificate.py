"""The local CA signs what a browser accepts, keeps what is good, and replaces what isn't."""

import datetime
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible.module_utils.sanso_trial import Failed
from cryptography import x509

NAMES = ["a.test", "b.test"]


@pytest.fixture(scope="module")
def ca(load):
    return load("roles/nginx/library/local_certificate.py")


@pytest.fixture
def make(ca, tmp_path):
    """make(checking=…, **options) runs it against a folder: the result."""

    def make(checking=False, **options):
        arguments = {"directory": str(tmp_path / "ca"), "host": "host", "certificates": {"shop": NAMES}, "days": 90}
        return ca.run(arguments | options, checking)

    return make


def certificate(tmp_path):
    return x509.load_pem_x509_certificate((tmp_path / "ca/host/shop.pem").read_bytes())


def test_certificate_is_good_for_its_names_and_openssl_verifies_it(make, tmp_path):
    make()
    names = certificate(tmp_path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == NAMES
    context = ssl.create_default_context(cafile=tmp_path / "ca/ca.crt")
    context.load_cert_chain(tmp_path / "ca/host/shop.pem")
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "b.test", "-CAfile"]
    done = subprocess.run(
        [*command, tmp_path / "ca/ca.crt", tmp_path / "ca/host/shop.pem"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_lock_is_given_back_before_the_file_is_closed(ca, make, monkeypatch):
    """pyinfra runs on gevent, whose os.close() closes when it comes to it: the same run may want the lock before."""
    late, close = [], ca.os.close
    monkeypatch.setattr(ca.os, "close", late.append)
    monkeypatch.setattr(
        ca.fcntl, "flock", lambda file, kind, flock=ca.fcntl.flock: flock(file, kind | ca.fcntl.LOCK_NB)
    )
    make()
    make()
    for file in late:
        close(file)


def test_runs_that_begin_at_once_have_one_ca(ca, tmp_path):
    """Scenarios of ./sanso test, on a computer that is new. Each certificate fits the CA that is there in the end."""
    directory = tmp_path / "ca"

    def make(number):
        certificates = {"shop": [f"{number}.test"]}
        return ca.run(
            {"directory": directory, "host": f"host{number}", "certificates": certificates, "days": 90}, False
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(8)))
    authority = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    made = [x509.load_pem_x509_certificate(path.read_bytes()) for path in directory.glob("*/shop.pem")]
    assert len(made) == 8
    for certificate in made:
        certificate.verify_directly_issued_by(authority)


@pytest.mark.parametrize("name", ["ca.key", "host/shop.pem"])
def test_private_keys_are_readable_by_their_owner_alone(make, tmp_path, name):
    make()
    assert (tmp_path / "ca" / name).stat().st_mode & 0o777 == 0o600


def test_good_certificate_is_kept(make, tmp_path):
    assert make()["changed"]
    first = (tmp_path / "ca/host/shop.pem").read_bytes()
    assert not make()["changed"]
    assert (tmp_path / "ca/host/shop.pem").read_bytes() == first


@pytest.mark.parametrize("names", [["a.test"], [*NAMES, "c.test"]])
def test_other_names_make_a_new_certificate(make, names):
    make()
    assert make(certificates={"shop": names})["changed"]


def test_further_app_gets_a_certificate_of_its_own_and_the_others_keep_theirs(make, tmp_path):
    make()
    first = (tmp_path / "ca/host/shop.pem").read_bytes()
    paths = make(certificates={"shop": NAMES, "blog": ["blog.test"]})["paths"]
    assert paths == {name: str(tmp_path / f"ca/host/{name}.pem") for name in ("shop", "blog")}
    assert (tmp_path / "ca/host/shop.pem").read_bytes() == first


def test_certificates_that_nobody_asks_for_any_more_are_removed(make, tmp_path):
    make(certificates={"shop": NAMES, "blog": ["blog.test"]})
    (tmp_path / "ca/host.pem").touch()  # of the time when a host had one for all its apps
    (tmp_path / "ca/other").mkdir()
    (tmp_path / "ca/other/shop.pem").touch()
    assert make()["changed"]
    assert sorted(str(path.relative_to(tmp_path / "ca")) for path in (tmp_path / "ca").rglob("*.pem")) == [
        "host/shop.pem",
        "other/shop.pem",
    ]


@pytest.mark.parametrize(("days", "replaced"), [(59, False), (61, True)])
def test_certificate_is_replaced_when_a_third_of_its_time_is_left(make, ca, monkeypatch, days, replaced):
    make()
    later = ca.now() + datetime.timedelta(days=days)
    monkeypatch.setattr(ca, "now", lambda: later)
    assert make()["changed"] is replaced


def test_certificate_of_another_ca_is_replaced(make, tmp_path):
    make()
    for name in ("ca.crt", "ca.key"):
        (tmp_path / "ca" / name).unlink()
    assert make()["changed"]


def test_check_mode_writes_nothing(make, tmp_path):
    assert make(checking=True)["changed"]
    assert not (tmp_path / "ca").exists()


@pytest.mark.parametrize("name", ["ca.crt", "ca.key"])
def test_half_a_ca_is_an_error_that_names_its_folder(make, tmp_path, name):
    make()
    (tmp_path / "ca" / name).unlink()
    with pytest.raises(Failed, match=str(tmp_path / "ca")):
        make()


def test_check_mode_hands_out_no_certificate_that_would_be_replaced(make):
    made = make()["paths"]
    assert make(checking=True)["paths"] == made
    assert make(checking=True, certificates={"shop": ["other.test"]})["paths"] == {}
