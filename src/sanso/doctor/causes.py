"""What is wrong, and what mends it, by what was seen of a server from here and from inside.

Looks follow the request's path, from the client on. What is found first explains the failure, unless something behind
it explains that in turn: a disk that is full is the cause, and not MySQL, which it stopped.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from cryptography import x509

from sanso.doctor.client import Reply, Seen, Served
from sanso.tracing.evidence import printable
from sanso.tracing.findings import LATER_ERRORS, SOCKET_ERRORS, mysql_meaning
from sanso.tracing.sites import fits

CLOCK_SECONDS = 30  # that clocks may differ by
SOON = 60  # s after which systemd has started again what was killed
MEMORY_PERCENT = 3  # of it that has to be available
# What stops whatever wants to write, or just runs.
SYSTEM = ("disk", "inodes", "read_only", "killed")
DATABASE = ("mysql", "mysql_connections", "mysql_account", "mysql_socket", "mysql_lock")
# X509_V_ERR_…: what OpenSSL finds wrong with a certificate.
NOT_YET, EXPIRED, OTHER_NAME, OTHER_ADDRESS, SELF_SIGNED = 9, 10, 62, 64, 18
NOT_FOUND, NO_ENTRY, REFUSED, FULL = 404, 13, 111, 11
GONE = 2
SCHEMA = re.compile(
    r"\(?1146\b|\b1054\b|doesn't exist|Unknown column|no such (table|column)|is at migration|unapplied migration"
    r"|relation \S+ does not exist",
    re.IGNORECASE,
)
OF_MYSQL = re.compile(r"MySQL|mysqld|pymysql|OperationalError|\b(2002|2003|1040|1045|1698)\b")
LAST_WORD = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Exit|Warning|Interrupt)\b.*")
# What uWSGI and systemd say at every start and end.
NOISE = re.compile(
    r"^(app-|Starting |Started |Stopped |Stopping |Failed to start|\*\*\*|\[uWSGI\]|WSGI|spawned|running |mapped |your "
    r"|thunder|Python |detected |compiled |os: |nodename|machine: |clock |pcre |setting |set PythonHome|current working"
    r"|lock engine|uwsgi socket|closing |uWSGI|unable to load app 0|VACUUM|dropping|chdir|.*Main process exited"
    r"|.*Failed with result|.*Scheduled restart|.*restart counter|.*Consumed |.*Start request repeated|.*Deactivated"
    r"|\s*$)"
)


@dataclass(frozen=True)
class Finding:
    """kind: its name among others; tier: where it is; because: kinds of what explains it, were that found too."""

    kind: str
    tier: str
    cause: str
    fix: str
    evidence: tuple[str, ...] = ()
    because: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """All that is known.

    server: what its program said; empty where it couldn't be asked, and shut is why then. app: its description, empty
    where the name in the URL is no app's; names: those that the inventory has. runs: whether a machine on this computer
    does, None for a server. ahead: seconds that the server's clock is ahead of ours.
    """

    seen: Seen
    server: Mapping
    app: Mapping
    settings: Mapping
    host: str
    names: list[str] = field(default_factory=list)
    option: str = ""
    several: bool = False
    shut: str = ""
    runs: bool | None = None
    ahead: float = 0.0

    @property
    def reply(self) -> Reply:
        return self.seen.reply

    @property
    def name(self) -> str:
        return self.app.get("name", "")

    @property
    def inside(self) -> Mapping:
        """What the server said of the app."""
        return (self.server.get("apps") or {}).get(self.name) or {}

    @property
    def health(self) -> Mapping:
        return self.inside.get("health") or {}

    @property
    def has_mysql(self) -> bool:
        return self.app.get("database", "mysql") == "mysql"

    def unit(self, name: str) -> Mapping:
        return (self.server.get("units") or {}).get(name) or {}

    def app_unit(self, kind: str) -> str:
        return f"app-{self.name}@current.{kind}"

    def of(self, part: str) -> Mapping:
        return self.server.get(part) or {}

    def does_run(self, name: str) -> bool:
        return self.unit(name).get("ActiveState") in ("active", "reloading")

    def sanso(self, *words: str) -> str:
        return f"./sanso {words[0]}{self.option}{''.join(f' {word}' for word in words[1:])}"

    def on(self, *commands: str) -> str:
        """Commands of the server's root, from here."""
        words = " && ".join(f"sudo {command}" for command in commands)
        # What the shell here would take for itself goes there as one word.
        words = shlex.quote(words) if re.search(r"[&|<>;]", words) else words
        return self.sanso("ssh", *([self.host] if self.several else []), "--", words)


Look = Callable[[Case], Iterator[Finding]]


def diagnose(case: Case) -> list[Finding]:
    """All that is wrong, the cause of the failure first. Empty where nothing is."""
    found = [finding for look in LOOKS for finding in look(case)]
    if not found:
        return [*unexplained(case)]
    first = cause_of(found[0], found)
    return [first, *(finding for finding in found if finding is not first)]


