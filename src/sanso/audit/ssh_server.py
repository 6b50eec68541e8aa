"""ssh-audit: the algorithms that the SSH server offers."""

from __future__ import annotations

import json
import re
import socket
import sys
import time

from sanso.audit.model import FAIL, WARN, CouldNotAudit, Figure, Finding, Outcome, Target
from sanso.audit.running import Running, last_line, version_of

NAME = "ssh-audit"
SECONDS = 60
FORGIVEN = 60  # seconds in which a server that refused us for asking too often takes us again
PARTS = {"kex": "key exchange", "key": "host key", "enc": "cipher", "mac": "MAC"}
REFUSED = "did not receive banner"


def audit(target: Target, running: Running) -> Outcome:
    """Ask twice, if need be: OpenSSH refuses for a while who connects often without logging in (PerSourcePenalties)."""
    done = ask(target, running)
    if REFUSED in done.stdout + done.stderr and wait_until_open(target, running):
        done = ask(target, running)
    outcome = parse(done.stdout, done.stderr)
    # Whoever logs in next should not be the one who is refused.
    wait_until_open(target, running)
    return outcome


def ask(target: Target, running: Running):
    # Its test of how many connections a second are taken is what brings the refusal: without it, none was ever seen.
    words = [
        sys.executable,
        "-P",
        "-m",
        "ssh_audit.ssh_audit",
        "--json",
        "--skip-rate-test",
        "--port",
        str(target.way.port),
    ]
    return running.run([*words, target.address], SECONDS)


def wait_until_open(target: Target, running: Running) -> bool:
    until = time.monotonic() + FORGIVEN
    while not is_open(target):
        if time.monotonic() > until or running.stopped.wait(2):
            return False
    return True


def is_open(target: Target) -> bool:
    """Tell whether the SSH server talks to us: one that doesn't hangs up, or says so instead of its version."""
    try:
        with socket.create_connection((target.address, target.way.port), timeout=5) as connection:
            return connection.recv(100).startswith(b"SSH-")
    except OSError:
        return False


def parse(said: str, messages: str = "") -> Outcome:
    try:
        data = json.loads(next((line for line in said.splitlines() if line.startswith("{")), ""))
        if not all(isinstance(data.get(part), list) for part in PARTS):
            raise ValueError
        noted = [(part, each) for part in PARTS for each in data[part]]
        findings = [
            Finding(NAME, f"{part}:{each['algorithm']}", severity, f"{PARTS[part]} {each['algorithm']}: {text}")
            for part, each in noted
            for severity in (FAIL, WARN)
            for text in each.get("notes", {}).get(severity, [])
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        words = re.sub(r"\x1b\[[\d;]*m", "", last_line(messages or said))
        raise CouldNotAudit(
            f"ssh-audit could not ask the SSH server: {words}",
            "if the server refuses who connects often (PerSourcePenalties, fail2ban, the firewall), wait a minute",
        ) from None
    count = {severity: sum(each.severity == severity for each in findings) for severity in (FAIL, WARN)}
    return Outcome(
        NAME,
        version_of(NAME),
        [Figure(f"{NAME}:{severity}", f"ssh-audit {severity}", number) for severity, number in count.items()],
        findings,
    )
