"""What a server is: {section: {key: value}}, from the server itself. It only reads. Standard library only: it is sent.

Two servers that were built alike give the same. What one server alone has is left out (LEFT_OUT), compared by what it
means (OWN), or given a name that all share (`Names`). No secret leaves the server: what not everyone there may read
leaves as a hash, with a key that whoever asks made for this one comparison, so nobody can try out guesses later.
"""

from __future__ import annotations

import contextlib
import fnmatch
import grp
import hashlib
import hmac
import json
import os
import pwd
import re
import stat
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sanso.digest.server import CouldNotAsk, ask, has, host_name, query, read

# The trees in which files are managed.
TREES = ("/etc", "/usr/local", "/srv", "/usr/share/pam-configs", "/root/.ssh", "/home/*/.ssh", "/var/lib/sanso-acme")
# Of these only what they are, who owns them and who may: programs write what is in them as they run.
OUTSIDE = (
    *("/run/mysqld", "/run/nginx", "/run/app-*", "/var/log/sanso", "/var/log/nginx"),
    *("/var/lib/mysql", "/var/lib/nginx"),
)
# path (of fnmatch): why it isn't compared at all
LEFT_OUT = {
    "*.pyc": "compiled Python holds a date, and is made when something is first imported",
    "*/__pycache__": "the same",
    "/etc/*-": "what useradd and its like changed last: a file as it was before, whichever step came last",
    "/etc/systemd/network/20-host0.network": "a local machine's own address, which the role machine writes",
    "/etc/.pwd.lock": "made by whichever tool was the first to change a password file",
    "/var/lib/mysql/*": "data",
    "/srv/*/redis/*": "data",
    "/srv/*/snapshots/*": "data, named by the moment at which a release came",
    "/run/*/*.pid": "there while a daemon runs, which its unit says",
    "/run/mysqld/*.lock": "the same",
    "/var/log/*.gz": "how often a log was rotated is the machine's age",
    "/var/log/*.[0-9]": "the same",
}
# path: why its bytes are its server's own, though it is there on every one
OWN = {
    "/etc/hostname": "the server's name",
    "/etc/machine-id": "made at the first boot",
    "/etc/passwd": "ids are given in the order of installation: see users",
    "/etc/shadow": "the same, and the dates of passwords: see users",
    "/etc/group": "the same: see groups",
    "/etc/gshadow": "the same: see groups",
    "/etc/sub?id": "the same",
    "/etc/ssh/ssh_host_*": "a server's identity: see host keys",
    "/etc/ssl/certs/ssl-cert-snakeoil.pem": "made for the server's name, by no one of us",
    "/etc/ssl/private/ssl-cert-snakeoil.key": "the same",
    "/etc/nginx/tls/*.pem": "each server has keys of its own: see certificates",
    "/srv/*/releases/*/record.json": "when it was released, by whom, and what that took",
    "/etc/nginx/trace_secret": "made on the server, and stays there",
    "/etc/mysql/debian.cnf": "a password of the distribution's own, where it has one",
    "/etc/letsencrypt/*": "accounts and keys with a CA: see certificates",
    "/home/*/.ssh/known_hosts*": "where somebody went from there",
    "/root/.ssh/known_hosts*": "the same",
}
# Where a server's name or address is said, in files and in MySQL. Not everywhere: one that is called "web" would have
# other paths then. path or variable (of fnmatch): why
NAMED = {
    "/etc/hosts": "the name leads to the server itself",
    "/etc/mailname": "what mail is sent from",
    "hostname": "the server's name",
    "*_log_file": "MySQL calls its logs so",
    "relay_log*": "the same",
    "log_bin*": "the same",
    "pid_file": "the same",
    "report_host": "what a replica would say",
}
# Units that come and go by themselves: of what they are, their files say enough. name (of fnmatch): why
TRANSIENT = {
    "user@*": "logins",
    "user-runtime-dir@*": "logins",
    "session-*": "logins",
    "systemd-hostnamed.*": "runs while it is asked",
    "systemd-timedated.*": "runs while it is asked",
    "systemd-localed.*": "runs while it is asked",
    "polkit.*": "runs while it is asked",
    "packagekit.*": "runs while it is asked",
    "ssh@*": "connections",
    "sshd@*": "connections",
    "run-*": "of somebody's systemd-run",
    "run-p*": "of somebody's systemd-run",
    "*@candidate.*": "runs while a release is tried",
    "app-*-run-[0-9]*.service": "runs while somebody runs a command",
}
MOUNTS_OF_LOGINS = ("/run/",)
TEXT_AT_MOST = 200_000  # bytes of a file that is shown


