"""Which hosts can be reached, and what to do about the others."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

from sanso import console, machines
from sanso.console import Failure
from sanso.inventory import Host, Inventory
from sanso.ssh import Way

UNKNOWN_KEY = "Host key verification failed"


def problems(described: Inventory) -> dict[str, tuple[str, str]]:
    """(What is wrong, what to do) for each host that can't be reached; all are asked at once."""

    def problem(host: Host):
        if host.is_machine and not machines.record(host):
            return f"the machine {host.name} doesn't exist", f"./sanso up{described.option}"
        if host.is_machine and not machines.is_running(host):
            return f"the machine {host.name} doesn't run", f"./sanso up{described.option}"
        return Way.to(host).problem()

    hosts = list(described.hosts.values())
    with ThreadPoolExecutor(max_workers=20) as pool:
        found = list(pool.map(problem, hosts))
    return {host.name: what for host, what in zip(hosts, found, strict=True) if what}


def require_all(described: Inventory, code: int = console.FAILED):
    """Fail with the first host that can't be reached, and name the others."""
    found = problems(described)
    if not found:
        return
    for what, _ in list(found.values())[1:]:
        console.bad(what)
    what, then = next(iter(found.values()))
    raise Failure(what, next_step=then, code=code)


def require(way: Way, *, yes: bool = False):
    """Fail unless a server that may be new here can be reached; ssh shows its host key and asks, where it can."""
    trust = ["-o", "StrictHostKeyChecking=accept-new"] if yes else []
    done = way.run("true", *trust)
    if UNKNOWN_KEY in done.stderr and "HAS CHANGED" not in done.stderr and console.can_ask():
        subprocess.run([*way.command("-o", "PreferredAuthentications=publickey"), "true"], check=False)
        done = way.run()
    if done.returncode:
        what, then = way.explain(done.stderr)
        raise Failure(what, next_step=then)
