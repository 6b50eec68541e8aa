"""Python and nginx: nginx itself answers under its name, and under no other; and Python can make what apps live in."""

import http.client
import re

import client
from judge import NotMet

PORTS = {22, 80, 443}
UNKNOWN = "sanso-lab.invalid"
# As a release does it, but for the packages; what makes pip come into it is asked by itself, for it takes seconds.
VENV = """
cd "$(mktemp -d)" || exit
trap 'rm -r "$PWD"' EXIT
python3 -m ensurepip --version && python3 -m venv --without-pip venv &&
venv/bin/python -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)'
"""


def test_nginx(lab):
    # A file that isn't there is nginx's own to answer for: no app takes part, and nginx has to prove that it did.
    lab.page("/static/sanso-lab", 404, tiers=["nginx"])


def test_redirect(lab):
    answer = lab.ask("/a/page", secure=False)
    found = f"{answer.status} {answer.headers.get('Location', '')}".strip()
    lab.expect(f"301 https://{lab.name}/a/page", found)


def test_names(lab):
    said = refusal(lab)
    lab.expect("TLS refuses a name that is nobody's", said or "it shakes hands", said == "TLSV1_UNRECOGNIZED_NAME")
    try:
        status = client.request(lab.server, UNKNOWN, secure=False).status
    except http.client.RemoteDisconnected:
        return
    except OSError as error:
        raise NotMet("plain HTTP for it is closed without an answer", f"no connection: {error}") from error
    lab.expect("plain HTTP for it is closed without an answer", status)


def test_ports(lab):
    lines = [line.split() for line in lab.lines(lab.run("ss -Hltnp"))]
    others = [
        " ".join([line[3], *line[5:]])
        for line in lines
        if not re.match(r"127\.|\[::1\]", line[3]) and int(line[3].rpartition(":")[2]) not in PORTS
    ]
    lab.expect("no listener but those on 22, 80 and 443", "; ".join(others), not others)


def test_python(lab):
    done = lab.server.host.run("sh -c %s", VENV)
    lab.expect("python3 makes a virtual environment", (done.stdout + done.stderr).strip(), done.succeeded)


def refusal(lab) -> str:
    """Why TLS won't shake hands under a name that is nobody's; empty if it does."""
    try:
        return client.refusal(lab.server, UNKNOWN)
    except OSError as error:
        raise NotMet("TLS refuses a name that is nobody's", f"no connection: {error}") from error
