"""What auditors really printed (outputs/, shortened), and what they might."""

from __future__ import annotations

from pathlib import Path

import pytest

from sanso.audit import lynis, ssh_server, tls, units
from sanso.audit.model import CouldNotAudit, Finding

OUTPUTS = Path(__file__).parent / "outputs"
UNITS = {"nginx": "nginx.service", "mysql": "mysql.service", "app-faults": "app-faults@current.service"}


def output(name: str) -> str:
    return (OUTPUTS / name).read_text()


def values(outcome) -> dict[str, float]:
    return {figure.key: figure.value for figure in outcome.figures}


def garbage(parse):
    """Each auditor's parser takes nonsense, and what was cut short, for what it is."""
    return pytest.mark.parametrize("text", ["", "\0\ufffd", "{", "[]", "[1]", "{}", '{"kex": 1}', "null"])(parse)


# Lynis


def test_lynis_gives_its_index_and_its_version():
    outcome = lynis.parse(output("lynis-report.dat"))
    assert (values(outcome), outcome.version) == ({"lynis": 66}, "3.1.6")


def test_lynis_suggestion_says_its_details_and_where_it_is_explained():
    found = {each.id: each for each in lynis.parse(output("lynis-report.dat")).findings}
    assert found["SSH-7408"].said == "Consider hardening SSH configuration: AllowTcpForwarding (set YES to NO)"
    assert found["SSH-7408"].next == "cisofy.com/lynis/controls/SSH-7408/ explains it"
    assert found["FILE-7524"].next == "Use chmod to change file permissions"


def test_lynis_gives_a_finding_for_each_line_of_the_same_test():
    found = [each.said for each in lynis.parse(output("lynis-report.dat")).findings if each.id == "NETW-3200"]
    assert found == [f"Determine if protocol '{name}' is really needed on this system" for name in ("dccp", "sctp")]


def test_lynis_warning_is_graver_than_a_suggestion():
    report = output("lynis-report.dat") + "warning[]=PKGS-7392|Found one or more vulnerable packages.|-|-|\n"
    assert {each.severity for each in lynis.parse(report).findings if each.id == "PKGS-7392"} == {"fail"}


def test_lynis_that_was_cut_short_is_no_figure():
    with pytest.raises(CouldNotAudit, match="did not come to its end"):
        lynis.parse(output("lynis-report.dat").replace("finish=true", ""))


@garbage
def test_lynis_garbage_is_no_figure(text):
    with pytest.raises(CouldNotAudit):
        lynis.parse(text)


# systemd-analyze


def test_units_give_their_exposure():
    outcome = units.parse(output("systemd-analyze.txt"), UNITS)
    assert values(outcome) == {"exposure:nginx": 9.6, "exposure:mysql": 9.2, "exposure:app-faults": 0.2}
    assert outcome.version == "259"


def test_units_give_what_they_leave_open_as_notes():
    found = units.parse(output("systemd-analyze.txt"), UNITS).findings
    assert Finding("systemd-analyze", "nginx User=/DynamicUser=", "note", "Service runs as root user (0.4)") in found
    assert not [each for each in found if "SupplementaryGroups" in each.id and each.id.startswith("nginx")]


def test_unit_that_is_not_there_is_named_with_the_reason():
    said = "systemd 259\n== nginx.service\nUnit nginx.service not found, cannot analyze.\n"
    with pytest.raises(CouldNotAudit, match=r"nothing about nginx.service: Unit nginx.service not found"):
        units.parse(said, {"nginx": "nginx.service"})


@garbage
def test_units_garbage_is_no_figure(text):
    with pytest.raises(CouldNotAudit):
        units.parse(text, UNITS)


# ssh-audit


def test_ssh_audit_counts_what_fails_and_what_warns():
    outcome = ssh_server.parse(output("ssh-audit.json"))
    count = {word: sum(each.severity == word for each in outcome.findings) for word in ("fail", "warn")}
    assert values(outcome) == {"ssh-audit:fail": count["fail"], "ssh-audit:warn": count["warn"]}
    assert count["fail"]
    assert count["warn"]


def test_ssh_audit_names_the_algorithm():
    found = ssh_server.parse(output("ssh-audit.json")).findings
    said = "key exchange curve25519-sha256: does not provide protection against post-quantum attacks"
    assert Finding("ssh-audit", "kex:curve25519-sha256", "warn", said) in found


def test_ssh_audit_that_is_refused_tells_so():
    said = '{"additional_notes": [], "banner": {"raw": ""}, "cves": [], "recommendations": {}, "target": "a:22"}\n'
    words = "\x1b[0;31m[exception] did not receive banner: Connection reset by peer\x1b[0m\n"
    with pytest.raises(CouldNotAudit, match=r"did not receive banner: Connection reset by peer$") as caught:
        ssh_server.parse(said, words)
    assert "PerSourcePenalties" in caught.value.next_step


@garbage
def test_ssh_audit_garbage_is_no_figure(text):
    with pytest.raises(CouldNotAudit):
        ssh_server.parse(text)


# sslyze


def test_sslyze_names_each_mismatch():
    found = tls.parse_sslyze(output("sslyze-modern.txt"), "", "audit.test")
    assert [each.id for each in found] == ["tls_versions", "ciphers", "tls_curves"]
    assert found[0].said == "audit.test: TLS versions {'TLSv1.2'} are supported, but should be rejected."


def test_sslyze_that_finds_nothing_gives_nothing():
    said = output("sslyze-intermediate.txt").partition("FAILED")[0] + "OK - Compliant.\n"
    assert tls.parse_sslyze(said, "", "audit.test") == []


def test_sslyze_that_gets_no_connection_is_no_pass():
    said = "   a.test:443            => ERROR: Connection to the server failed; discarding scan.\n"
    with pytest.raises(CouldNotAudit, match=r"could not compare a.test .*: ERROR: Connection to the server failed"):
        tls.parse_sslyze(said, "", "a.test", "192.0.2.1:443")


def test_sslyze_that_fails_without_a_reason_is_no_pass():
    with pytest.raises(CouldNotAudit, match="but not why"):
        tls.parse_sslyze("    a.test:443: FAILED - Not compliant.\n\n", "", "a.test")


@garbage
def test_sslyze_garbage_is_no_pass(text):
    with pytest.raises(CouldNotAudit):
        tls.parse_sslyze(text, "", "a.test")


# testssl


def test_testssl_counts_what_is_low_or_worse():
    outcome = tls.parse_testssl(output("testssl.json"), output("testssl.txt"))
    assert values(outcome) == {"testssl": 5}
    assert [each.id for each in outcome.findings] == [
        "cipher_order",
        "cert_revocation",
        "HSTS",
        "security_headers",
        "BREACH",
    ]


def test_testssl_that_was_cut_short_is_no_figure():
    with pytest.raises(CouldNotAudit, match="did not come to its end"):
        tls.parse_testssl(output("testssl.json"), output("testssl.txt").replace("Done", ""))


def test_testssl_that_gets_no_connection_says_why():
    fatal = '[{"id": "scanProblem", "severity": "FATAL", "finding": "Can\'t connect to \'a.test:443\'"}]'
    with pytest.raises(CouldNotAudit, match=r"Can't connect to 'a\.test:443'"):
        tls.parse_testssl(fatal, "")


@garbage
def test_testssl_garbage_is_no_figure(text):
    with pytest.raises(CouldNotAudit):
        tls.parse_testssl(text)
