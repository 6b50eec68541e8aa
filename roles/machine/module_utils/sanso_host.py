"""What the machine module does to this computer: commands, locks, the bridge with its NAT, and names in /etc/hosts."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import time
from pathlib import Path

HOSTS = Path("/etc/hosts")
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
TABLE = "sanso"


class MachineError(Exception):
    """Something a person has to know: what happened, where, and what to do next."""


def run(*command, **options):
    """Run a command and return its standard output; a failure is a MachineError with the last lines that it wrote."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    except FileNotFoundError as error:
        raise MachineError(
            f"{command[0]} isn't installed here; ./sanso up installs it, or your package manager"
        ) from error
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise MachineError(f"{' '.join(map(str, command))} failed with {done.returncode}:\n{said}")
    return done.stdout


def succeeds(*command):
    """Tell whether a command exits with 0."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def lock(path, seconds=600, *, shared=False):
    """Hold a lock on a file, alone or `shared`; wait at most `seconds` for who holds it, then raise MachineError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with path.open("a+") as file:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.seek(0)
                    raise MachineError(
                        f"process {file.read().strip() or '?'} has held {path} for {seconds} s; end it, then try again"
                    ) from None
                time.sleep(0.2)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_locked(path):
    """Tell whether somebody holds a lock on a file, be it a shared one."""
    try:
        with lock(path, seconds=0):
            return False
    except MachineError:
        return True


class Network:
    """The bridge that joins the machines to this computer, and the NAT that lets them out.

    name: of the bridge; subnet: an ipaddress.IPv4Network whose first address is this computer's.
    What the computer had before (ip_forward) is kept in `state` and put back by `remove`.
    """

    def __init__(self, name, subnet, state):
        self.name, self.subnet, self.state = name, subnet, state
        self.gateway = str(subnet[1])

    def create(self):
        """Make what is missing of the bridge, its address, the nftables table and forwarding."""
        if not Path("/sys/class/net", self.name).exists():
            if any(route.get("dst") == str(self.subnet) for route in json.loads(run("ip", "-json", "-4", "route"))):
                raise MachineError(
                    f"this computer already has a route to {self.subnet}; set machine_subnet to a free one"
                )
            run("ip", "link", "add", self.name, "type", "bridge")
        run("ip", "address", "replace", f"{self.gateway}/{self.subnet.prefixlen}", "dev", self.name)
        run("ip", "link", "set", self.name, "up")
        if IP_FORWARD.read_text().strip() == "0":
            self.state.write_text("0")
            IP_FORWARD.write_text("1")
        # A table of its own: what the computer's firewall holds is left alone. With "add" and "delete" first, the whole
        # is one transaction, the first time and every time.
        rules = f"""
            add table inet {TABLE}
            delete table inet {TABLE}
            table inet {TABLE} {{
                chain postrouting {{
                    type nat hook postrouting priority srcnat
                    ip saddr {self.subnet} ip daddr != {self.subnet} masquerade
                }}
                chain forward {{
                    type filter hook forward priority filter
                    iifname "{self.name}" accept
                    oifname "{self.name}" ct state established,related accept
                }}
            }}"""
        run("nft", "-f", "-", input=rules)
        self._docker("insert")

    @property
    def is_used(self):
        """Whether a machine is plugged in, be it one of another folder."""
        ports = Path("/sys/class/net", self.name, "brif")
        return ports.exists() and any(ports.iterdir())

    def remove(self):
        """Take away all that `create` made."""
        if Path("/sys/class/net", self.name).exists():
            run("ip", "link", "delete", self.name)
        if succeeds("nft", "list", "table", "inet", TABLE):
            run("nft", "delete", "table", "inet", TABLE)
        self._docker("delete")
        if self.state.exists():
            IP_FORWARD.write_text(self.state.read_text())
            self.state.unlink()

    def _docker(self, action):
        """Docker drops what it doesn't know, and no other table can overrule that: let the bridge pass in its chain."""
        chain = ("ip", "filter", "DOCKER-USER")
        if not succeeds("nft", "list", "chain", *chain):
            return
        listed = json.loads(run("nft", "-j", "list", "chain", *chain))["nftables"]
        ours = [item["rule"]["handle"] for item in listed if item.get("rule", {}).get("comment") == TABLE]
        if action == "delete":
            for handle in ours:
                run("nft", "delete", "rule", *chain, "handle", str(handle))
        elif not ours:
            for direction in ("iifname", "oifname"):
                run("nft", "insert", "rule", *chain, direction, self.name, "accept", "comment", f'"{TABLE}"')


def set_names(machine, address, names):
    """Let this computer know a machine by `names` (a list; empty: forget it). Returns whether /etc/hosts changed."""
    mark = f"# sanso machine {machine}"
    lines = HOSTS.read_text().splitlines()
    mine = [line for line in lines if line.endswith(mark)]
    wanted = [f"{address} {' '.join(names)} {mark}"] if names else []
    if mine == wanted:
        return False
    after = "\n".join([line for line in lines if line not in mine] + wanted) + "\n"
    HOSTS.write_text(after)  # in place: in a container it is a mount, which can't be replaced
    return True