def cause_of(finding: Finding, found: list[Finding]) -> Finding:
    """What explains a finding, and that in turn."""
    kinds = {each.kind: each for each in reversed(found)}
    told = {finding.kind}
    while deeper := next((kind for kind in finding.because if kind in kinds and kind not in told), ""):
        finding = kinds[deeper]
        told.add(deeper)
    return finding


# The name


def name_leads_nowhere(case: Case) -> Iterator[Finding]:
    seen = case.seen
    if not seen.own:
        yield Finding(
            "address",
            "name",
            f"the inventory's address of {case.host}, {case.reply.address}, isn't known",
            f"ansible_host: its address, for {case.host} in the inventory's hosts.yml",
        )
    if not seen.unresolved or not case.app:
        return
    here = case.sanso("up") if case.runs is not None else ""
    address = seen.own[0] if seen.own else case.reply.address
    kind = "AAAA" if ":" in address else "A"
    yield Finding(
        "dns",
        "name",
        f"{seen.name} leads nowhere: no DNS server, and no file of this computer's, knows its address",
        here or f"a DNS record: {seen.name}. {kind} {address}",
        (f"looking it up: {seen.unresolved}",),
    )


def name_leads_elsewhere(case: Case) -> Iterator[Finding]:
    """To others than the server: that is well where what stands there passes the request on to it."""
    seen, ours = case.seen, {*case.seen.own, *(case.server.get("addresses") or [])}
    for other in seen.others:
        if other.address in ours or (other.is_well and case.of("nginx").get("logged") is not False):
            continue
        said = f"{other.address} answered {other.status}" if other.status else f"{other.address}: {other.problem}"
        kind = "AAAA" if ":" in other.address else "A"
        right = next((each for each in seen.own if (":" in each) == (":" in other.address)), "")
        yield Finding(
            "elsewhere",
            "name",
            f"{seen.name} leads to {other.address}, which isn't {case.host} ({', '.join(seen.own)})",
            f"a DNS record: {seen.name}. {kind} {right}"
            if right
            else f"no DNS record {seen.name}. {kind} {other.address}",
            (said, f"{seen.own[0]} itself answered {case.reply.status or case.reply.problem}" if seen.own else ""),
        )
        return


def name_is_nobodys(case: Case) -> Iterator[Finding]:
    if case.app:
        return
    if case.seen.name in case.names:
        what = f"no app begins at {case.seen.url}"
        yield Finding("name", "name", what, "path: / of an app in the inventory's apps", (told(case.reply),))
        return
    known = ", ".join(case.names) or "none"
    yield Finding(
        "name",
        "name",
        f"{case.seen.name} is no name that is served; {known} is",
        f"server_names: [{', '.join([*case.names[:1], case.seen.name])}] of an app in the inventory's apps",
        (told(case.reply),),
    )


# The computer, and the way to it


def machine_is_down(case: Case) -> Iterator[Finding]:
    where = f"{case.host} ({', '.join(case.seen.own)})"
    if case.runs is False:
        yield Finding("machine", "network", f"the machine {case.host} doesn't run", case.sanso("up"))
    elif case.shut and not case.reply.stage:
        yield Finding(
            "machine",
            "network",
            f"{where} is down, or no way leads there: neither port {case.seen.port} nor SSH answers",
            f"start it; ping -c 3 {case.reply.address} tells when it is back",
            (f"port {case.seen.port}: {case.reply.problem}", f"SSH: {case.shut}"),
        )


def port_is_closed(case: Case) -> Iterator[Finding]:
    if case.reply.stage or not case.server:
        return
    port, rules = case.seen.port, case.of("firewall")
    drops, accepts = rules.get("drops") or [], rules.get("accepts")
    seen = f"connecting to {case.reply.address}:{port}: {case.reply.problem}"
    if drops or accepts is False:
        wanted = case.settings.get("os_firewall_tcp_ports", [80, 443])
        if port not in wanted:
            fix = f"os_firewall_tcp_ports: [{', '.join(map(str, [*wanted, port]))}] in the inventory, then ./sanso up"
        else:
            fix = case.on("nft -f /etc/nftables.conf") if rules.get("in_file") else case.sanso("up")
        why = drops[0] if drops else f"no rule lets port {port} in, and the rest is dropped"
        yield Finding(
            "firewall", "network", f"the firewall of {case.host} doesn't let port {port} in", fix, (seen, f"nft: {why}")
        )
    elif case.reply.timed_out and case.of("listeners"):
        yield Finding(
            "way",
            "network",
            f"something between here and {case.host} drops port {port}: a firewall of its provider's, or of yours",
            f"let TCP {port} in there, to {case.reply.address}",
            (seen, "there, nginx listens, and its own firewall lets the port in"),
        )
    elif case.does_run("nginx.service") and not case.of("listeners"):
        ports = ", ".join(case.of("nginx").get("ports") or [])
        yield Finding(
            "port",
            "web",
            f"nginx runs, and doesn't listen on port {port}",
            case.on("systemctl restart nginx"),
            (seen, f"its configuration says: {ports}"),
        )


# nginx


