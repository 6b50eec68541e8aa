"""sslyze and testssl: what the web server offers in TLS, asked from this computer."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from sanso.audit.model import FAIL, WARN, CouldNotAudit, Figure, Finding, NotInstalled, Outcome, Target
from sanso.audit.running import Running, last_line, version_of

SSLYZE, TESTSSL = "sslyze", "testssl"
SECONDS = {SSLYZE: 60, TESTSSL: 600}
# All that it tests but how some forty clients would get on: that takes half of the time, and never is a finding.
PARTS = ("-p", "-s", "-f", "-P", "-S", "-h", "-U")
SEVERITIES = {"LOW": WARN, "MEDIUM": WARN, "HIGH": FAIL, "CRITICAL": FAIL}


def sslyze(target: Target, running: Running) -> Outcome:
    """Compare every site with Mozilla's configuration, a copy of which sslyze carries."""
    findings = []
    for site in target.sites:
        where = f"{target.address}:443" if ":" not in target.address else f"[{target.address}]:443"
        words = [sys.executable, "-P", "-m", "sslyze", "--mozilla_config", target.tls]
        words += ["--certinfo_ca_file", str(target.ca)] if target.ca else []
        # It prints sets: they should look the same each time.
        quiet = {"PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}
        done = running.run([*words, f"{site}:443{{{target.address}}}"], SECONDS[SSLYZE], **quiet)
        findings += parse_sslyze(done.stdout, done.stderr, site, where)
    figure = Figure(SSLYZE, f"sslyze: Mozilla's {target.tls}, mismatches", len(findings))
    return Outcome(SSLYZE, version_of(SSLYZE), [figure], findings)


def parse_sslyze(said: str, messages: str, site: str, where: str = "") -> list[Finding]:
    """Read the verdict at the end of what sslyze prints: its JSON doesn't have it."""
    verdict = re.search(r"(?m)^ +\S+: (OK - Compliant|FAILED - Not compliant)\.\n((?: +\* .*\n?)*)", said)
    if not verdict:
        error = re.search(r"=> ((?:WARNING|ERROR).*)", said)
        words = error[1] if error else last_line(messages or said)
        raise CouldNotAudit(f"sslyze could not compare {site} at {where}: {words}", "./sanso check --tier web")
    found = re.findall(r"(?m)^ +\* ([\w.-]+): (.*)$", verdict[2])
    if verdict[1].startswith("FAILED") and not found:
        raise CouldNotAudit(f"sslyze says that {site} does not match, but not why")
    return [Finding(SSLYZE, name, FAIL, f"{site}: {text}") for name, text in found]


def testssl(target: Target, running: Running) -> Outcome:
    """Look for weaknesses of the first site. It takes a minute, so one stands for all: they share a server."""
    program = shutil.which("testssl") or shutil.which("testssl.sh")
    if not program:
        raise NotInstalled("testssl isn't installed on this computer", "apt install testssl.sh, then again")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "testssl.json"
        words = [program, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "min", "--severity", "LOW"]
        words += ["--ip", target.address, "--jsonfile", str(file), *PARTS]
        words += ["--add-ca", str(target.ca)] if target.ca else []
        # What this computer says in another language, testssl doesn't understand.
        done = running.run([*words, f"{target.sites[0]}:443"], SECONDS[TESTSSL], LC_ALL="C", PATH=path())
        if not file.exists():
            raise CouldNotAudit(f"testssl wrote no result: {last_line(done.stderr or done.stdout)}")
        return parse_testssl(file.read_text(errors="replace"), done.stdout)


def path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def parse_testssl(text: str, said: str = "") -> Outcome:
    try:
        entries = json.loads(text)
        findings = [
            Finding(TESTSSL, each["id"], SEVERITIES[each["severity"]], f"{each['severity']}: {each['finding'].strip()}")
            for each in entries
            if each["severity"] in SEVERITIES
        ]
        broken = [each["finding"] for each in entries if each["severity"] == "FATAL"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CouldNotAudit(f"testssl's result can't be read: {last_line(said or text)}") from None
    if broken:
        raise CouldNotAudit(f"testssl could not go on: {broken[0]}")
    # A run that was broken off has findings too, but fewer: only its last words tell.
    if " Done " not in said:
        raise CouldNotAudit(f"testssl did not come to its end: {last_line(said)}")
    version = re.search(r"testssl(?:\.sh)? +(?:version +)?(\d[\w.]*)", said)
    return Outcome(
        TESTSSL,
        version[1] if version else "",
        [Figure(TESTSSL, "testssl findings at LOW or worse", len(findings))],
        findings,
    )
