"""What a server says of itself when something doesn't work there: facts, for `causes` to judge. It only reads.

Standard library only: it is sent there. No secret leaves the server, and of statements only what is left without their
values.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import re
import socket
import stat
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from sanso.digest.server import CouldNotAsk, ask, properties, query, read

TOOL = "/usr/local/sbin/sanso-app"
SECONDS = 12  # that a program may take, such as one that asks the app for its health
SHOWN = (
    *("Id", "LoadState", "ActiveState", "SubState", "Result", "NRestarts", "InvocationID", "ExecMainStatus"),
    *("StateChangeTimestamp", "SupplementaryGroups", "User", "MemoryMax", "ControlGroup"),
)
PATHS = ("/", "/var", "/var/lib/mysql", "/var/log", "/var/log/sanso", "/var/tmp", "/srv", "/tmp", "/run")
WRITTEN = ("/", "/var", "/var/lib/mysql", "/var/log", "/srv")  # where a file system that is read-only stops us
LONG = 3.0  # s: what takes longer is looked at while it does
LARGEST, LARGEST_SECONDS = 3, 5.0
# systemd's messages: about a unit that lost a process to the kernel, and about one that it starts again by itself.
OUT_OF_MEMORY, RESTARTS = "fe6faa94e7774663a0da52717891d8ef", "5eb03494b6584870a536b337290809b3"
TICK = 2  # s: the kernel tells its boot in whole ones
TAIL = 2**18  # bytes of a log
LINES = 60  # of a unit's journal
SERIOUS = ("error", "crit", "alert", "emerg")


def main(request: dict) -> dict:
    """request: apps (name, host, health_path, database), port, since (s before now), trace (the id of a request)."""
    began, names = time.time(), [app["name"] for app in request["apps"]]
    parts = {
        "units": lambda: units(names),
        "failed_units": failed_units,
        "nginx": lambda: nginx(began - request["since"], request["trace"]),
        "listeners": lambda: listeners(request["port"]),
        "firewall": lambda: firewall(request["port"]),
        "addresses": lambda: ask("hostname", "--all-ip-addresses").split(),
        "disks": lambda: disks([f"/srv/{name}" for name in names]),
        "memory": memory,
        "killed": killed,
        "mysql": lambda: mysql() if any(is_mysqls(app) for app in request["apps"]) else {},
        "ntp": lambda: ask("timedatectl", "show", "--property=NTPSynchronized", "--value").strip() == "yes",
    }
    found: dict = {"time": began, "problems": {}}
    collect(found, parts)
    sockets = found.get("nginx", {}).get("sockets", {})
    each = {app["name"]: (lambda app=app: App(app, sockets.get(app["name"], "")).facts()) for app in request["apps"]}
    found["apps"] = {"problems": {}}
    collect(found["apps"], each)
    found["problems"] |= found["apps"].pop("problems")
    return found


def collect(found: dict, parts: dict):
    """Fill in all parts at once; one that can't be had leaves a word in "problems", and the others go on."""

    def have(part):
        try:
            return part(), ""
        except (CouldNotAsk, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
            return None, f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(max_workers=8) as pool:
        for name, (part, problem) in zip(parts, pool.map(have, parts.values()), strict=True):
            if problem:
                found["problems"][name] = problem
            else:
                found[name] = part


def is_mysqls(app: dict) -> bool:
    return app["database"] == "mysql"


# systemd


def units(names: list[str]) -> dict:
    """Each unit on the way: its state, and what it said last."""
    wanted = ["nginx.service", "nginx.socket", "mysql.service"]
    wanted += [f"app-{name}@current.{kind}" for name in names for kind in ("socket", "service")]
    wanted += [f"app-{name}-redis.service" for name in names]
    asked = [f"--property={','.join(SHOWN)}", "--timestamp=unix"]
    found = {unit["Id"]: unit for unit in properties(ask("systemctl", "show", *asked, *wanted))}
    return {name: {**unit, "said": said(name)} for name, unit in found.items() if unit["LoadState"] != "not-found"}


def said(unit: str) -> list[str]:
    since = ("--since=-1d", f"--lines={LINES}")
    return ask("journalctl", "--quiet", "--no-pager", "--output=cat", f"--unit={unit}", *since).splitlines()


def failed_units() -> list[str]:
    rows = ask("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager").splitlines()
    return [row.split()[0] for row in rows if row.strip()]


def killed() -> list[dict]:
    """What the kernel killed for want of memory in the last hour; and since when systemd itself has restarted that."""
    restarted = {entry.get("UNIT"): entry["time"] for entry in messages(RESTARTS) if entry.get("N_RESTARTS") == "1"}
    return [
        {
            "unit": entry.get("UNIT", ""),
            "invocation": entry.get("INVOCATION_ID", ""),
            "time": entry["time"],
            "restarted": restarted.get(entry.get("UNIT"), 0),
        }
        for entry in messages(OUT_OF_MEMORY)
    ]


def messages(kind: str) -> list[dict]:
    """systemd's messages of a kind, of the last hour."""
    rows = ask("journalctl", "--quiet", "--output=json", "--since=-1h", f"MESSAGE_ID={kind}", code=1)
    entries = [json.loads(row) for row in rows.splitlines()]
    return [{**entry, "time": int(entry["__REALTIME_TIMESTAMP"]) / 1e6} for entry in entries]


# nginx, and the way to it


def nginx(since: float, trace: str) -> dict:
    done = subprocess.run(["nginx", "-T"], capture_output=True, text=True, errors="replace", timeout=SECONDS)
    config, complaints = done.stdout, [line for line in done.stderr.splitlines() if "[emerg]" in line]
    log = first(r"^\s*error_log\s+(/[^;\s]+)", config) or "/var/log/sanso/nginx/error.log"
    access = first(r"^\s*access_log\s+(/[^;\s]+)", config) or "/var/log/sanso/nginx/access.jsonl"
    return {
        "config_ok": done.returncode == 0,
        "complaints": complaints or done.stderr.splitlines()[-1:],
        "names": [name for names in re.findall(r"(?m)^\s*server_name\s+([^;]+);", config) for name in names.split()],
        "ports": sorted({port(each) for each in re.findall(r"(?m)^\s*listen\s+([^;\s]+)", config)}),
        "sockets": {name: path for path, name in re.findall(r"unix:(/run/app-([^/;\s]+)/[^;:\s]+)", config)},
        "certificates": {
            path: certificates(path)
            for path in set(re.findall(r"(?m)^\s*ssl_certificate\s+(/[^;\s]+)", config)) | tls_files(config)
        },
        "errors": errors(Path(log), since),
        "logged": trace in tail(Path(access)) if "trace_id" in config else None,
    }


def first(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else ""


def port(listen: str) -> str:
    """Of what a `listen` says: 443, [::]:443, 127.0.0.1:8080."""
    return listen.rpartition(":")[2] if ":" in listen else listen


def tls_files(config: str) -> set[str]:
    """Where our certificates are, for a configuration that can't be read."""
    return set() if config else {str(path) for path in Path("/etc/nginx/tls").glob("*.pem")}


def certificates(path: str) -> str:
    """The first certificate of a file, and how many there are; the key beside it stays here."""
    return "\n".join(re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", read(path), re.DOTALL))


def errors(path: Path, since: float) -> list[str]:
    """What nginx said since then was wrong."""
    found = []
    for line in tail(path).splitlines():
        match = re.match(r"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(\w+)\] \S+ (.*)", line)
        if match and match[2] in SERIOUS and time.mktime(time.strptime(match[1], "%Y/%m/%d %H:%M:%S")) >= int(since):
            found.append(match[3])
    return found[-20:]


def tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def listeners(number: int) -> list[dict]:
    """The programs that listen on a TCP port."""
    said = ask("ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes", "sport", "=", f":{number}")
    found = {int(pid): name for name, pid in re.findall(r'\("([^"]+)",pid=(\d+)', said)}
    return [{"program": name, "pid": pid, "unit": unit_of(pid)} for pid, name in sorted(found.items())]


def unit_of(pid: int) -> str:
    group = next((row for row in read(f"/proc/{pid}/cgroup").splitlines() if row.startswith("0::")), "")
    return group.rpartition("/")[2]


def firewall(number: int) -> dict:
    """What the kernel's rules say of a port; accepts is None where nothing filters."""
    rules = ask("nft", "--numeric", "list", "ruleset").splitlines()
    about = [rule.strip() for rule in rules if "dport" in rule and number in ports(rule)]
    filters = any("hook input" in rule and "policy drop" in rule for rule in rules)
    return {
        "drops": [rule for rule in about if re.search(r"\b(drop|reject)\b", rule)],
        "accepts": any("accept" in rule for rule in about) if filters else None,
        "in_file": number in {each for rule in read("/etc/nftables.conf").splitlines() for each in ports(rule)},
    }


def ports(rule: str) -> set[int]:
    match = re.search(r"\bdport (?:\{([^}]*)\}|(\S+))", rule)
    found: set[int] = set()
    for each in re.findall(r"\d+(?:-\d+)?", (match[1] or match[2]) if match else ""):
        begin, _, end = each.partition("-")
        found |= set(range(int(begin), int(end or begin) + 1))
    return found


# The system


def disks(paths: list[str]) -> list[dict]:
    mounts, found = {row.split()[4] for row in read("/proc/self/mountinfo").splitlines()}, {}
    for path in filter(os.path.exists, [*PATHS, *paths]):
        whole = Path(os.path.realpath(path))
        mount = next(str(each) for each in (whole, *whole.parents) if str(each) in mounts or each == each.parent)
        if mount not in found:
            found[mount] = disk(mount)
        found[mount]["read_only"] |= path in WRITTEN and bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    return list(found.values())


def disk(mount: str) -> dict:
    """Full is what has no room for those who aren't root."""
    room = os.statvfs(mount)
    size, free = room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize
    full = free < min(size // 100, 2**26)
    no_inodes = room.f_files > 0 and room.f_favail < min(max(room.f_files // 100, 50), 1000)
    return {
        **{"mount": mount, "size": size, "free": free, "full": full},
        **{"inodes": room.f_files, "inodes_free": room.f_favail, "no_inodes": no_inodes},
        **{"read_only": False, "largest": largest(mount) if full else []},
    }


def largest(mount: str) -> list[dict]:
    """The largest files of a file system, as far as they can be found in some seconds."""
    device, end, found, folders = Path(mount).stat().st_dev, time.monotonic() + LARGEST_SECONDS, [], [mount]
    while folders and time.monotonic() < end:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                described = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if described.st_dev != device:
                continue
            if stat.S_ISDIR(described.st_mode):
                folders.append(entry.path)
            elif stat.S_ISREG(described.st_mode):
                found.append({"path": entry.path, "size": described.st_blocks * 512})
        found = sorted(found, key=lambda file: -file["size"])[:LARGEST]
    return found


def memory() -> dict:
    rows = dict(re.findall(r"(?m)^(MemTotal|MemAvailable|SwapFree):\s+(\d+)", read("/proc/meminfo")))
    return {name: int(kilobytes) * 1024 for name, kilobytes in rows.items()}


# MySQL

STATEMENTS = """SELECT PROCESSLIST_ID, PROCESSLIST_USER, PROCESSLIST_TIME, COALESCE(PROCESSLIST_STATE, ''),
    COALESCE(LEFT(DIGEST_TEXT, 80), '')
FROM performance_schema.threads JOIN performance_schema.events_statements_current USING (THREAD_ID)
WHERE PROCESSLIST_COMMAND = 'Query' AND PROCESSLIST_ID <> CONNECTION_ID() AND PROCESSLIST_TIME >= 2
    AND PROCESSLIST_USER = '{name}'"""
BLOCKERS = """SELECT DISTINCT blocking_pid, CONCAT(object_schema, '.', object_name)
FROM sys.schema_table_lock_waits WHERE blocking_pid <> waiting_pid
UNION SELECT DISTINCT blocking_pid, REPLACE(locked_table, '`', '') FROM sys.innodb_lock_waits"""


def mysql() -> dict:
    """Its own word, as root of the server; and the last errors in its log."""
    last_start = tail(Path("/var/log/mysql/error.log")).rpartition("starting as process")[2].splitlines()
    log = [line for line in last_start if "[ERROR]" in line]
    found = {"answers": False, "said": "", "log": log[-6:]}
    try:
        rows = query("SELECT @@max_connections; SHOW GLOBAL STATUS LIKE 'Threads_connected'")
    except CouldNotAsk as error:
        return {**found, "said": str(error)}
    found |= {"answers": True, "most": int(rows[0][0]), "connected": int(rows[1][1])}
    found["users"] = dict(
        query("SELECT COALESCE(user, ''), COUNT(*) FROM information_schema.processlist GROUP BY user")
    )
    return found


# An app

CONNECT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(5)
    try:
        connection.connect(sys.argv[1])
        connection.sendall(b"PING\\r\\n")
        print(connection.recv(200).decode(errors="replace").strip() or "it hung up")
    except OSError as error:
        print(f"[Errno {error.errno}] {error.strerror or error}")
"""


class App:
    """asked: the path that nginx connects to, by its configuration."""

    def __init__(self, app: dict, asked: str):
        self.app, self.name, self.home = app, app["name"], Path("/srv", app["name"])
        folder, self.unit = Path(f"/run/app-{self.name}"), f"app-{self.name}@current.service"
        link = folder / "app.sock"
        self.socket = Path(asked) if asked else link if os.path.lexists(link) else folder / "current.sock"

    def facts(self) -> dict:
        real = os.path.realpath(self.socket)
        health, meanwhile = self.health_and_meanwhile(real)
        found = {
            "release": linked(self.home / "current"),
            "release_is_there": (self.home / "current").is_dir(),
            "before": linked(self.home / "before"),
            "record": record(self.home / "current/record.json"),
            "migrate": record(self.home / "current/release.json").get("migrate", ""),
            "folder": described(self.socket.parent),
            "link": linked(self.socket, whole=True) if self.socket.is_symlink() else "",
            "real": described(Path(real)),
            "others": sorted(path.name for path in self.socket.parent.glob("*.sock")),
            "peer": peer(real),
            "health": health,
            "revision": self.revision(),
            **meanwhile,
        }
        if is_mysqls(self.app):
            found["login"] = self.login()
        found["redis"] = self.redis()
        return found

    def health_and_meanwhile(self, real: str) -> tuple[dict, dict]:
        """What it answers; and where that takes long, what waits for what until then."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            asked, meanwhile = pool.submit(self.health), {"waiting": 0}
            if wait([asked], timeout=LONG).not_done:
                with contextlib.suppress(CouldNotAsk):  # who has it may just have ended
                    meanwhile["waiting"] = waiting(real, unit_property(self.unit, "MainPID"))
                if is_mysqls(self.app):
                    with contextlib.suppress(CouldNotAsk):
                        meanwhile |= {
                            "statements": query(STATEMENTS.replace("{name}", self.name)),
                            "blockers": query(BLOCKERS),
                        }
            return asked.result(), meanwhile

    def health(self) -> dict:
        """What the app answers to nginx's user, by the project's own tool."""
        user = unit_property("nginx.service", "User") or "www-data"
        words = [TOOL, "get", str(self.socket), self.app["health_path"], self.app["host"]]
        began = time.monotonic()
        try:
            done = run_as(user, [], *words)
        except subprocess.TimeoutExpired:
            return {"status": None, "errno": 0, "text": f"no answer within {SECONDS} s", "seconds": SECONDS}
        text = done.stdout.strip() or done.stderr.strip()
        status = re.match(r"HTTP/\S+ (\d{3})", text)
        number = re.search(r"\[Errno (\d+)\]", text)
        return {
            "status": int(status[1]) if status else None,
            "errno": int(number[1]) if number and not status else 0,
            "text": text[:2000],
            "seconds": round(time.monotonic() - began, 1),
        }

    def revision(self) -> str | None:
        """Which one its database has, by the project's own tool; None where that can't say, such as for a lock."""
        if self.app["database"] == "none":
            return None
        try:
            return ask("timeout", "5", TOOL, "revision", self.name).strip()
        except CouldNotAsk:
            return None

    def login(self) -> str:
        """What MySQL says to the app's own user with the groups of its unit; empty where it lets it in."""
        words = ["--no-defaults", f"--user={self.name}", "--protocol=socket", "--connect-timeout=5", "--batch"]
        try:
            done = run_as(self.name, self.groups(), "mysql", *words, "--execute=SELECT 1", self.name)
        except subprocess.TimeoutExpired:
            return f"no answer within {SECONDS} s"
        return done.stderr.strip() or "it said nothing" if done.returncode else ""

    def groups(self) -> list[str]:
        return unit_property(self.unit, "SupplementaryGroups").split()

    def redis(self) -> dict:
        """What its Redis says to it, where it has one on a Unix socket."""
        settings = read(self.home / "current/environment") + "\n" + read(self.home / "current/secrets")
        match = re.search(r"^REDIS_URL=\W?(?:unix|redis\+socket)://[^/]*(/[^?\"'\s]+)", settings, re.MULTILINE)
        if not match:
            return {}
        done = run_as(self.name, self.groups(), "/usr/bin/python3", "-I", "-c", CONNECT, match[1])
        return {"socket": match[1], "said": done.stdout.strip() or done.stderr.strip()[-200:]}


def run_as(user: str, groups: list[str], *words: str) -> subprocess.CompletedProcess:
    """As a user, who may have groups that only a unit gives."""
    found = pwd.getpwnam(user)
    return subprocess.run(
        words,
        user=found.pw_uid,
        group=found.pw_gid,
        extra_groups=[*os.getgrouplist(user, found.pw_gid), *groups],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS,
    )


def unit_property(unit: str, name: str) -> str:
    return ask("systemctl", "show", f"--property={name}", "--value", unit).strip()


def record(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def linked(path: Path, *, whole: bool = False) -> str:
    """What a link says; only the last part of it, unless the whole is wanted. Empty where there is none."""
    try:
        said = path.readlink()
    except OSError:
        return ""
    return str(said) if whole else said.name


def described(path: Path) -> dict:
    """What is at a path, links followed; {} if it is nothing."""
    try:
        found = path.stat()
    except OSError:
        return {}
    kinds = {stat.S_IFSOCK: "socket", stat.S_IFDIR: "folder", stat.S_IFREG: "file"}
    return {
        "path": str(path),
        "kind": kinds.get(stat.S_IFMT(found.st_mode), "something else"),
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "owner": name_of(pwd.getpwuid, found.st_uid),
        "group": group_name(found.st_gid),
    }


def group_name(number: int) -> str:
    return name_of(grp.getgrgid, number)


def name_of(get, number: int) -> str:
    try:
        return get(number)[0]
    except KeyError:
        return str(number)


def peer(path: str) -> dict:
    """Another process than systemd and the app's unit that made the socket at a path, and listens; {} for none.

    Sockets of a network namespace of their own are made by a child of systemd, which has gone since. Its number may be
    another's now: one that is younger than the socket.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        try:
            connection.connect(path)
            made = Path(path).stat().st_mtime
        except OSError:
            return {}
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid = struct.unpack("3i", credentials)[0]
    unit, began = unit_of(pid), began_at(pid)
    if pid == 1 or not began or began > made + TICK or unit.startswith(f"{Path(path).parent.name}@"):
        return {}
    words = read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    return {"pid": pid, "unit": unit, "command": words[:200]}


def began_at(pid: int) -> float:
    """When a process began, in seconds since 1970; 0 if it has ended."""
    ticks = read(f"/proc/{pid}/stat").rpartition(") ")[2].split()[19:20]
    boot = re.search(r"(?m)^btime (\d+)", read("/proc/stat"))
    return int(boot[1]) + int(ticks[0]) / os.sysconf("SC_CLK_TCK") if boot and ticks else 0.0


def waiting(path: str, pid: str = "0") -> int:
    """How many connections wait in a socket's queue; it is listed in the network namespace of who has it."""
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net"] if pid.strip("0") else []
    rows = [row.split() for row in ask(*inside, "ss", "--no-header", "--listening", "--unix").splitlines()]
    return max((int(row[2]) for row in rows if len(row) > 4 and row[4] == path), default=0)