def nginx_is_down(case: Case) -> Iterator[Finding]:
    unit = case.unit("nginx.service")
    if not unit or case.does_run("nginx.service") or case.reply.is_well:
        return  # a connection to its socket starts it
    nginx, seen = case.of("nginx"), (told(case.reply), state(unit))
    strangers = [each for each in case.server.get("listeners") or [] if each["program"] not in ("nginx", "systemd")]
    if broken(nginx):
        yield broken_configuration(case, "nginx doesn't start: its configuration is broken", seen)
    elif strangers:
        other = strangers[0]
        stop = f"systemctl disable --now {other['unit']}" if is_unit(other["unit"]) else f"kill {other['pid']}"
        yield Finding(
            "port_taken",
            "web",
            f"port {case.seen.port} is {other['program']}'s ({other['unit'] or other['pid']}), so nginx can't have it",
            case.on(stop, "systemctl restart nginx"),
            (*seen, *last(unit, 2)),
        )
    else:
        yield Finding(
            "nginx",
            "web",
            f"nginx isn't running: {why_down(unit)}",
            case.on("systemctl restart nginx"),
            (*seen, *last(unit, 3)),
            SYSTEM,
        )


def broken(nginx: Mapping) -> list[str]:
    return list(nginx.get("complaints") or []) if nginx.get("config_ok") is False else []


def broken_configuration(case: Case, said: str, seen: tuple[str, ...]) -> Finding:
    complaints = broken(case.of("nginx"))
    first = re.sub(r"^.*\[emerg\] (\d+#\d+: )?", "", complaints[0]) if complaints else "nginx -t fails"
    evidence = (*seen, "nginx -t there says so")
    return Finding("nginx_configuration", "web", f"{said}: {first}", case.sanso("up"), evidence, SYSTEM)


def nginx_hangs(case: Case) -> Iterator[Finding]:
    if case.reply.stage == "connected" and case.reply.timed_out and case.does_run("nginx.service"):
        yield Finding(
            "nginx",
            "web",
            "nginx takes connections, and says nothing: its workers hang",
            case.on("systemctl restart nginx"),
            (told(case.reply), state(case.unit("nginx.service"))),
        )


# TLS


def certificate_is_refused(case: Case) -> Iterator[Finding]:
    code, served = case.reply.verify, case.reply.served
    if not code or not case.app:
        return
    name, seen = case.seen.name, (f"OpenSSL: {case.reply.problem}", *shown(served))
    newer = better(case)
    if newer:
        fix = case.on("systemctl reload nginx")
        seen += (f"the file on the server holds another one: until {day(newer.ends)}, for {', '.join(newer.names)}",)
    else:
        fix = renewal(case)
    if code in (EXPIRED, NOT_YET):
        when = f"expired on {day(served.ends)}" if code == EXPIRED and served else "has expired"
        if code == NOT_YET:
            when = f"isn't valid before {day(served.begins)}" if served else "isn't valid yet"
        stale = "nginx still serves an old certificate: it " if newer else f"the certificate of {name} "
        yield Finding("certificate_dates", "tls", stale + when, fix, seen, ("clock",))
    elif code in (OTHER_NAME, OTHER_ADDRESS):
        names = ", ".join(served.names) if served else "other names"
        yield Finding("certificate_name", "tls", f"the certificate isn't for {name}, but for {names}", fix, seen)
    else:
        yield untrusted(case, served, seen, fix)


def untrusted(case: Case, served: Served | None, seen: tuple[str, ...], fix: str) -> Finding:
    issuer = served.issuer if served else "somebody"
    what = f"this computer doesn't trust {issuer}, who signed the certificate of {case.seen.name}"
    if case.reply.verify == SELF_SIGNED:
        what = f"the certificate of {case.seen.name} is signed by itself, so nobody trusts it"
    elif source(case) not in ("local", "acme") and all(text.count("BEGIN") == 1 for text in on_disk(case)):
        what += ", and the file holds no chain that leads to a CA"
        fix = "nginx_tls_certificate: a file with the whole chain (fullchain.pem) in the inventory, then ./sanso up"
    return Finding("certificate_trust", "tls", what, fix, seen)


def source(case: Case) -> str:
    """Where the app's certificate comes from."""
    own = case.app.get("certificate") or case.settings.get("nginx_tls_certificate")
    return own or case.settings.get("nginx_certificates") or "local"


def renewal(case: Case) -> str:
    if source(case) == "acme":
        return case.on("sanso-acme renew")
    if source(case) == "local":
        return case.sanso("up")
    return f"put a newer one into {source(case)}, then {case.sanso('up')}"


def on_disk(case: Case) -> list[str]:
    return [text for text in (case.of("nginx").get("certificates") or {}).values() if text]


def better(case: Case) -> Served | None:
    """The certificate in nginx's files that would do, and isn't the one that is served."""
    now, name = time.time(), case.seen.name
    for text in on_disk(case):
        try:
            found = Served.of(x509.load_pem_x509_certificate(text.encode()))
        except ValueError:
            continue
        fitting = any(fits(pattern, name) for pattern in found.names) and found.begins <= now <= found.ends
        if fitting and case.reply.served and found.serial != case.reply.served.serial:
            return found
    return None


