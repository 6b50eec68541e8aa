#!/usr/bin/python
"""Ask names over HTTP for a file, as an ACME CA does, and say who answered instead."""

from __future__ import annotations

DOCUMENTATION = r"""
module: challenge_path
short_description: See whether a CA would find a proof under each name
description:
  - Resolves each name here, asks each of its addresses for the path, and compares what comes back, redirects included.
  - An address of a kind that this computer has no route to (IPv6, mostly) is passed over.
options:
  names: {description: Host names., type: list, elements: str, required: true}
  path: {description: What is asked for., type: str, required: true}
  content: {description: What must come back., type: str, required: true}
  server: {description: "Where the names should lead to, for messages.", type: str, required: true}
"""

import errno
import http.client
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request

from ansible.module_utils.sanso_module import serve
from ansible.module_utils.sanso_trial import Failed

SECONDS = 10
NO_ROUTE = {errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
REDIRECTS = {301, 302, 303, 307, 308}


def addresses(name):
    return list(dict.fromkeys(found[4][0] for found in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)))


def get(address, name, path):
    """GET it from that address under that name: (status, Server header, body)."""
    connection = http.client.HTTPConnection(address, 80, timeout=SECONDS)
    try:
        connection.request("GET", path, headers={"Host": name})
        answer = connection.getresponse()
        body = answer.read(4096)
        if answer.status not in REDIRECTS:
            return answer.status, answer.headers.get("Server", ""), body
        location = urllib.parse.urljoin(f"http://{name}{path}", answer.headers["Location"])
    finally:
        connection.close()
    return follow(location)


def follow(url):
    # The CA doesn't ask who a redirect leads to, either.
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ssl._create_unverified_context())]
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=SECONDS) as answer:
            return answer.status, answer.headers.get("Server", ""), answer.read(4096)
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Server", ""), b""


def problem(name, path, content, server):
    """Why the CA would not find the proof under a name; empty if it would."""
    try:
        found = addresses(name)
    except OSError as error:
        return (
            f"it has no address here ({error.strerror or error}). Next: make a DNS record for it that leads to {server}"
        )
    judged = 0
    for address in found:
        where = f"it leads to {address}"
        try:
            status, software, body = get(address, name, path)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in NO_ROUTE:
                continue
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return (
                f"{where}, where port 80 gave no answer ({said}). Next: if that is this server, let port 80 through "
                f"the firewalls in front of it; if not, let the name's DNS record lead to {server}"
            )
        judged += 1
        if status != 200 or body.strip() != content.encode():
            software = f" by {software.strip()}" if software else ""
            return (
                f"{where}, which answered {status}{software} instead of the proof. Next: let the name's DNS record "
                f"lead to {server}, or take what stands in front of it away from /.well-known/acme-challenge/"
            )
    return "" if judged else f"this computer has no route to {', '.join(found)}. Next: acme_try_from_controller: false"


def run(arguments, checking):
    names, path = arguments["names"], arguments["path"]
    found = {name: problem(name, path, arguments["content"], arguments["server"]) for name in names}
    lines = [f"  http://{name}{path}: {said}" for name, said in found.items() if said]
    if lines:
        raise Failed("The CA would find no proof, and was not asked:\n" + "\n".join(lines))
    return {"changed": False}


if __name__ == "__main__":
    serve(
        run,
        {
            "names": {"type": "list", "elements": "str", "required": True},
            "path": {"type": "str", "required": True},
            "content": {"type": "str", "required": True},
            "server": {"type": "str", "required": True},
        },
    )
