"""The processes of a unit, the sockets that they hold, and who is at the other end."""

from __future__ import annotations

import json
from dataclasses import dataclass

from evidence import CouldNotCheck, ask, journal

# By control group, because uWSGI's workers rename themselves. The kernel says what kind of socket a descriptor is
# (system.sockprotoname), whatever network namespace it comes from; `ss` knows only its own.
PROCESSES = """
import contextlib, json, os, pathlib, pwd, sys

def process(at):
    sockets = {}
    for fd in at.glob("fd/*"):
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            if (target := os.readlink(fd)).startswith("socket:"):
                sockets[target[8:-1]] = os.getxattr(fd, "system.sockprotoname").rstrip(b"\\0").decode()
    status = dict(line.split(":\\t", 1) for line in (at / "status").read_text().splitlines() if ":\\t" in line)
    return {
        "pid": int(at.name), "parent": int(status["PPid"]), "user": pwd.getpwuid(int(status["Uid"].split()[0])).pw_name,
        "folder": os.readlink(at / "cwd"), "network": os.readlink(at / "ns/net"), "status": status, "sockets": sockets,
    }

group = pathlib.Path("/sys/fs/cgroup" + sys.argv[1])
pids = {pid for file in group.rglob("cgroup.procs") for pid in file.read_text().split()}
found = []
for pid in sorted(pids, key=int):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        found.append(process(pathlib.Path("/proc", pid)))
print(json.dumps(found))
"""

LOCAL = {"UNIX", "UNIX-STREAM", "NETLINK"}  # kinds of sockets that don't leave the machine


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    user: str
    folder: str
    network: str  # namespace
    status: dict[str, str]  # /proc/<pid>/status
    sockets: dict[str, str]  # inode to protocol

    @property
    def foreign_sockets(self) -> dict[str, str]:
        """Those that could leave the machine."""
        return {inode: kind for inode, kind in self.sockets.items() if kind not in LOCAL}


@dataclass(frozen=True)
class UnixSocket:
    inode: str
    path: str  # "*" if it has none
    peer: str  # inode
    listens: bool


def processes(host, unit: str) -> list[Process]:
    """All processes of a unit that runs. One that doesn't would make "none of its processes …" true."""
    group = ask(host, "systemctl show --property=ControlGroup --value %s", unit)
    found = [Process(**each) for each in json.loads(ask(host, "python3 -c %s %s", PROCESSES, group))] if group else []
    if not found:
        raise CouldNotCheck(f"could not check {unit}: it doesn't run\n{journal(host, unit)}")
    return found


def unix_sockets(host, process: Process) -> dict[str, UnixSocket]:
    """Every Unix socket of the network namespace that a process is in, by inode."""
    lines = ask(host, "nsenter --net=/proc/%s/ns/net ss -Hxa", str(process.pid)).splitlines()
    found = {}
    for _, state, _, _, path, inode, _, peer in (line.split()[:8] for line in lines):
        found[inode] = UnixSocket(inode, path, peer, state == "LISTEN")
    return found


def doors(host, unit: str) -> set[str]:
    """The paths of the Unix sockets on which a unit listens."""
    found, known = set(), {}
    for process in processes(host, unit):
        if process.network not in known:  # of each namespace, by its oldest process: workers come and go
            known[process.network] = unix_sockets(host, process)
        sockets = known[process.network]
        found |= {sockets[inode].path for inode in process.sockets if inode in sockets and sockets[inode].listens}
    return {path.replace("/var/run/", "/run/") for path in found}