def shown(served: Served | None) -> tuple[str, ...]:
    if not served:
        return ()
    names = ", ".join(served.names)
    return (f"served: for {names}, {day(served.begins)} to {day(served.ends)}, by {served.issuer}",)


def day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def handshake_fails(case: Case) -> Iterator[Finding]:
    reply, name = case.reply, case.seen.name
    refused = "UNRECOGNIZED_NAME" in reply.reason or reply.status == 421
    hung_up = not case.seen.secure and reply.stage == "sent" and not reply.timed_out
    patterns = case.of("nginx").get("names") or []
    knows = any(fits(pattern.lower(), name) for pattern in patterns)
    if not case.app or (not refused and not (hung_up and patterns and not knows)):
        if reply.reason and reply.stage == "connected" and not reply.verify and not refused:
            yield Finding(
                "tls",
                "tls",
                f"what answers on port {case.seen.port} doesn't speak TLS as it should: {reply.problem}",
                case.on("systemctl restart nginx"),
                (f"listening there: {', '.join(each['program'] for each in case.server.get('listeners') or [])}",),
            )
        return
    listed = ", ".join(sorted({pattern for pattern in patterns if pattern != "_"}))
    yield Finding(
        "server_name",
        "web",
        f"nginx there knows no site {name}, though the inventory has it"
        if not knows
        else f"nginx has the site {name} in its files, and doesn't know it yet",
        case.on("systemctl reload nginx") if knows else case.sanso("up"),
        (told(reply), f"server_name there: {listed}"),
    )


# The socket


def socket_is_wrong(case: Case) -> Iterator[Finding]:
    inside, number = case.inside, case.health.get("errno", 0)
    if not inside or number not in (GONE, NO_ENTRY, REFUSED):
        return
    folder, link = f"/run/app-{case.name}", inside.get("link", "")
    units = f"{case.app_unit('socket')} {case.app_unit('service')}"
    unit = case.unit(case.app_unit("socket"))
    seen = (told(case.reply), f"nginx's user on {socket_of(case)}: {SOCKET_ERRORS[number].format(app=case.name)}")
    mend = case.on(f"ln -sfn current.sock {folder}/app.sock")
    others = inside.get("others") or []
    if number == NO_ENTRY:
        yield forbidden(case, seen)
    elif number == GONE and link and "current.sock" in others and link.rpartition("/")[2] != "current.sock":
        what = f"{folder}/app.sock, where nginx asks for {case.name}, leads to {link}, which doesn't exist"
        yield Finding("socket_link", "app", what, mend, seen)
    elif number == GONE and socket_of(case).endswith("/app.sock") and not link and "current.sock" in others:
        what = f"{folder}/app.sock is missing, the link where nginx asks for {case.name}"
        yield Finding("socket_link", "app", what, mend, seen)
    elif number == GONE and unit.get("ActiveState") != "active":
        if is_starting(unit, case.unit(case.app_unit("service"))):
            return  # the service tells why
        what = f"the socket of {case.name} doesn't exist: {case.app_unit('socket')} isn't running: {why_down(unit)}"
        fix = case.on(f"systemctl restart {case.app_unit('socket')}")
        yield Finding("socket", "app", what, fix, (*seen, *last(unit, 2)), (*SYSTEM, "app"))
    else:
        what = "was removed" if number == GONE else "is left over: nobody listens on it"
        what = (
            f"the socket of {case.name} {what}, though {case.app_unit('socket')} is {unit.get('ActiveState', 'there')}"
        )
        yield Finding("socket", "app", what, case.on(f"systemctl restart {units}"), seen)


def is_starting(socket: Mapping, service: Mapping) -> bool:
    """Tell whether a socket's unit gave up because its service doesn't start."""
    return socket.get("Result") in ("service-start-limit-hit", "trigger-limit-hit") and bool(service)


def socket_of(case: Case) -> str:
    return (case.of("nginx").get("sockets") or {}).get(case.name) or f"/run/app-{case.name}/app.sock"


def forbidden(case: Case, seen: tuple[str, ...]) -> Finding:
    folder, real = case.inside.get("folder") or {}, case.inside.get("real") or {}
    group = case.settings.get("app_web_group", "www-data")
    path = real.get("path", socket_of(case))
    seen += tuple(f"{each['path']}: {each['mode']} {each['owner']}:{each['group']}" for each in (folder, real) if each)
    if folder and not int(folder["mode"], 8) & 0o001:
        what, fix = f"the folder {folder['path']} doesn't let nginx through", f"chmod 0755 {folder['path']}"
    elif real and real["group"] != group:
        what = f"the socket of {case.name} belongs to {real['owner']}:{real['group']}, so nginx may not open it"
        fix = f"chown root:{group} {path}"
    else:
        what = f"the socket of {case.name} has the mode {real.get('mode', '?')}, so nginx may not open it"
        fix = f"chmod 0660 {path}"
    return Finding("socket_mode", "app", what, case.on(fix), seen)


