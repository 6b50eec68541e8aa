"""What a server is that no comparison of its files shows: what runs, and by which settings. It only reads.

Each thing that was found is {"kind", "key", "was" (what it should be), "found", "mend"}: mend is a command for a shell
there, and empty where somebody must decide. Standard library only: it is sent there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from sanso.digest.program import SYSCTL_FILES, mysql_accounts, without_counts
from sanso.digest.server import CouldNotAsk, ask, has, properties, query, read

# What systemd is asked of each unit.
ASKED = (
    *("Id", "LoadState", "Type", "ActiveState", "SubState", "Result", "ConditionResult", "FragmentPath", "MainPID"),
    *("WantedBy", "RequiredBy", "NeedDaemonReload", "RemainAfterExit", "StateChangeTimestamp"),
    *("InactiveEnterTimestampMonotonic", "DropInPaths"),
)
# Daemons that read their files when they start or reload, and those files. How they do so again.
DAEMONS = {
    "nginx.service": (("/etc/nginx/**/*", "/etc/nginx/*"), "sudo systemctl reload nginx"),
    "mysql.service": (("/etc/mysql/**/*.cnf",), "sudo systemctl restart mysql"),
    "ssh.service": (("/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/*.conf"), "sudo systemctl reload ssh"),
}
TOLERANCE = 2  # s; the kernel tells when a process began in parts of a second, and the time of its own boot in seconds
# Accounts and tables that others make: (of MySQL) its own and the distribution's; (of nft) those of bans.
MYSQLS_OWN = {"root", "mysql.sys", "mysql.session", "mysql.infoschema", "debian-sys-maint"}
SCHEMAS_OF_MYSQL = {"mysql", "sys", "information_schema", "performance_schema"}
# Where files are read as ours beside them are. One that is of no package and younger than ours, somebody wrote.
BESIDE_OURS = (
    *("/etc/ssh/sshd_config.d/*.conf", "/etc/sudoers.d/*", "/etc/sysctl.d/*.conf", "/etc/mysql/*.conf.d/*.cnf"),
    *("/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*", "/etc/fail2ban/jail.d/*", "/etc/apt/apt.conf.d/*"),
    *("/etc/systemd/system/*.d/*.conf", "/etc/security/limits.d/*.conf", "/etc/cron.d/*", "/etc/modprobe.d/*.conf"),
)
UCF = "/var/lib/ucf/hashfile"  # settings that packages make when they are installed, and dpkg doesn't know
MARK = re.compile(r"Managed by Sans|manages: roles/")


def found(kind: str, key: str, was: str, now: str, mend: str = "") -> dict[str, str]:
    return {"kind": kind, "key": key, "was": was, "found": now, "mend": mend}


# Units


def units() -> list[dict[str, str]]:
    asked = ",".join(ASKED)
    said = properties(ask("systemctl", "show", "*", "--all", f"--property={asked}", "--timestamp=unix"))
    return [unit for unit in said if unit["LoadState"] == "loaded"]  # others are only named by something


def of_units(known: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    active = {unit["Id"] for unit in known if unit["ActiveState"] in ("active", "activating", "reloading")}
    for unit in known:
        name = unit["Id"]
        wanted = bool(active & {*unit.get("WantedBy", "").split(), *unit.get("RequiredBy", "").split()})
        if unit["ActiveState"] == "failed":
            yield found("unit", name, "active" if wanted else "inactive", f"failed ({unit['Result']})")
        elif wanted and was_stopped(unit):
            yield found("unit", name, "active", "inactive", f"sudo systemctl start {name}")
        if unit["NeedDaemonReload"] == "yes":
            files = " ".join(filter(None, [unit["FragmentPath"], unit.get("DropInPaths", "")]))
            now = f"systemd has what was in them before: {files}"
            mend = f"sudo systemctl daemon-reload && sudo systemctl restart {name}"
            yield found("unit file", name, "as in its files", now, mend)


def was_stopped(unit: dict[str, str]) -> bool:
    """Tell whether it ran since the boot and doesn't now, though it is no program that ends by itself."""
    ends = unit.get("Type") == "oneshot" and unit.get("RemainAfterExit") == "no"
    ran = int(unit["InactiveEnterTimestampMonotonic"] or 0) > 0
    return unit["ActiveState"] == "inactive" and ran and unit["ConditionResult"] == "yes" and not ends


