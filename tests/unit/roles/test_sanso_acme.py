"""When another certificate is ordered, and what of certbot's words is the reason of a failure."""

import subprocess
import types
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
SETTINGS = {
    "directory": "https://ca.test/dir",
    "email": "",
    "ca": False,
    "hook": False,
    "apps": {"shop": ["shop.test"]},
}
KEPT = "server = https://ca.test/dir\nauthenticator = webroot\n"


@pytest.fixture
def tool(load, tmp_path, monkeypatch):
    found = load("roles/acme/files/usr/local/sbin/sanso-acme")
    monkeypatch.setattr(found, "LETSENCRYPT", tmp_path / "letsencrypt")
    monkeypatch.setattr(found, "SERVED", tmp_path / "tls")
    return found


@pytest.fixture
def lineage(tool, tmp_path):
    """What certbot has for the app shop, served by nginx; lineage(days=…) makes it end then."""

    def lineage(days=9):
        folder = tmp_path / "letsencrypt/live/sanso-shop"
        folder.mkdir(parents=True)
        (tmp_path / "letsencrypt/renewal").mkdir()
        (tmp_path / "letsencrypt/renewal/sanso-shop.conf").write_text(KEPT)
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", "/CN=x", "-addext", "subjectAltName=DNS:shop.test", "-days", str(days)]
        command += ["-keyout", "privkey.pem", "-out", "fullchain.pem"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        (tmp_path / "tls").mkdir()
        (tmp_path / "tls/shop.pem").write_text(tool.Lineage("shop").pem)

    return lineage


def test_role_nginx_serves_from_where_the_tool_writes_to(tool, load):
    nginx = yaml.safe_load((ROOT / "roles/nginx/vars/main.yml").read_text())
    fresh = load("roles/acme/files/usr/local/sbin/sanso-acme")
    assert (str(fresh.SERVED), str(fresh.ROOT)) == (nginx["__nginx_certificates"], nginx["__nginx_challenges"])


def test_nothing_is_to_be_done_where_all_is_as_it_should_be(tool, lineage):
    lineage()
    found = tool.plan(SETTINGS)
    assert (found["order"], found["changes"]) == ({}, False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"apps": {"blog": ["blog.test"]}}, "there is none yet"),
        ({"apps": {"shop": ["shop.test", "www.shop.test"]}}, "its names are others"),
        ({"directory": "https://other.test/dir"}, "it is from another CA"),
        ({"hook": True}, "the proof is another one"),
    ],
)
def test_order_is_due_when(tool, lineage, changes, reason):
    lineage()
    assert list(tool.plan(SETTINGS | changes)["order"].values()) == [reason]


def test_order_is_due_when_the_certificate_has_ended(tool, lineage, monkeypatch):
    lineage(days=1)
    asked = tool.openssl
    ended = lambda file, *words: (1, "") if "-checkend" in words else asked(file, *words)  # noqa: E731 -- no clock to set
    monkeypatch.setattr(tool, "openssl", ended)
    assert tool.plan(SETTINGS)["order"] == {"shop": "it has ended"}


def test_certificate_that_nginx_did_not_get_yet_is_a_change(tool, lineage, tmp_path):
    lineage()
    (tmp_path / "tls/shop.pem").write_text("the local CA's")
    found = tool.plan(SETTINGS)
    assert (found["order"], found["changes"]) == ({}, True)


def test_app_that_is_gone_is_a_change(tool, lineage):
    lineage()
    assert tool.plan(SETTINGS | {"apps": {}})["changes"]


def test_ca_s_reason_is_what_remains_of_certbots_words(tool, monkeypatch):
    out = (
        "Requesting a certificate for shop.test\n\nThe Certificate Authority reported these problems:\n"
        "  Domain: shop.test\n  Type:   connection\n  Detail: refused\n"
    )
    err = "Saving debug log to /var/log/x\nSome challenges have failed.\nAsk for help or search for solutions at x.\n"
    done = types.SimpleNamespace(returncode=1, stdout=out, stderr=err)
    monkeypatch.setattr(tool, "run", lambda *command, **options: done)
    with pytest.raises(tool.Failure) as caught:
        tool.certbot(SETTINGS, "certonly")
    assert [line.strip() for line in str(caught.value).splitlines()][1:] == [
        "Domain: shop.test",
        "Type:   connection",
        "Detail: refused",
        "Some challenges have failed.",
    ]