def stranger_listens(case: Case) -> Iterator[Finding]:
    peer = case.inside.get("peer") or {}
    if not peer:
        return
    stop = f"systemctl stop {peer['unit']}" if is_unit(peer["unit"]) else f"kill {peer['pid']}"
    units = f"{case.app_unit('socket')} {case.app_unit('service')}"
    yield Finding(
        "peer",
        "app",
        f"another process than {case.name} answers on its socket: {peer['command'] or peer['unit'] or peer['pid']}",
        case.on(stop, f"systemctl restart {units}"),
        (told(case.reply), f"process {peer['pid']} of {peer['unit'] or 'no unit'} listens on {socket_of(case)}"),
    )


# The app


def release_is_missing(case: Case) -> Iterator[Finding]:
    inside = case.inside
    if not inside or inside.get("release_is_there"):
        return
    what = (
        f"its link leads to {inside['release']}, which doesn't exist" if inside.get("release") else "there is none yet"
    )
    yield Finding(
        "release",
        "app",
        f"no release of {case.name} can serve: {what}",
        case.sanso("deploy", case.name),
        (told(case.reply), f"/srv/{case.name}/current"),
    )


def app_does_not_start(case: Case) -> Iterator[Finding]:
    unit = case.unit(case.app_unit("service"))
    if not case.inside or not unit or case.health.get("status") or case.does_run(case.app_unit("service")):
        return
    if unit.get("ActiveState") == "inactive" and unit.get("Result") == "success":
        return  # a request to its socket starts it
    trace = traceback(unit.get("said") or [])
    why = trace[-1] if trace else " ".join(words_of(unit)[-1:]) or why_down(unit)
    if "callable not found" in " ".join(unit.get("said") or []) and not trace:
        why = f"{case.app.get('wsgi', 'its callable')} is not there (wsgi)"
    because = ("release", *SYSTEM, *(DATABASE if OF_MYSQL.search(why) else ()))
    back = case.inside.get("before") not in ("", None, case.inside.get("release"))
    fix = case.sanso("rollback", case.name) if back else f"mend that, then {case.sanso('deploy', case.name)}"
    seen = (told(case.reply), state(unit), *trace[-5:-1])
    yield Finding("app", "app", f"{case.name} doesn't start: {why}", fix, seen, because)


def traceback(lines: list[str]) -> list[str]:
    """The last one's lines, up to the exception; a syntax error without a head as well."""
    ends = [number for number, line in enumerate(lines) if LAST_WORD.match(line)]
    if not ends:
        return []
    heads = [number for number, line in enumerate(lines[: ends[-1]]) if line.startswith("Traceback (most recent")]
    return lines[heads[-1] if heads else max(0, ends[-1] - 3) : ends[-1] + 1]


def workers_are_busy(case: Case) -> Iterator[Finding]:
    health, inside = case.health, case.inside
    if not inside or not health or health.get("status") or not case.does_run(case.app_unit("service")):
        return
    processes, waiting = case.app.get("processes", 2), inside.get("waiting", 0)
    seen = (told(case.reply), *nginx_said(case))
    because = (*DATABASE, "redis", *SYSTEM)
    if health.get("errno") == FULL or waiting:
        what = f"all {processes} workers of {case.name} are at work, and {max(waiting, 1)} requests wait in its socket"
        fix = f"processes: {2 * processes} for {case.name} in the inventory's apps, then {case.sanso('up')}"
        yield Finding("busy", "app", what, fix, seen, because)
    elif health.get("errno") not in (GONE, NO_ENTRY, REFUSED):
        what = f"{case.name} took the request for {case.app.get('health_path', '/')}, and didn't answer"
        fix = case.on(f"systemctl restart {case.app_unit('service')}")
        yield Finding(
            "hangs", "app", what, fix, (*seen, f"after {health.get('seconds')} s: {health.get('text')}"), because
        )


# The database, and what else the app needs


# Errors in MySQL's log that are no reason: its last word, and what its sandbox keeps from it at every start.
NO_REASON = ("Aborting", "sched_setaffinity() failed")


def mysql_is_down(case: Case) -> Iterator[Finding]:
    mysql, unit = case.of("mysql"), case.unit("mysql.service")
    if not case.has_mysql or not mysql or mysql.get("answers") or "1040" in mysql.get("said", ""):
        return
    log = [re.sub(r"^\S+ \d+ \[ERROR\] ", "", line) for line in mysql.get("log") or []]
    seen = (told(case.reply), *([state(unit)] if unit else []))
    if case.does_run("mysql.service"):
        what, more = f"MySQL runs, and doesn't answer: {mysql.get('said')}", ()
    elif unit.get("Result") == "success" and unit.get("ActiveState") == "inactive":
        what, more = "MySQL isn't running: it was stopped", ()
    else:
        said = next((line for line in log if not any(words in line for words in NO_REASON)), "")
        what, more = f"MySQL doesn't start: {said or why_down(unit)}", tuple(log[-3:])
    fix = case.on("systemctl restart mysql")
    if "unknown variable" in what or "unknown option" in what:
        fix = f"mysql_extra_settings in the inventory without it, then {case.sanso('up')}"
    yield Finding("mysql", "database", what, fix, (*seen, *more), SYSTEM)


