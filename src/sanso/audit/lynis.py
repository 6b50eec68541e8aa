"""Lynis on the server, from the server's own distribution, and gone without a trace afterwards.

It is downloaded, unpacked and run below /run, in a transient unit: whatever ends that (the audit, its time limit, a
connection that breaks, a reboot), systemd removes the folder. Nothing is installed, and no package runs its scripts.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import shutil
import tempfile
from pathlib import Path

from sanso.audit.model import FAIL, WARN, CouldNotAudit, Figure, Finding, Outcome, Target
from sanso.audit.running import Running, last_line

NAME = "lynis"
SECONDS = 600
NO_PACKAGE = 77  # the script's exit code where the server's archive doesn't give Lynis
KINDS = {"warning[]": FAIL, "suggestion[]": WARN}

SERVERS_OWN = "apt-get -qq -o Dir::Cache={folder}/apt -o APT::Update::Error-Mode=any download lynis >&2 || exit 77"
BROUGHT = "cat >lynis.deb"
# Without a $ or a %, which systemd-run would expand. The network and its data are _apt's business, not root's. Lynis
# would bring apt's lists up to date, which is the server's own business.
SCRIPT = """
set -eu
export LC_ALL=C
cd {folder}
: >began
install -d -o _apt deb apt/archives/partial
cd deb
{get}
cd ../
dpkg-deb -x deb/*.deb x
echo refresh-repositories=no >>x/etc/lynis/default.prf
cd x/usr/share/lynis
sh ../../sbin/lynis audit system --quiet --no-colors --profile {folder}/x/etc/lynis/default.prf \\
    --plugindir {folder}/x/etc/lynis/plugins --logfile {folder}/log --report-file {folder}/report >&2 || :
cat {folder}/report
"""
# What Lynis leaves when it is killed.
TIDY = "-/usr/bin/find /tmp /run -maxdepth 1 -user root -name lynis.* -newer {folder}/began -delete"


def audit(target: Target, running: Running) -> Outcome:
    try:
        report = on_server(target, running, SERVERS_OWN)
    except NoPackage as none:
        with package_from_here(running, str(none)) as package:
            report = on_server(target, running, BROUGHT, package)
    return parse(report)


class NoPackage(Exception):
    """The server's archive doesn't give Lynis, for the reason in the message."""


def on_server(target: Target, running: Running, get: str, package: Path | None = None) -> str:
    """Run Lynis there; gives its report."""
    unit = f"sanso-audit-{secrets.token_hex(4)}"
    folder = f"/run/{unit}"
    script = SCRIPT.format(folder=folder, get=get.format(folder=folder))
    properties = [
        f"RuntimeDirectory={unit}",
        "RuntimeDirectoryMode=0711",
        f"RuntimeMaxSec={SECONDS}",
        f"ExecStopPost={TIDY.format(folder=folder)}",
    ]
    words = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--unit={unit}"]
    words += [f"--property={each}" for each in properties]
    command = as_root(shlex.join([*words, "sh", "-c", script]))
    ended = False
    try:
        with contextlib.ExitStack() as stack:
            stdin = stack.enter_context(package.open("rb")) if package else None
            done = running.run(target.way.automatic(command), SECONDS + 10, stdin=stdin)
        ended = done.returncode != 255
    finally:
        if not ended:
            target.way.run(as_root(f"systemctl stop {unit}.service"))
    if done.returncode == NO_PACKAGE:
        raise NoPackage(last_line(done.stderr))
    if done.returncode:
        raise could_not(target, done)
    return done.stdout


def as_root(command: str) -> str:
    return f'[ "$(id -u)" = 0 ] || exec sudo -n {command}; exec {command}'


def could_not(target: Target, done) -> CouldNotAudit:
    if done.returncode == 255:
        return CouldNotAudit(*target.way.explain(done.stderr or "the connection broke off"))
    return CouldNotAudit(f"Lynis could not be run on {target.name}: {last_line(done.stderr)}")


@contextlib.contextmanager
def package_from_here(running: Running, reason: str):
    """Give Lynis's package from this computer's archive, for a server that can't get it."""
    hint = "apt-get update there, or on a Debian or Ubuntu computer here, lets Lynis be downloaded"
    if not shutil.which("apt-get"):
        raise CouldNotAudit(f"the server can't download Lynis ({reason}), and there is no apt-get here", hint)
    with tempfile.TemporaryDirectory() as folder:
        script = f"cd {shlex.quote(folder)} && exec apt-get -qq download lynis"
        done = running.run(["sh", "-c", script], 60, LC_ALL="C")
        packages = list(Path(folder).glob("*.deb"))
        if done.returncode or not packages:
            raise CouldNotAudit(
                f"neither the server ({reason}) nor this computer ({last_line(done.stderr)}) can download Lynis", hint
            )
        yield packages[0]


def parse(report: str) -> Outcome:
    """Read the report that Lynis writes for programs."""
    values = dict(re.findall(r"(?m)^(lynis_version|hardening_index|finish)=(.*)$", report))
    if values.get("finish") != "true" or not values.get("hardening_index", "").isdecimal():
        raise CouldNotAudit("Lynis did not come to its end: its report has no index")
    version = values.get("lynis_version", "")
    outcome = Outcome(NAME, version)
    outcome.figures.append(
        Figure("lynis", f"Lynis {version} hardening index".replace("  ", " "), int(values["hardening_index"]))
    )
    for kind, text in re.findall(r"(?m)^(warning\[\]|suggestion\[\])=(.*)$", report):
        test, said, details, solution = (*text.split("|"), "", "", "")[:4]
        parts = [part for part in (said, details) if part not in ("", "-")]
        solution = solution.removeprefix("text:")
        advice = solution if solution not in ("", "-") else f"cisofy.com/lynis/controls/{test}/ explains it"
        outcome.findings.append(Finding(NAME, test, KINDS[kind], ": ".join(parts), advice))
    return outcome
