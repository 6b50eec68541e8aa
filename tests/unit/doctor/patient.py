"""What is seen of a server that is well, as one said it; tests change the one thing that they are about."""

from __future__ import annotations

import copy
import time
from dataclasses import replace

from sanso.doctor.causes import Case, diagnose
from sanso.doctor.client import Reply, Seen, Served

NAME, ADDRESS, NOW = "faults.test", "10.77.0.10", 1795338558.6
APP = {"name": "faults", "server_names": [NAME], "health_path": "/readyz", "wsgi": "sample_app:create_app()"}
WELL = Reply(ADDRESS, "answered", 200, {}, '{"status":"ok"}')


def unit(name: str, **changes) -> dict:
    running = {"Id": name, "LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Result": "success"}
    more = {"NRestarts": "0", "InvocationID": "1", "ExecMainStatus": "0", "StateChangeTimestamp": "@1795338172"}
    return {**running, **more, "MemoryMax": "infinity", "said": [], **changes}


SERVICE, SOCKET = "app-faults@current.service", "app-faults@current.socket"
SERVER = {
    "time": NOW,
    "problems": {},
    "units": {name: unit(name) for name in ("nginx.service", "mysql.service", SERVICE, SOCKET)},
    "failed_units": [],
    "nginx": {
        "config_ok": True,
        "complaints": [],
        "names": ["_", "_", NAME, NAME],
        "ports": ["443", "80"],
        "sockets": {"faults": "/run/app-faults/app.sock"},
        "certificates": {},
        "errors": [],
        "logged": False,
    },
    "listeners": [{"program": "nginx", "pid": 2880, "unit": "nginx.service"}],
    "firewall": {"drops": [], "accepts": True, "in_file": True},
    "addresses": [ADDRESS],
    "disks": [
        {
            **{"mount": "/", "size": 270553174016, "free": 75013369856, "full": False, "largest": []},
            **{"inodes": 16777216, "inodes_free": 16078110, "no_inodes": False, "read_only": False},
        }
    ],
    "memory": {"MemTotal": 25276502016, "MemAvailable": 17650618368, "SwapFree": 0},
    "killed": [],
    "mysql": {
        **{"answers": True, "said": "", "log": [], "most": 151, "connected": 3},
        **{"users": {"faults": "2", "root": "1"}},
    },
    "ntp": False,
    "apps": {
        "faults": {
            **{"release": "f9a325371fc0", "release_is_there": True, "before": "", "record": {}},
            "migrate": "flask --app sample_app db upgrade",
            "folder": {
                **{"path": "/run/app-faults", "kind": "folder"},
                **{"mode": "0755", "owner": "root", "group": "root"},
            },
            "link": "current.sock",
            "real": {
                **{"path": "/run/app-faults/current.sock", "kind": "socket"},
                **{"mode": "0660", "owner": "root", "group": "www-data"},
            },
            "others": ["app.sock", "current.sock"],
            "peer": {},
            "health": {"status": 200, "errno": 0, "text": "HTTP/1.1 200 OK\r\n\r\n{}", "seconds": 0.1},
            "waiting": 0,
            "login": "",
            "redis": {},
            "revision": "0001",
        }
    },
}


def changed(facts: dict, changes: dict) -> dict:
    """A copy, with these values at these paths: {"apps.faults.waiting": 3}; a unit's name holds dots itself: ':'."""
    facts = copy.deepcopy(facts)
    for path, value in changes.items():
        *way, last = path.split(":" if ":" in path else ".")
        inner = facts
        for word in way:
            inner = inner[word]
        inner[last] = value
    return facts


def case(changes: dict | None = None, *, reply: Reply = WELL, seen: dict | None = None, **more) -> Case:
    there = Seen(f"https://{NAME}/readyz", NAME, 443, [ADDRESS], [ADDRESS], "", reply)
    known = {"app": APP, "settings": {}, "host": "web1", "names": [NAME], **more}
    return Case(seen=replace(there, **(seen or {})), server=changed(SERVER, changes or {}), **known)


def causes(changes: dict | None = None, **more) -> list:
    return diagnose(case(changes, **more))


def served(days: float = 30, *, names: tuple[str, ...] = (NAME,), since: float = -1, serial: int = 1) -> Served:
    now = time.time()
    return Served(list(names), "CN=Local CA", now + since * 86400, now + days * 86400, serial)