def mysql_refuses(case: Case) -> Iterator[Finding]:
    mysql, said = case.of("mysql"), case.inside.get("login", "")
    number = int(match[1]) if (match := re.search(r"ERROR (\d+)", said)) else 0
    full = number == 1040 or "1040" in mysql.get("said", "")
    if not case.has_mysql or not (said or full) or (not mysql.get("answers") and not full):
        return
    seen = (told(case.reply), f"MySQL to {case.name}: {said or mysql.get('said')}")
    if full:
        most = mysql.get("most") or case.settings.get("mysql_max_connections", 151)
        users = ", ".join(f"{user} {count}" for user, count in (mysql.get("users") or {}).items())
        yield Finding(
            "mysql_connections",
            "database",
            f"MySQL has no connection left: all {most} are taken",
            f"mysql_max_connections: {2 * int(most)} in the inventory, then {case.sanso('up')}",
            (*seen, *([f"taken by: {users}"] if users else [])),
        )
    else:
        kind = "mysql_socket" if number in (2002, 2003) else "mysql_account"
        yield Finding(kind, "database", f"{mysql_meaning(number, said)} ({case.name})", case.sanso("up"), seen, SYSTEM)


def mysql_waits(case: Case) -> Iterator[Finding]:
    inside = case.inside
    if not inside.get("blockers") or case.health.get("status") == 200:
        return
    (pid, table), *_ = inside["blockers"]
    waiting = [f"waits {seconds} s: {text} ({what})" for _, _, seconds, what, text in inside.get("statements") or []]
    yield Finding(
        "mysql_lock",
        "database",
        f"connection {pid} of MySQL holds a lock on {table}, which {case.name} waits for",
        case.on(f"mysqladmin kill {pid}"),
        (told(case.reply), *waiting[:3]),
    )


def redis_is_down(case: Case) -> Iterator[Finding]:
    redis = case.inside.get("redis") or {}
    said = redis.get("said", "+PONG")
    if said.startswith(("+PONG", "-NOAUTH")):
        return
    own = f"app-{case.name}-redis.service"
    own = own if case.unit(own) else "redis-server.service"
    meaning = {
        GONE: "its socket isn't there",
        NO_ENTRY: f"{case.name} may not open its socket",
        REFUSED: "it isn't running",
    }
    number = int(match[1]) if (match := re.search(r"Errno (\d+)", said)) else 0
    yield Finding(
        "redis",
        "database",
        f"the Redis of {case.name} doesn't answer: {meaning.get(number, said)}",
        case.on(f"systemctl restart {own}"),
        (told(case.reply), f"{redis['socket']}: {said}", *([state(case.unit(own))] if case.unit(own) else [])),
        SYSTEM,
    )


def schema_is_old(case: Case) -> Iterator[Finding]:
    if not case.health or case.health.get("status") in (None, 200):
        return
    recorded, now = case.inside.get("record", {}).get("revision"), case.inside.get("revision")
    words = [case.health.get("text", ""), *(case.unit(case.app_unit("service")).get("said") or [])[-15:]]
    sign = next((line for text in words for line in text.splitlines() if SCHEMA.search(line)), "")
    moved = bool(recorded and now is not None and recorded != now)
    if not sign and not moved:
        return
    migrate = case.inside.get("migrate", "")
    migrate = f"sh -c {shlex.quote(migrate)}" if re.search(r"[&|<>;$]", migrate) else migrate
    fix = case.sanso("run", case.name, "--", migrate) if migrate else case.sanso("deploy", case.name)
    seen = f"its revision is {now or 'unknown'}" + (f", the release was served with {recorded}" if recorded else "")
    yield Finding(
        "schema",
        "database",
        f"the schema of {case.name} isn't what its release expects",
        fix,
        (told(case.reply), *([f"it said: {cut(sign)}"] if sign else []), seen),
        DATABASE,
    )


def app_is_not_well(case: Case) -> Iterator[Finding]:
    """Its own words: nothing else explains it, or nothing that can be seen from outside of it."""
    health, path = case.health, case.app.get("health_path", "/")
    if not health or health.get("status") in (None, 200):
        return
    lines = case.unit(case.app_unit("service")).get("said") or []
    trace = traceback(lines)
    body = body_of(health.get("text", ""))
    why = f": {cut(trace[-1] if trace and health['status'] == 500 else body)}" if trace or body else ""
    seen = (told(case.reply), *trace[-4:], *(words_of({"said": lines})[-2:] if not trace else ()))
    fix = f"mend that, then {case.sanso('deploy', case.name)}"
    if health["status"] == NOT_FOUND:
        why, fix = (
            "",
            f"health_path: a path that it has, for {case.name} in the inventory's apps, then {case.sanso('up')}",
        )
    cause = f"{case.name} says itself that it isn't well: {path} answers {health['status']}{why}"
    yield Finding("health", "app", cause, fix, seen, ("schema", *DATABASE, "redis", *SYSTEM))


