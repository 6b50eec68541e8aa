"""The TCP ports that are open from this computer: each of the 65535 is connected to, and left at once."""

from __future__ import annotations

import errno
import resource
import selectors
import socket
import time

from sanso.audit.model import FAIL, CouldNotAudit, Figure, Finding, Outcome, Target
from sanso.audit.running import Running

NAME = "ports"
PORTS = range(1, 65536)
AT_ONCE = 4000
ROUND_TRIPS, AT_LEAST, AT_MOST = 20, 0.3, 2.0  # how long an answer may take, in round trips and seconds
PENDING = (errno.EINPROGRESS, errno.EWOULDBLOCK)


def audit(target: Target, running: Running) -> Outcome:
    return judge(scan(target.address, wait_for(target), running), target)


def wait_for(target: Target) -> float:
    """How long to wait for an answer: a firewall that drops gives none, and a far server's takes longer."""
    began = time.monotonic()
    try:
        socket.create_connection((target.address, target.way.port), timeout=5).close()
    except OSError as error:
        raise CouldNotAudit(f"{target.address}:{target.way.port} doesn't answer: {error}") from error
    return min(max((time.monotonic() - began) * ROUND_TRIPS, AT_LEAST), AT_MOST)


def scan(address: str, seconds: float, running: Running, ports=PORTS) -> set[int]:
    """The open ones of these ports. Those that seem closed to a busy computer are not asked again."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found, ports, size = set(), list(ports), at_once()
    for start in range(0, len(ports), size):
        if running.stopped.is_set():
            raise CouldNotAudit("the audit was broken off")
        found |= look(family, address, ports[start : start + size], seconds)
    return found


def look(family, address: str, ports: list[int], seconds: float) -> set[int]:
    found = set()
    with selectors.DefaultSelector() as selector:
        try:
            for port in ports:
                try:
                    attempt = socket.socket(family, socket.SOCK_STREAM)
                except OSError as error:
                    raise CouldNotAudit(f"this computer can't open so many connections: {error.strerror}") from error
                attempt.setblocking(False)
                code = attempt.connect_ex((address, port))
                if code in PENDING:
                    selector.register(attempt, selectors.EVENT_WRITE, port)
                    continue
                attempt.close()
                if code == 0:
                    found.add(port)
            until = time.monotonic() + seconds
            while selector.get_map() and (left := until - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                        found.add(key.data)
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
        finally:
            for key in list((selector.get_map() or {}).values()):
                key.fileobj.close()
    return found


def at_once() -> int:
    """As many connections as this process may have open, with some left for the other auditors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = AT_ONCE + 200 if hard == resource.RLIM_INFINITY else min(AT_ONCE + 200, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return AT_ONCE if soft == resource.RLIM_INFINITY else max(min(AT_ONCE, soft - 200), 50)


def judge(found: set[int], target: Target) -> Outcome:
    def words(ports) -> str:
        return " ".join(map(str, sorted(ports))) or "none"

    why = dict.fromkeys(found - target.allowed, "open, and neither SSH's port nor one of os_firewall_tcp_ports")
    why |= dict.fromkeys(target.needed - found, "closed, and what the server is there for needs it")
    findings = [Finding(NAME, f"tcp/{port}", FAIL, f"port {port} is {said}") for port, said in sorted(why.items())]
    expected = target.needed if found <= target.needed else target.allowed
    figure = Figure(NAME, "open TCP ports from outside", len(findings), words(found), words(expected))
    return Outcome(NAME, "", [figure], findings)