class Names:
    """What a server calls itself, and what all are called in its stead."""

    def __init__(self, name: str, addresses: list[str]):
        words = {name: "HOST", **dict.fromkeys(addresses, "ADDRESS")}
        self.words = words
        ordered = sorted(words, key=len, reverse=True)
        self.pattern = re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, ordered)) + r")(?!\w)")

    def common(self, text: str) -> str:
        return self.pattern.sub(lambda match: self.words[match[0]], text)


class Digest:
    """key: for the hashes of what not everyone on the server may read."""

    def __init__(self, key: str):
        self.key = key.encode()
        self.names = Names(host_name(), addresses())

    # Packages, users

    def packages(self) -> dict:
        said = ask("dpkg-query", "--show", "--showformat=${binary:Package}\t${Version}\t${db:Status-Abbrev}\n")
        lines = [line.split("\t") for line in said.splitlines()]
        return {name: f"{version} {status.strip()}" for name, version, status in lines}

    def manual_packages(self) -> dict:
        """Those that were asked for: what `apt autoremove` keeps."""
        return dict.fromkeys(ask("apt-mark", "showmanual").split(), "manual")

    def apt(self) -> dict:
        found: dict = {}
        for line in ask("apt-config", "dump").splitlines():
            name, _, value = line.partition(" ")
            found.setdefault(name, []).append(value.strip('";'))
        return {name: "\n".join(values) for name, values in found.items()}

    def users(self) -> dict:
        shadow = {line.split(":")[0]: line.split(":") for line in read("/etc/shadow").splitlines()}
        return {
            user.pw_name: {
                "home": user.pw_dir,
                "shell": user.pw_shell,
                "name": user.pw_gecos,
                "group": group_name(user.pw_gid),
                "system": yes(user.pw_uid < 1000),
                "password": password(shadow[user.pw_name][1]) if user.pw_name in shadow else "none",
                "expires": ":".join(shadow.get(user.pw_name, [""] * 9)[3:8]),
            }
            for user in pwd.getpwall()
        }

    def groups(self) -> dict:
        return {group.gr_name: " ".join(sorted(group.gr_mem)) for group in grp.getgrall()}

    # Files

    def files(self) -> dict:
        found = {str(path): self.file(path, described) for path, described in walk(TREES)}
        outside = {str(path): metadata(path, described) for path, described in walk(OUTSIDE)}
        return found | outside

    def file(self, path: Path, described: os.stat_result) -> dict:
        facts = metadata(path, described)
        if not stat.S_ISREG(described.st_mode) or matches(str(path), OWN):
            return facts
        content = path.read_bytes()
        if matches(str(path), NAMED):
            content = self.names.common(content.decode(errors="replace")).encode()
        return {**facts, **self.hashed(content, everyone=is_public(path))}

    def hashed(self, content: bytes, *, everyone: bool) -> dict:
        if everyone:
            return {"sha256": hashlib.sha256(content).hexdigest()}
        return {"keyed hash": hmac.digest(self.key, content, "sha256").hex()}

    # Daemons, as they themselves report their settings

    def units(self) -> dict:
        found: dict = {}
        for line in ask("systemctl", "list-unit-files", "--plain", "--no-legend").splitlines():
            name, enabled, *_ = line.split()
            if enabled != "transient" and not matches(name, TRANSIENT):
                found.setdefault(name, {})["at boot"] = enabled
        kinds = "--type=service,socket,timer,path,target"
        listed = ask("systemctl", "list-units", "--plain", "--no-legend", "--state=active,failed", kinds)
        timers = json.loads(ask("systemctl", "list-timers", "--all", "--output=json"))
        by_timers = {each.get("activates") for each in timers}
        for line in listed.splitlines():
            name, _, active, state, *_ = line.split()
            # What a timer starts now and then runs by chance; that it failed is none.
            if not matches(name, TRANSIENT) and (name not in by_timers or active == "failed"):
                found.setdefault(name, {})["now"] = f"{active} {state}" if active == "failed" else active
        return found

    def listeners(self) -> dict:
        found: dict = {}
        for line in ask("ss", "-Hltunp").splitlines():
            kind, _, _, _, local, *rest = line.split()
            programs = sorted(set(re.findall(r'\("([^"]+)"', " ".join(rest))))
            found[f"{kind} {self.names.common(local)}"] = " ".join(programs)
        for line in ask("ss", "-Hlx").splitlines():
            path = line.split()[4]
            if path.startswith("/run/") and not path.startswith(("/run/user/", "/run/systemd/")):
                found[f"unix {path}"] = "listens"
        return found

    def sshd(self) -> dict:
        if not has("sshd"):
            return {}
        found: dict = {}
        for line in ask("sshd", "-T").splitlines():
            name, _, value = line.partition(" ")
            found.setdefault(name, []).append(self.names.common(value) if name == "listenaddress" else value)
        return {name: "\n".join(sorted(values)) for name, values in found.items()}

    def host_keys(self) -> dict:
        """Their kinds and sizes: the keys themselves are the server's identity."""
        keys = sorted(Path("/etc/ssh").glob("ssh_host_*_key.pub"))
        said = {key.name: ask("ssh-keygen", "-lf", str(key)).split() for key in keys}
        return {name: f"{words[0]} {words[-1]}" for name, words in said.items()}

    def certificates(self) -> dict:
        """What each is good for, not which it is."""
        shown = ("-subject", "-issuer", "-ext", "subjectAltName,keyUsage,extendedKeyUsage")
        found = {}
        for file in sorted(Path("/etc/nginx/tls").glob("*.pem")):
            said = ask("openssl", "x509", "-noout", *shown, "-text", "-certopt", CERTIFICATE, "-in", str(file))
            kept = [line.strip() for line in said.splitlines() if line.strip() and "Certificate:" not in line]
            kept = [line for line in kept if not re.match(r"(?:[0-9a-f]{2}:)+(?:[0-9a-f]{2})?$|(pub|Modulus):", line)]
            found[str(file)] = "\n".join(dict.fromkeys(kept))
        return found

    def nginx(self) -> dict:
        """The files that it reads, in the order in which it does, and what is in them."""
        if not has("nginx"):
            return {}
        parts = re.split(r"(?m)^# configuration file (.*):$", ask("nginx", "-T"))
        texts = dict(zip(parts[1::2], parts[2::2], strict=True))
        return {
            path: f"read as number {number} of {len(texts)}\n" + self.shown(path, text)
            for number, (path, text) in enumerate(texts.items(), 1)
        }

    def shown(self, path: str, text: str) -> str:
        if matches(path, OWN):
            return "its own"
        if is_public(Path(path)):
            return text
        return self.hashed(text.encode(), everyone=False)["keyed hash"]

    def nftables(self) -> dict:
        """Rules, and not what came through them. fail2ban's tables are there once it banned somebody."""
        if not has("nft"):
            return {}
        tables = [line.removeprefix("table ") for line in ask("nft", "list", "tables").splitlines()]
        rules = {name: ask("nft", "--stateless", "--terse", "list", "table", *name.split()) for name in tables}
        return {name: without_counts(text) for name, text in rules.items() if "f2b" not in name}

    def fail2ban(self) -> dict:
        if not has("fail2ban-client"):
            return {}
        from fail2ban.client.csocket import CSocket  # fail2ban's own words, without the start of its client for each

        asked = [["get", "sshd", name] for name in FAIL2BAN] + [["get", "dbpurgeage"], ["get", "loglevel"]]
        try:
            with contextlib.closing(CSocket("/run/fail2ban/fail2ban.sock")) as connection:
                said = {" ".join(words[1:]): connection.send(words) for words in asked}
        except OSError as error:
            raise CouldNotAsk(f"fail2ban doesn't answer: {error}") from error
        return {name: str(answer) if code == 0 else f"none: {answer}" for name, (code, answer) in said.items()}

    # The kernel

    def sysctl(self) -> dict:
        return {name: value for name, value in sysctls().items() if value is not None}

    def mounts(self) -> dict:
        """Where something is mounted, and what may be done there."""
        found: dict = {}
        for line in read("/proc/self/mountinfo").splitlines():
            target, options = line.split()[4:6]
            if not target.startswith(MOUNTS_OF_LOGINS):
                found.setdefault(target, []).append(options)
        return {target: "\n".join(options) for target, options in found.items()}

    # MySQL

    def mysql_variables(self) -> dict:
        if not has("mysqld"):
            return {}
        rows = query("SELECT variable_name, variable_value FROM performance_schema.global_variables")
        # The UUID is the server's own, made with its data.
        values = {name: "\t".join(value) for name, *value in rows if name != "server_uuid"}
        return {name: self.names.common(text) if matches(name, NAMED) else text for name, text in values.items()}

    def mysql_accounts(self) -> dict:
        """Who they are and how they prove it, and their grants."""
        if not has("mysqld"):
            return {}
        accounts = mysql_accounts()
        shows = "".join(f"SELECT {quoted(name)}; SHOW GRANTS FOR {name};\n" for name in accounts)
        grants: dict = {}
        for line, *_ in query(shows):
            if line in accounts:
                at = grants.setdefault(line, [])
            else:
                at.append(line)
        return {name: "\n".join([how, *sorted(grants.get(name, []))]) for name, how in accounts.items()}

    def mysql_schemas(self) -> dict:
        if not has("mysqld"):
            return {}
        schemas = query(
            "SELECT schema_name, default_character_set_name, default_collation_name FROM information_schema.schemata"
        )
        # What is in the server's own schemas is its version.
        columns = query(
            "SELECT table_schema, table_name, column_name, column_type, is_nullable, column_key"
            " FROM information_schema.columns WHERE table_schema NOT IN"
            " ('mysql', 'sys', 'information_schema', 'performance_schema') ORDER BY 1, 2, ordinal_position"
        )
        found = {name: f"{charset} {collation}" for name, charset, collation in schemas}
        for schema, table, *column in columns:
            name = f"{schema}.{table}"
            found[name] = "\n".join(filter(None, [found.get(name, ""), " ".join(column).strip()]))
        return found