def page_fails(case: Case) -> Iterator[Finding]:
    """Where the app is well, and this page isn't."""
    reply, url = case.reply, case.seen.url
    if case.health.get("status") != 200 or reply.status < 400 or reply.is_well or reply.status == 421:
        return
    errors = nginx_said(case)
    if reply.status in (502, 503, 504) and errors:
        text = errors[-1]
        meaning = next((said for words, (_, said) in LATER_ERRORS.items() if words in text), "")
        cause = f"nginx got no answer from {case.name} for this page{f': {meaning}' if meaning else ''}"
        because: tuple[str, ...] = ("killed", *DATABASE, "redis", *SYSTEM)
    elif reply.status == NOT_FOUND:
        cause, because = f"{case.name} is well, and has no such page: {url} answers 404", ()
    else:
        cause, because = f"{case.name} is well, and this page isn't: {url} answers {reply.status}", (*DATABASE, *SYSTEM)
    trace = traceback(case.unit(case.app_unit("service")).get("said") or []) if reply.status == 500 else []
    if trace:
        cause += f": {cut(trace[-1])}"
    seen = (*trace[-4:-1], *errors[-1:], *([f"it said: {cut(reply.body)}"] if reply.body and not trace else []))
    yield Finding("page", "app", cause, case.sanso("trace", url), seen, because)


# The system


def disk_is_full(case: Case) -> Iterator[Finding]:
    for disk in case.server.get("disks") or []:
        mount = disk["mount"]
        if disk["full"]:
            files = [f"{size(file['size'])} {file['path']}" for file in disk["largest"]]
            yield Finding(
                "disk",
                "system",
                f"the disk is full: {mount} has {size(disk['free'])} left of {size(disk['size'])}",
                room(case, disk),
                (told(case.reply), *([f"largest: {', '.join(files)}"] if files else [])),
            )
        if disk["no_inodes"]:
            yield Finding(
                "inodes",
                "system",
                f"{mount} can hold no more files: {disk['inodes_free']} of {disk['inodes']} inodes are left",
                case.on(f"du --inodes -x -d 3 {mount} | sort -n | tail"),
                (told(case.reply), f"{size(disk['free'])} would still be there"),
            )
        if disk["read_only"]:
            yield Finding(
                "read_only",
                "system",
                f"nothing can be written to {mount}: its file system is read-only",
                case.on(f"mount -o remount,rw {mount}"),
                (told(case.reply), "the kernel does that after an error of the disk: dmesg tells which"),
            )


def room(case: Case, disk: Mapping) -> str:
    """What makes room: what may go without a thought, or else what shows what to think about."""
    paths = [file["path"] for file in disk["largest"][:1]]
    if any(path.startswith("/var/log/journal") for path in paths):
        return case.on("journalctl --vacuum-size=200M")
    if any(path.startswith("/var/cache/apt/") for path in paths):
        return case.on("apt-get clean")
    return case.on(f"du -x -h -d 3 {disk['mount']} | sort -h | tail")


def memory_ran_out(case: Case) -> Iterator[Finding]:
    """Of what was killed, what nobody but systemd has started anew since."""
    for kill in case.server.get("killed") or []:
        unit = case.unit(kill["unit"])
        by_itself = unit.get("NRestarts", "0") != "0" and 0 < kill["restarted"] < kill["time"] + SOON
        if not unit or not (unit.get("InvocationID") == kill["invocation"] or by_itself):
            continue
        most = unit.get("MemoryMax", "infinity")
        limit = "" if most == "infinity" else f", which may have {size(int(most))}" if most.isdigit() else ""
        app = re.match(r"app-(.+)@current\.service$", kill["unit"])
        more = (
            f"limits: {{memory: …}} of {app[1]} in the inventory's apps" if app else "mysql_innodb_buffer_pool_percent"
        )
        yield Finding(
            "killed",
            "system",
            f"memory ran out: the kernel killed a process of {kill['unit']} at {clock(kill['time'])}{limit}",
            f"more memory for the server, or {more}, then {case.sanso('up')}",
            (told(case.reply), state(unit), available(case)),
        )
        return
    memory = case.of("memory")
    if memory and memory["MemAvailable"] * 100 < memory["MemTotal"] * MEMORY_PERCENT:
        yield Finding(
            "memory",
            "system",
            f"memory runs out: {size(memory['MemAvailable'])} of {size(memory['MemTotal'])} are available",
            case.on("systemd-cgtop --order=memory --iterations=1"),
            (told(case.reply),),
        )


def available(case: Case) -> str:
    memory = case.of("memory")
    return f"{size(memory['MemAvailable'])} of {size(memory['MemTotal'])} are available now" if memory else ""


def clock_is_wrong(case: Case) -> Iterator[Finding]:
    if not case.server or abs(case.ahead) < CLOCK_SECONDS:
        return
    way = "ahead of" if case.ahead > 0 else "behind"
    seen = f"the server's clock says {day(case.server['time'])}, {lasting(abs(case.ahead))} {way} this computer's"
    if case.server.get("ntp"):
        yield Finding(
            "clock",
            "system",
            f"this computer's clock is wrong: {seen}",
            "sudo timedatectl set-ntp true",
            ("the server's is kept by NTP",),
        )
    else:
        yield Finding("clock", "system", seen, case.on("timedatectl set-ntp true"), ("it isn't kept by NTP",))