def of_daemons(known: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Those whose settings are younger than they are."""
    for unit in known:
        if unit["Id"] in DAEMONS and unit["ActiveState"] == "active":
            patterns, mend = DAEMONS[unit["Id"]]
            since = last_read(unit)
            files = {file for pattern in patterns for file in Path("/").glob(pattern[1:]) if file.is_file()}
            younger = sorted(str(file) for file in files if file.stat().st_mtime > since + TOLERANCE)
            if younger:
                now = "\n".join(f"{file} is of {moment(Path(file).stat().st_mtime)}" for file in younger)
                key = unit["Id"].removesuffix(".service")
                yield found("daemon", key, f"its files as of {moment(since)}, when it read them", now, mend)


def last_read(unit: dict[str, str]) -> float:
    """When a daemon last read its files: at its start, at a reload by systemd, or (nginx) when its workers began."""
    changed = float(unit["StateChangeTimestamp"].lstrip("@") or 0)
    began = [start(pid) for pid in children(unit["MainPID"])] if unit["Id"] == "nginx.service" else []
    return max([changed, *filter(None, began)])


def children(pid: str) -> list[str]:
    return read(f"/proc/{pid}/task/{pid}/children").split()


def start(pid: str) -> float:
    """When a process began, in seconds since 1970."""
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if not fields:
        return 0.0
    boot = float(re.search(r"(?m)^btime (\d+)", read("/proc/stat"))[1])
    return boot + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def of_apps(known: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Those that serve another release than the current one."""
    for unit in known:
        match = re.fullmatch(r"app-(.+)@current\.service", unit["Id"])
        link = Path(f"/srv/{match[1]}/current") if match else None
        if link and unit["ActiveState"] == "active" and link.exists():
            with contextlib.suppress(OSError):
                serving = Path(f"/proc/{unit['MainPID']}/cwd").readlink()
                current = link.resolve()
                if not serving.is_relative_to(current):
                    mend = f"sudo systemctl restart {unit['Id']}"
                    yield found("release", match[1], str(current), str(serving), mend)


# The kernel


def of_sysctl(_) -> Iterator[dict[str, str]]:
    wanted: dict[Path, tuple[str, str]] = {}
    lines = [line for file in sorted(Path("/").glob(SYSCTL_FILES[1:])) for line in file.read_text().splitlines()]
    settings = [match.groups() for line in lines if (match := re.match(r"-?([a-z][^ =]*) *= *(.*?) *$", line))]
    # A pattern is for those that nothing else names, as with systemd-sysctl.
    for name, value in sorted(settings, key=lambda setting: "*" not in setting[0]):
        for path in Path("/proc/sys").glob(name.replace(".", "/")):
            wanted[path] = (".".join(path.relative_to("/proc/sys").parts), " ".join(value.split()))
    for path, (name, value) in wanted.items():
        # A container can't set all of them.
        if os.access(path, os.W_OK) and (live := " ".join(read(path).split())) != value:
            yield found("sysctl", name, value, live, shlex.join(["sudo", "sysctl", "-w", f"{name}={value}"]))


def of_firewall(_) -> Iterator[dict[str, str]]:
    """The rules that hold, beside those that the file would give; tables of bans come and go."""
    if not has("nft") or not Path("/etc/nftables.conf").exists():
        return
    listing = "nft --stateless --terse list ruleset"
    live = tables(ask("sh", "-c", listing))
    wanted = tables(ask("unshare", "--net", "sh", "-c", f"nft -f /etc/nftables.conf && {listing}"))
    for name in sorted(live.keys() | wanted.keys()):
        if live.get(name) != wanted.get(name) and (name in wanted or "f2b" not in name):
            mend = "sudo systemctl reload nftables" if name in wanted else ""
            yield found("firewall", name, wanted.get(name, ""), live.get(name, ""), mend)


def tables(ruleset: str) -> dict[str, str]:
    parts = re.split(r"(?m)^table (.*) \{\n", without_counts(ruleset))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# MySQL


def of_mysql(known: list[dict[str, str]], asked: dict) -> Iterator[dict[str, str]]:
    """What was set, and who was let in, by hand. Where it doesn't run, that was found already."""
    if not any(unit["Id"] == "mysql.service" and unit["ActiveState"] == "active" for unit in known):
        return
    yield from mysql_variables()
    if "mysql" in asked:
        yield from mysql_people(asked["mysql"])
    persisted = read("/var/lib/mysql/mysqld-auto.cnf")
    for name in re.findall(r'"(\w+)" *: *\{ *"Value"', persisted):
        yield found("mysql", f"{name} (SET PERSIST)", "", "set for all starts to come", sql(f"RESET PERSIST {name}"))


def mysql_variables() -> Iterator[dict[str, str]]:
    rows = query(
        "SELECT i.variable_name, g.variable_value, i.set_user, i.set_host, i.set_time"
        " FROM performance_schema.variables_info i JOIN performance_schema.global_variables g USING (variable_name)"
        " WHERE i.variable_source = 'DYNAMIC' AND i.set_user IS NOT NULL AND i.set_user <> 'NULL'"
    )
    if not rows:
        return
    settings = mysql_settings()
    for name, value, user, host, when in rows:
        # A session that set it for itself alone is listed too. What isn't a setting can't be told apart from that.
        if name in settings and same(settings[name]) != same(value):
            now = f"{value}\n(by {user}@{host}, {when[:19]} in MySQL's time)"
            yield found("mysql", name, settings[name], now, sql(f"SET GLOBAL {name} = {literal(settings[name])}"))


def mysql_settings() -> dict[str, str]:
    """What MySQL would start with now."""
    said = ask("mysqld", "--verbose", "--help", "--user=mysql", "--log-error-verbosity=1")
    lines = said.partition("--------- ")[2].splitlines()[1:]
    pairs = [re.match(r"(\S+) +(.*?) *$", line) for line in lines]
    return {match[1].replace("-", "_"): match[2] for match in pairs if match}


def same(value: str) -> object:
    """Values that mean the same are written in several ways."""
    text = value.strip()
    if text in ("ON", "TRUE", "1"):
        return True
    if text in ("OFF", "FALSE", "0"):
        return False
    with contextlib.suppress(ValueError):
        return float(text)
    return frozenset(text.replace("(No default value)", "").split(","))


def literal(value: str) -> str:
    return value if re.fullmatch(r"[\d.]+|ON|OFF|TRUE|FALSE", value) else f"'{value}'"


def mysql_people(wanted: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    """Accounts and schemas that nobody described, and grants that nobody gave. wanted: account to its grants."""
    accounts = mysql_accounts()
    for name, how in accounts.items():
        user = name.partition("@")[0].strip('"')
        grants = sorted(line for (line, *_) in query(f"SHOW GRANTS FOR {name}"))
        if name in wanted:
            should = sorted([f"GRANT USAGE ON *.* TO {backticked(name)}", *wanted[name]])
            if grants != should:
                taken = [line.removeprefix("GRANT ") for line in grants if line not in should]
                back = "; ".join(f"REVOKE {line.partition(' WITH ')[0].replace(' TO ', ' FROM ')}" for line in taken)
                yield found("mysql account", name, "\n".join(should), "\n".join(grants), sql(back) if back else "")
            if how != "auth_socket as open":
                yield found("mysql account", f"{name} (how it proves itself)", "auth_socket as open", how)
        elif user not in MYSQLS_OWN:
            yield found("mysql account", name, "", "\n".join([how, *grants]))
    schemas = {row[0] for row in query("SELECT schema_name FROM information_schema.schemata")}
    described = {
        match[1].replace("\\_", "_")
        for grants in wanted.values()
        for each in grants
        if (match := re.search(r"ON `([^`]+)`\.", each))
    }
    for name in sorted(schemas - described - SCHEMAS_OF_MYSQL):
        yield found("mysql schema", name, "", "a schema that no app has")


def sql(statement: str) -> str:
    return shlex.join(["sudo", "mysql", "-e", statement])


def backticked(name: str) -> str:
    return name.replace('"', "`")


# Files that somebody wrote


def of_strangers(_) -> Iterator[dict[str, str]]:
    files = [file for pattern in BESIDE_OURS for file in sorted(Path("/").glob(pattern[1:])) if file.exists()]
    ours = {file for file in files if MARK.search(read(file))}
    others = {file: str(file.resolve()) for file in files if file not in ours}  # a link is its target's
    if not ours or not others:
        return
    said = ask("dpkg-query", "--search", *others.values(), code=1)
    owned = {line.rpartition(": ")[2] for line in said.splitlines()}
    owned |= {line.partition("  ")[2] for line in read(UCF).splitlines()}
    # When a file was made or changed in any way: its mtime may be older than it is here.
    began = min(file.stat().st_ctime for file in ours)  # what was there before came with the server
    for file, target in others.items():
        since = file.lstat().st_ctime
        if target not in owned and since > began:
            yield found("file", str(file), "", f"of no package, and none of ours, since {moment(since)}")


def of_conffiles(_) -> Iterator[dict[str, str]]:
    """Settings that came with a package and are others now."""
    for line in ask("dpkg-query", "--show", "--showformat=${Conffiles}\n").splitlines():
        path, _, rest = line.strip().partition(" ")
        digest = rest.split()[0] if rest else ""
        if not re.fullmatch("[0-9a-f]{32}", digest) or "obsolete" in rest:
            continue
        file = Path(path)
        if not file.exists():
            yield found("file", path, "as its package has it", "not there")
        elif hashlib.md5(file.read_bytes()).hexdigest() != digest and not MARK.search(read(file)):
            yield found("file", path, "as its package has it", f"changed {moment(file.stat().st_mtime)}")


def main(request: dict) -> dict:
    """request: {"mysql": {account: grants}} where there is a database."""
    os.environ.update(LC_ALL="C.UTF-8", PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    known = units()
    looks = (of_units, of_daemons, of_apps, of_sysctl, of_firewall, of_strangers, of_conffiles)
    everything, failed = [], {}
    with ThreadPoolExecutor(4) as pool:
        running = {look.__name__: pool.submit(lambda look=look: list(look(known))) for look in looks}
        running["of_mysql"] = pool.submit(lambda: list(of_mysql(known, request)))
        for name, each in running.items():
            try:
                everything += each.result()
            except (CouldNotAsk, OSError, subprocess.SubprocessError, ValueError) as error:
                failed[name.removeprefix("of_")] = str(error)
    return {"found": everything, "failed": failed}