SECTIONS = {
    "packages": Digest.packages,
    "manual packages": Digest.manual_packages,
    "apt": Digest.apt,
    "users": Digest.users,
    "groups": Digest.groups,
    "files": Digest.files,
    "units": Digest.units,
    "listeners": Digest.listeners,
    "sshd": Digest.sshd,
    "host keys": Digest.host_keys,
    "certificates": Digest.certificates,
    "nginx": Digest.nginx,
    "nftables": Digest.nftables,
    "fail2ban": Digest.fail2ban,
    "sysctl": Digest.sysctl,
    "mounts": Digest.mounts,
    "mysql variables": Digest.mysql_variables,
    "mysql accounts": Digest.mysql_accounts,
    "mysql schemas": Digest.mysql_schemas,
}


# Parts that the look for what was changed by hand uses too


CERTIFICATE = "no_header,no_version,no_serial,no_signame,no_validity,no_sigdump,no_aux,no_extensions"
FAIL2BAN = ("actions", "bantime", "findtime", "ignoreip", "journalmatch", "maxretry", "usedns")
SYSCTL_FILES = "/etc/sysctl.d/*-sanso*.conf"


def addresses() -> list[str]:
    """Its own, but those that every server has."""
    said = json.loads(ask("ip", "-json", "address")) if has("ip") else []
    found = [each["local"] for link in said for each in link.get("addr_info", []) if "local" in each]
    return [address for address in found if not address.startswith(("127.", "::1"))]