def configuration_is_broken(case: Case) -> Iterator[Finding]:
    if case.does_run("nginx.service") and broken(case.of("nginx")):
        yield broken_configuration(
            case, "nginx runs with its old configuration, and won't start again: the new one is broken", ()
        )


def units_failed(case: Case) -> Iterator[Finding]:
    about = {"nginx.service", "nginx.socket", "mysql.service", case.app_unit("service"), case.app_unit("socket")}
    for name in case.server.get("failed_units") or []:
        if name not in about:
            yield Finding(
                "unit",
                "system",
                f"{name} has failed",
                case.on(f"systemctl restart {name}"),
                (case.sanso("ssh", "--", f"sudo journalctl -eu {name}") + " tells why",),
            )


def unexplained(case: Case) -> Iterator[Finding]:
    reply = case.reply
    if not case.app or reply.is_well or (case.server and case.health.get("status") == 200 and not reply.problem):
        return
    if case.server:
        yield Finding(
            "unknown",
            "web",
            f"{case.seen.url} fails, and nothing on its way looks wrong: {told(reply)}",
            case.sanso("trace", case.seen.url),
            nginx_said(case),
        )


LOOKS: tuple[Look, ...] = (
    *(name_is_nobodys, name_leads_nowhere, name_leads_elsewhere),
    *(machine_is_down, nginx_is_down, port_is_closed, nginx_hangs),
    *(certificate_is_refused, handshake_fails),
    *(socket_is_wrong, stranger_listens),
    *(release_is_missing, app_does_not_start, workers_are_busy),
    *(mysql_is_down, mysql_refuses, mysql_waits, redis_is_down, schema_is_old, app_is_not_well),
    *(page_fails, disk_is_full, memory_ran_out, clock_is_wrong, configuration_is_broken, units_failed),
)


# Words


def told(reply: Reply) -> str:
    """What a visitor gets."""
    where = f"{reply.address}: " if reply.address else ""
    if reply.status:
        return f"a request from here is answered {reply.status}"
    steps = {"": "connecting to", "connected": "the TLS handshake with", "tls": "a request to", "sent": "a request to"}
    return f"{steps.get(reply.stage, 'a request to')} {where}{reply.problem or 'no answer'}"


def nginx_said(case: Case) -> tuple[str, ...]:
    lines = case.of("nginx").get("errors") or []
    mine = [line for line in lines if f"app-{case.name}/" in line]
    return tuple(f"nginx: {line.partition(', client:')[0]}" for line in mine[-1:])


def state(unit: Mapping) -> str:
    since = unit.get("StateChangeTimestamp", "").lstrip("@")
    when = f" since {clock(int(since))}" if since.isdigit() and since != "0" else ""
    result = unit.get("Result", "success")
    why = f", {result}" if result != "success" else ""
    again = f", started again {unit['NRestarts']} times" if unit.get("NRestarts", "0") not in ("0", "") else ""
    return f"{unit.get('Id')} is {unit.get('ActiveState')} ({unit.get('SubState')}){when}{why}{again}"


def why_down(unit: Mapping) -> str:
    result = unit.get("Result", "")
    if result in ("success", ""):
        return (
            "it was stopped"
            if unit.get("ActiveState") == "inactive"
            else f"it is {unit.get('ActiveState', 'not there')}"
        )
    meant = {
        "exit-code": f"it ended with exit code {unit.get('ExecMainStatus', '?')}",
        "signal": "a signal killed it",
        "core-dump": "it crashed",
        "timeout": "it didn't start in time",
        "oom-kill": "the kernel killed it, for want of memory",
        "start-limit-hit": "it failed again and again, and systemd gave up",
        "service-start-limit-hit": "its service failed again and again, and systemd gave up",
        "resources": "systemd could not prepare it",
    }
    return meant.get(result, result)


def words_of(unit: Mapping) -> list[str]:
    """What a unit said that isn't of every start."""
    return [line for line in unit.get("said") or [] if not NOISE.match(line)]


def last(unit: Mapping, count: int) -> tuple[str, ...]:
    return tuple(words_of(unit)[-count:])


def body_of(answer: str) -> str:
    """Of an answer with its headers."""
    return re.split(r"\r?\n\r?\n", answer, maxsplit=1)[-1].strip()


def is_unit(name: str) -> bool:
    return name.endswith(".service") and not name.startswith(("ssh", "user@"))


def clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S UTC", time.gmtime(seconds))


def cut(text: str) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= 160 else f"{text[:159]}…"


def size(number: int) -> str:
    """An amount of bytes, as people say it."""
    amount, units = float(number), ["bytes", "KB", "MB", "GB", "TB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{amount:.0f} {units[0]}" if amount >= 10 or units[0] == "bytes" else f"{amount:.1f} {units[0]}"


def lasting(seconds: float) -> str:
    for name, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} seconds"