def mysql_accounts() -> dict[str, str]:
    """By name as SQL has it: how each proves who it is. Passwords don't leave; that there is one does."""
    rows = query(
        "SELECT user, host, plugin, IF(plugin = 'auth_socket', CONCAT('as ', authentication_string),"
        " IF(authentication_string = '', 'without a password', 'with a password')), account_locked FROM mysql.user"
    )
    return {
        f"{quoted(user)}@{quoted(host)}": " ".join([plugin, how.strip(), "locked" if locked == "Y" else "open"])
        for user, host, plugin, how, locked in rows
    }


def quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def without_counts(rules: str) -> str:
    """nft's listing less how much each set holds just now."""
    return re.sub(r"\s*# count.*", "", rules)


def sysctls() -> dict[str, str | None]:
    """The names in our files, with what the kernel has; None where it has no such name, as in a container."""
    found = {}
    for file in sorted(Path("/").glob(SYSCTL_FILES[1:])):
        for name in re.findall(r"(?m)^-?([a-z][^ =]*) *=", file.read_text()):
            for each in sorted(Path("/proc/sys").glob(name.replace(".", "/"))) or [None]:
                key = ".".join(each.parts[3:]) if each else name
                found[key] = value_of(each) if each else None
    return found


def value_of(path: Path) -> str | None:
    try:
        return " ".join(path.read_text().split())
    except OSError:
        return None


def walk(trees: tuple[str, ...]):
    """Each path below them with what lstat says, but those that are left out."""
    for tree in trees:
        for top in sorted(Path("/").glob(tree[1:])):
            yield from below(top)


def below(path: Path):
    if matches(str(path), LEFT_OUT):
        return
    try:
        described = path.lstat()
    except FileNotFoundError:
        return  # it went while we looked
    if stat.S_ISLNK(described.st_mode) and str(path.readlink()).endswith("ssl-cert-snakeoil.pem"):
        return  # its own name is a hash of the server's name
    yield path, described
    if stat.S_ISDIR(described.st_mode):
        for each in sorted(path.iterdir()):
            yield from below(each)


def matches(name: str, patterns: dict[str, str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "pipe",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def metadata(path: Path, described: os.stat_result) -> dict:
    kind = KINDS[stat.S_IFMT(described.st_mode)]
    facts = {"kind": kind, "owner": user_name(described.st_uid), "group": group_name(described.st_gid)}
    if kind == "link":  # which has no mode of its own
        return {**facts, "to": str(path.readlink())}
    return {**facts, "mode": f"{stat.S_IMODE(described.st_mode):04o}", **acls(path)}


def acls(path: Path) -> dict[str, str]:
    """Who may beside owner and group, where a file or a folder says so. A mode's group bits are a mask then."""
    found = {}
    for name in ("access", "default"):
        with contextlib.suppress(OSError):
            entries = struct.iter_unpack("<HHI", os.getxattr(path, f"system.posix_acl_{name}")[4:])
            found[f"{name} of others"] = " ".join(sorted(acl_entry(*each) for each in entries))
    return found


ACL_TAGS = {1: "owner", 2: "user", 4: "group", 8: "group", 16: "mask", 32: "others"}


def acl_entry(tag: int, allowed: int, number: int) -> str:
    who = {2: user_name, 8: group_name}.get(tag, lambda _: "")(number)
    bits = "".join(letter if allowed & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
    return f"{ACL_TAGS[tag]}:{who}:{bits}"


def is_public(path: Path) -> bool:
    """Tell whether everyone on the server may read it: the file, and the way to it."""
    try:
        path = path.resolve(strict=True)
        way = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
        return way and bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"nobody known ({number})"


def group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return f"nobody known ({number})"


def password(field: str) -> str:
    """The kind of a password: not the hash."""
    if not field:
        return "empty"
    return "locked" if field[0] in "!*" else f"set ({field.split('$')[1] if '$' in field else 'old'})"


def yes(true: bool) -> str:
    return "yes" if true else "no"


def texts(paths: list[str]) -> dict[str, str]:
    """What is in those files that everyone on the server may read, as far as it is text."""
    names, found = Names(host_name(), addresses()), {}
    for each in paths:
        path = Path(each)
        if path.is_file() and not path.is_symlink() and is_public(path) and not matches(each, OWN):
            content = path.read_bytes()
            if len(content) < TEXT_AT_MOST:
                with contextlib.suppress(UnicodeDecodeError):
                    text = content.decode()
                    found[each] = names.common(text) if matches(each, NAMED) else text
    return found


def digest(key: str) -> dict:
    """The sections, and the words of what failed."""
    found, failed, taken = {}, {}, Digest(key)
    with ThreadPoolExecutor(4) as pool:  # most of them wait for a program
        running = {name: pool.submit(section, taken) for name, section in SECTIONS.items()}
        for name, each in running.items():
            try:
                found[name] = each.result()
            except (CouldNotAsk, OSError, subprocess.SubprocessError, ValueError) as error:
                failed[name] = str(error)
    return {"sections": found, "failed": failed}


def main(request: dict) -> dict:
    os.environ.update(LC_ALL="C.UTF-8", PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return {"texts": texts(request["texts"])} if "texts" in request else digest(request["key"])
