"""By what was seen of a server, one cause is named, and what mends it."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from patient import ADDRESS, APP, NAME, SERVICE, SOCKET, WELL, case, causes, served, unit

from sanso.doctor import causes as looks
from sanso.doctor.client import Reply

BAD_GATEWAY, UNAVAILABLE = replace(WELL, status=502), replace(WELL, status=503)
REFUSED = Reply(ADDRESS, problem="Connection refused", errno=111)
SILENT = Reply(ADDRESS, problem="no answer in time", timed_out=True)
SLOW = replace(SILENT, stage="sent")
STOPPED = {"ActiveState": "inactive", "SubState": "dead"}
FAILED = {"ActiveState": "failed", "SubState": "failed", "Result": "exit-code", "ExecMainStatus": "1"}
NO_ANSWER = {"status": None, "errno": 0, "text": "timed out", "seconds": 12}
IN = "apps.faults."
TRACEBACK = [
    "*** Operational MODE: preforking ***",
    "Traceback (most recent call last):",
    '  File "/srv/faults/current/app/src/sample_app/__init__.py", line 71, in <module>',
    "    import nothing",
    "ModuleNotFoundError: No module named 'nothing'",
    "unable to load app 0 (mountpoint='') (callable not found or import error)",
    "*** no app loaded. GAME OVER ***",
    "app-faults@current.service: Main process exited, code=exited, status=22/n/a",
]


def refused(number: int) -> dict:
    return {f"{IN}health": {"status": None, "errno": number, "text": f"[Errno {number}]", "seconds": 0}}


def disk(**changes) -> dict:
    whole = {"mount": "/", "size": 2**34, "free": 4096, "full": False, "largest": [], "inodes": 9, "inodes_free": 0}
    return {**whole, "no_inodes": False, "read_only": False, **changes}


def down(name: str, **changes) -> dict:
    return {f"units:{name}": unit(name, **changes)}


MYSQL_DOWN = {
    **down("mysql.service", **STOPPED),
    "mysql": {"answers": False, "said": "ERROR 2002 (HY000): Can't connect", "log": []},
    f"{IN}login": "ERROR 2002 (HY000): Can't connect through socket '/run/mysqld/mysqld.sock' (2)",
    f"{IN}health": {"status": 503, "errno": 0, "text": 'HTTP/1.1 503 X\r\n\r\n{"error":"no database"}', "seconds": 0},
}
ILL = {"status": 503, "errno": 0, "text": "HTTP/1.1 503 SERVICE UNAVAILABLE\r\n\r\nout of patience", "seconds": 0.1}

# name: (facts that differ, what else is so, kind, words of the cause, words of the fix)
SEEN = {
    "unknown name": (
        {},
        {"app": {}, "names": ["shop.test"]},
        "name",
        "faults.test is no name that is served; shop.test is",
        "server_names: [shop.test, faults.test]",
    ),
    "path that is no app's": ({}, {"app": {}}, "name", "no app begins at https://faults.test/readyz", "path: /"),
    "inventory's address unknown": ({}, {"seen": {"own": []}}, "address", "isn't known", "ansible_host"),
    "name leads nowhere": (
        {},
        {"seen": {"resolved": [], "unresolved": "Name or service not known"}},
        "dns",
        "faults.test leads nowhere",
        f"a DNS record: faults.test. A {ADDRESS}",
    ),
    "name of a machine leads nowhere": (
        {},
        {"seen": {"resolved": [], "unresolved": "Name or service not known"}, "runs": True},
        "dns",
        "faults.test leads nowhere",
        "./sanso up",
    ),
    "name leads to another server": (
        {},
        {"seen": {"resolved": ["192.0.2.9"], "others": [replace(WELL, address="192.0.2.9")]}},
        "elsewhere",
        "faults.test leads to 192.0.2.9, which isn't web1 (10.77.0.10)",
        f"faults.test. A {ADDRESS}",
    ),
    "an address too many": (
        {},
        {"seen": {"resolved": [ADDRESS, "2001:db8::1"], "others": [replace(SILENT, address="2001:db8::1")]}},
        "elsewhere",
        "leads to 2001:db8::1",
        "no DNS record faults.test. AAAA 2001:db8::1",
    ),
    "machine off": ({}, {"reply": SILENT, "runs": False}, "machine", "the machine web1 doesn't run", "./sanso up"),
    "firewall drops": (
        {"firewall": {"drops": ["tcp dport 443 drop"], "accepts": True, "in_file": True}},
        {"reply": SILENT},
        "firewall",
        "the firewall of web1 doesn't let port 443 in",
        "sudo nft -f /etc/nftables.conf",
    ),
    "firewall was not told of the port": (
        {"firewall": {"drops": [], "accepts": False, "in_file": False}},
        {"reply": SILENT, "settings": {"os_firewall_tcp_ports": [80]}},
        "firewall",
        "doesn't let port 443 in",
        "os_firewall_tcp_ports: [80, 443]",
    ),
    "another firewall": ({}, {"reply": SILENT}, "way", "something between here and web1 drops port 443", "TCP 443"),
    "port that is not listened on": (
        {"listeners": []},
        {"reply": REFUSED},
        "port",
        "nginx runs, and doesn't listen on port 443",
        "restart nginx",
    ),
    "nginx stopped": (
        down("nginx.service", **STOPPED),
        {"reply": REFUSED},
        "nginx",
        "nginx isn't running: it was stopped",
        "sudo systemctl restart nginx",
    ),
    "nginx's configuration": (
        {
            **down("nginx.service", **FAILED),
            "nginx.config_ok": False,
            "nginx.complaints": ['2026/11/22 09:20:01 [emerg] 71#71: unknown directive "x" in /etc/nginx/a.conf:1'],
        },
        {"reply": REFUSED},
        "nginx_configuration",
        'nginx doesn\'t start: its configuration is broken: unknown directive "x" in /etc/nginx/a.conf:1',
        "./sanso up",
    ),
    "port taken": (
        {
            **down("nginx.service", **FAILED),
            "listeners": [{"program": "apache2", "pid": 7, "unit": "apache2.service"}],
        },
        {"reply": replace(WELL, status=404)},
        "port_taken",
        "port 443 is apache2's",
        "'sudo systemctl disable --now apache2.service && sudo systemctl restart nginx'",
    ),
    "nginx hangs": (
        {},
        {"reply": replace(SILENT, stage="connected")},
        "nginx",
        "its workers hang",
        "sudo systemctl restart nginx",
    ),
    "certificate expired": (
        {},
        {"reply": Reply(ADDRESS, "connected", problem="certificate has expired", verify=10, served=served(-2))},
        "certificate_dates",
        "the certificate of faults.test expired on ",
        "./sanso up",
    ),
    "certificate of the future": (
        {},
        {"reply": Reply(ADDRESS, "connected", problem="not yet valid", verify=9, served=served(since=2))},
        "certificate_dates",
        "isn't valid before ",
        "./sanso up",
    ),
    "certificate of a CA not renewed": (
        {},
        {
            "reply": Reply(ADDRESS, "connected", problem="certificate has expired", verify=10, served=served(-2)),
            "settings": {"nginx_certificates": "acme"},
        },
        "certificate_dates",
        "expired on ",
        "sudo sanso-acme renew",
    ),
    "certificate of another name": (
        {},
        {"reply": Reply(ADDRESS, "connected", problem="mismatch", verify=62, served=served(names=("other.test",)))},
        "certificate_name",
        "isn't for faults.test, but for other.test",
        "./sanso up",
    ),
    "certificate signed by itself": (
        {},
        {"reply": Reply(ADDRESS, "connected", problem="self-signed", verify=18, served=served())},
        "certificate_trust",
        "is signed by itself",
        "./sanso up",
    ),
    "certificate without its chain": (
        {"nginx.certificates": {"/etc/nginx/tls/faults.pem": "-----BEGIN CERTIFICATE-----"}},
        {
            "reply": Reply(ADDRESS, "connected", problem="unable to get issuer", verify=20, served=served()),
            "settings": {"nginx_tls_certificate": "own.pem"},
        },
        "certificate_trust",
        "the file holds no chain",
        "nginx_tls_certificate: a file with the whole chain",
    ),
    "site unknown to nginx": (
        {"nginx.names": ["_", "other.test"]},
        {"reply": Reply(ADDRESS, "connected", problem="unrecognized name", reason="TLSV1_UNRECOGNIZED_NAME")},
        "server_name",
        "nginx there knows no site faults.test",
        "./sanso up",
    ),
    "site that nginx has not read yet": (
        {},
        {"reply": Reply(ADDRESS, "connected", problem="unrecognized name", reason="TLSV1_UNRECOGNIZED_NAME")},
        "server_name",
        "doesn't know it yet",
        "sudo systemctl reload nginx",
    ),
    "something that speaks no TLS": (
        {},
        {"reply": Reply(ADDRESS, "connected", problem="wrong version number", reason="WRONG_VERSION_NUMBER")},
        "tls",
        "doesn't speak TLS",
        "restart nginx",
    ),
    "link that dangles": (
        {**refused(2), f"{IN}link": "candidate.sock", f"{IN}real": {}, f"{IN}others": ["app.sock", "current.sock"]},
        {"reply": BAD_GATEWAY},
        "socket_link",
        "/run/app-faults/app.sock, where nginx asks for faults, leads to candidate.sock, which doesn't exist",
        "sudo ln -sfn current.sock /run/app-faults/app.sock",
    ),
    "link that is missing": (
        {**refused(2), f"{IN}link": "", f"{IN}real": {}, f"{IN}others": ["current.sock"]},
        {"reply": BAD_GATEWAY},
        "socket_link",
        "/run/app-faults/app.sock is missing",
        "sudo ln -sfn current.sock /run/app-faults/app.sock",
    ),
    "socket's unit stopped": (
        {**refused(2), **down(SOCKET, **STOPPED), f"{IN}real": {}, f"{IN}others": ["app.sock"]},
        {"reply": BAD_GATEWAY},
        "socket",
        "app-faults@current.socket isn't running: it was stopped",
        "sudo systemctl restart app-faults@current.socket",
    ),
    "socket removed": (
        {**refused(2), f"{IN}real": {}, f"{IN}others": ["app.sock"]},
        {"reply": BAD_GATEWAY},
        "socket",
        "was removed",
        "sudo systemctl restart app-faults@current.socket app-faults@current.service",
    ),
    "socket left over": (
        refused(111),
        {"reply": BAD_GATEWAY},
        "socket",
        "nobody listens on it",
        "sudo systemctl restart app-faults@current.socket app-faults@current.service",
    ),
    "socket's mode": (
        {**refused(13), f"{IN}real.mode": "0600"},
        {"reply": BAD_GATEWAY},
        "socket_mode",
        "has the mode 0600",
        "sudo chmod 0660 /run/app-faults/current.sock",
    ),
    "socket's group": (
        {**refused(13), f"{IN}real.group": "root"},
        {"reply": BAD_GATEWAY},
        "socket_mode",
        "belongs to root:root",
        "sudo chown root:www-data /run/app-faults/current.sock",
    ),
    "folder's mode": (
        {**refused(13), f"{IN}folder.mode": "0700"},
        {"reply": BAD_GATEWAY},
        "socket_mode",
        "the folder /run/app-faults doesn't let nginx through",
        "sudo chmod 0755 /run/app-faults",
    ),
    "another listens": (
        {f"{IN}peer": {"pid": 99, "unit": "fake.service", "command": "/usr/bin/python3 fake.py"}},
        {},
        "peer",
        "another process than faults answers on its socket: /usr/bin/python3 fake.py",
        "sudo systemctl stop fake.service && ",
    ),
    "import fails": (
        {**down(SERVICE, **FAILED, said=TRACEBACK), f"{IN}health": NO_ANSWER},
        {"reply": SLOW},
        "app",
        "faults doesn't start: ModuleNotFoundError: No module named 'nothing'",
        "./sanso deploy faults",
    ),
    "import fails, and there is a way back": (
        {**down(SERVICE, **FAILED, said=TRACEBACK), f"{IN}health": NO_ANSWER, f"{IN}before": "older"},
        {"reply": SLOW},
        "app",
        "doesn't start",
        "./sanso rollback faults",
    ),
    "socket gave up with the app": (
        {
            **down(SERVICE, **FAILED, said=TRACEBACK),
            **down(SOCKET, ActiveState="failed", SubState="failed", Result="service-start-limit-hit"),
            **refused(2),
            f"{IN}real": {},
            f"{IN}others": ["app.sock"],
        },
        {"reply": BAD_GATEWAY},
        "app",
        "ModuleNotFoundError",
        "./sanso deploy faults",
    ),
    "callable is not there": (
        {**down(SERVICE, **FAILED, said=TRACEBACK[-3:]), f"{IN}health": NO_ANSWER},
        {"reply": SLOW},
        "app",
        "sample_app:create_app() is not there (wsgi)",
        "./sanso deploy faults",
    ),
    "no release": (
        {**down(SERVICE, **FAILED), f"{IN}health": NO_ANSWER, f"{IN}release": "", f"{IN}release_is_there": False},
        {"reply": SLOW},
        "release",
        "no release of faults can serve: there is none yet",
        "./sanso deploy faults",
    ),
    "all workers busy": (
        {f"{IN}health": NO_ANSWER, f"{IN}waiting": 7},
        {"reply": SLOW},
        "busy",
        "all 2 workers of faults are at work, and 7 requests wait in its socket",
        "processes: 4 for faults",
    ),
    "queue full": (
        refused(11),
        {"reply": UNAVAILABLE},
        "busy",
        "all 2 workers of faults are at work",
        "processes: 4 for faults",
    ),
    "app says nothing": (
        {f"{IN}health": NO_ANSWER},
        {"reply": SLOW},
        "hangs",
        "faults took the request for /readyz, and didn't answer",
        f"sudo systemctl restart {SERVICE}",
    ),
    "app is not well": (
        {f"{IN}health": ILL},
        {"reply": UNAVAILABLE},
        "health",
        "/readyz answers 503: out of patience",
        "./sanso deploy faults",
    ),
    "no such health page": (
        {f"{IN}health": {**ILL, "status": 404}},
        {"reply": replace(WELL, status=404)},
        "health",
        "/readyz answers 404",
        "health_path: ",
    ),
    "page fails": (
        {
            f"units:{SERVICE}": unit(
                SERVICE, said=["Traceback (most recent call last):", "  File x", "LookupError: gone"]
            )
        },
        {"reply": replace(WELL, status=500)},
        "page",
        "faults is well, and this page isn't: https://faults.test/readyz answers 500: LookupError: gone",
        "./sanso trace https://faults.test/readyz",
    ),
    "worker dies": (
        {
            "nginx.errors": [
                "*5 upstream prematurely closed connection while reading response header from upstream, client: ::1,"
                ' upstream: "uwsgi://unix:/run/app-faults/app.sock:"'
            ]
        },
        {"reply": BAD_GATEWAY},
        "page",
        "nginx got no answer from faults for this page: the worker died",
        "./sanso trace",
    ),
    "mysql stopped": (MYSQL_DOWN, {"reply": UNAVAILABLE}, "mysql", "it was stopped", "sudo systemctl restart mysql"),
    "mysql's settings": (
        {
            **MYSQL_DOWN,
            **down("mysql.service", **FAILED),
            "mysql": {
                "answers": False,
                "said": "",
                "log": [
                    "2026-11-22T09:00:00.000000Z 0 [ERROR] [MY-013632] [InnoDB] sched_setaffinity() failed!",
                    "2026-11-22T09:30Z 0 [ERROR] [MY-000067] [Server] unknown variable 'nonsense=1'.",
                    "x Aborting",
                ],
            },
        },
        {"reply": UNAVAILABLE},
        "mysql",
        "MySQL doesn't start: [MY-000067] [Server] unknown variable 'nonsense=1'.",
        "mysql_extra_settings",
    ),
    "login refused": (
        {f"{IN}login": "ERROR 1698 (28000): Access denied for user 'faults'@'localhost'", f"{IN}health": ILL},
        {"reply": UNAVAILABLE},
        "mysql_account",
        "MySQL has no account for the app's user",
        "./sanso up",
    ),
    "socket of mysql closed": (
        {f"{IN}login": "ERROR 2002 (HY000): Can't connect through socket '/run/mysqld/mysqld.sock' (13)"},
        {"reply": UNAVAILABLE},
        "mysql_socket",
        "the app may not open MySQL's socket",
        "./sanso up",
    ),
    "no connection left": (
        {f"{IN}login": "ERROR 1040 (HY000): Too many connections", f"{IN}health": ILL},
        {"reply": UNAVAILABLE},
        "mysql_connections",
        "all 151 are taken",
        "mysql_max_connections: 302",
    ),
    "table locked": (
        {
            f"{IN}health": ILL,
            f"{IN}blockers": [["14", "faults.error"]],
            f"{IN}statements": [["8", "faults", "3", "Waiting for table metadata lock", "SELECT ?"]],
        },
        {"reply": UNAVAILABLE},
        "mysql_lock",
        "connection 14 of MySQL holds a lock on faults.error, which faults waits for",
        "sudo mysqladmin kill 14",
    ),
    "schema behind": (
        {
            f"{IN}health": {
                **ILL,
                "text": "HTTP/1.1 503\r\n\r\nThe database is at migration None, and the code is ahead",
            }
        },
        {"reply": UNAVAILABLE},
        "schema",
        "the schema of faults isn't what its release expects",
        "./sanso run faults -- flask --app sample_app db upgrade",
    ),
    "schema of another release": (
        {f"{IN}health": ILL, f"{IN}record": {"revision": "0002"}},
        {"reply": UNAVAILABLE},
        "schema",
        "isn't what its release expects",
        "./sanso run faults -- ",
    ),
    "redis stopped": (
        {
            f"{IN}health": ILL,
            f"{IN}redis": {"socket": "/run/app-faults-redis/redis.sock", "said": "[Errno 111] Connection refused"},
            **down("app-faults-redis.service", **STOPPED),
        },
        {"reply": UNAVAILABLE},
        "redis",
        "the Redis of faults doesn't answer: it isn't running",
        "sudo systemctl restart app-faults-redis.service",
    ),
    "disk full": (
        {"disks": [disk(full=True, largest=[{"path": "/var/log/journal/a", "size": 2**33}])]},
        {},
        "disk",
        "the disk is full: / has 4.0 KB left of 16 GB",
        "sudo journalctl --vacuum-size=200M",
    ),
    "inodes used up": ({"disks": [disk(no_inodes=True)]}, {}, "inodes", "/ can hold no more files", "du --inodes"),
    "read-only": ({"disks": [disk(read_only=True)]}, {}, "read_only", "read-only", "mount -o remount,rw /"),
    "killed": (
        {
            "killed": [{"unit": SERVICE, "invocation": "1", "time": 1795338500, "restarted": 0}],
            f"units:{SERVICE}": unit(SERVICE, MemoryMax="536870912"),
        },
        {},
        "killed",
        "the kernel killed a process of app-faults@current.service at 09:08:20 UTC, which may have 512 MB",
        "limits: {memory: …} of faults",
    ),
    "little memory": ({"memory.MemAvailable": 2**28}, {}, "memory", "256 MB of 24 GB are available", "systemd-cgtop"),
    "server's clock": ({}, {"ahead": 3 * 86400}, "clock", "3 days ahead of this computer's", "timedatectl set-ntp"),
    "this computer's clock": (
        {"ntp": True},
        {"ahead": -7200},
        "clock",
        "this computer's clock is wrong: the server's clock says 2026-11-22 09:09 UTC, 2 hours behind",
        "sudo timedatectl set-ntp true",
    ),
    "new configuration broken": (
        {"nginx.config_ok": False, "nginx.complaints": ["nginx: [emerg] unexpected end of file in /etc/nginx/a:9"]},
        {},
        "nginx_configuration",
        "won't start again: the new one is broken: unexpected end of file in /etc/nginx/a:9",
        "./sanso up",
    ),
    "another unit": (
        {"failed_units": ["fail2ban.service"]},
        {},
        "unit",
        "fail2ban.service has failed",
        "restart fail2",
    ),
    "nothing that is known": (
        {},
        {"reply": replace(WELL, stage="answered", problem="it broke off")},
        "unknown",
        "nothing on its way looks wrong",
        "./sanso trace",
    ),
}


def test_nothing_is_wrong_with_a_server_that_is_well():
    assert causes() == []


@pytest.mark.parametrize("name", SEEN)
def test_cause_is_named_with_what_mends_it(name):
    changes, more, kind, cause, fix = SEEN[name]
    first, *_ = causes(changes, **more)
    assert (first.kind, cause in first.cause, fix in first.fix) == (kind, True, True), first


@pytest.mark.parametrize("now", ["shop.0002-1a2b3c4d", None], ids=["the one of its release", "not known"])
def test_schema_is_not_suspected_where_it_is_as_its_release_left_it(now):
    record = {"revision": "shop.0002-1a2b3c4d"}
    first, *others = causes({f"{IN}health": ILL, f"{IN}record": record, f"{IN}revision": now}, reply=UNAVAILABLE)
    assert "schema" not in [each.kind for each in (first, *others)]


# What beats what


def first_of(*changes, **more):
    return causes({path: value for each in changes for path, value in each.items()}, **more)[0].kind


FULL = {"disks": [disk(full=True)]}
IMPORT = {**down(SERVICE, **FAILED, said=TRACEBACK), f"{IN}health": NO_ANSWER}


@pytest.mark.parametrize(
    ("symptom", "cause", "kind"),
    [
        (MYSQL_DOWN, FULL, "disk"),
        (MYSQL_DOWN, {"killed": [{"unit": "mysql.service", "invocation": "1", "time": 1, "restarted": 0}]}, "killed"),
        ({f"{IN}health": ILL}, {f"{IN}login": "ERROR 1698 (28000): Access denied"}, "mysql_account"),
        (down("nginx.service", **FAILED), FULL, "disk"),
        (
            {**IMPORT, **down(SERVICE, **FAILED, said=["sqlalchemy.exc.OperationalError: (2003, no MySQL)"])},
            {key: value for key, value in MYSQL_DOWN.items() if "health" not in key},
            "mysql",
        ),
    ],
    ids=["a disk and MySQL", "memory and MySQL", "MySQL and the app", "a disk and nginx", "MySQL and the import"],
)
def test_what_explains_a_failure_comes_before_it(symptom, cause, kind):
    assert first_of(symptom, cause, reply=UNAVAILABLE) == kind


@pytest.mark.parametrize(
    ("nearer", "farther", "kind"),
    [
        ({**refused(13), f"{IN}real.mode": "0600"}, MYSQL_DOWN, "socket_mode"),
        (IMPORT, {key: value for key, value in MYSQL_DOWN.items() if "health" not in key}, "app"),
        (down("nginx.service", **STOPPED), {"failed_units": ["fail2ban.service"]}, "nginx"),
    ],
    ids=["the socket before MySQL", "a wrong import before MySQL", "nginx before another unit"],
)
def test_of_two_that_are_wrong_the_nearer_one_to_the_client_comes_first(nearer, farther, kind):
    assert first_of(farther, nearer, reply=BAD_GATEWAY) == kind


def test_wrong_clock_explains_a_certificate_that_is_not_valid_yet():
    reply = Reply(ADDRESS, "connected", problem="not yet valid", verify=9, served=served(since=2))
    assert causes(reply=reply, ahead=3 * 86400)[0].kind == "clock"
    assert causes(reply=reply)[0].kind == "certificate_dates"


# What is no fault


@pytest.mark.parametrize("status", [200, 204, 301, 401, 403, 405])
def test_answer_that_a_visitor_may_get_is_no_fault(status):
    assert causes(reply=replace(WELL, status=status)) == []


def test_name_that_leads_to_a_proxy_in_front_is_no_fault():
    others = [replace(WELL, address="192.0.2.9")]
    seen = {"resolved": ["192.0.2.9"], "others": others}
    assert causes({"nginx.logged": True}, seen=seen) == []
    assert causes({"nginx.logged": None}, seen=seen) == []


def test_name_that_leads_to_another_address_of_the_server_is_no_fault():
    seen = {"resolved": ["192.0.2.9"], "others": [replace(WELL, address="192.0.2.9")]}
    assert causes({"addresses": [ADDRESS, "192.0.2.9"]}, seen=seen) == []


def test_release_that_serves_on_the_other_socket_is_no_fault():
    assert causes({f"{IN}link": "candidate.sock", f"{IN}others": ["app.sock", "candidate.sock"]}) == []


def test_app_without_a_database_does_not_need_mysql():
    facts = {key: value for key, value in MYSQL_DOWN.items() if "health" not in key}
    assert causes(facts, app={**APP, "database": "none"}) == []


def test_app_that_was_not_asked_for_yet_is_no_fault():
    """Its socket starts it with the first request."""
    assert causes(down(SERVICE, **STOPPED)) == []


@pytest.mark.parametrize(
    ("restarts", "restarted", "told"),
    [("0", 0, []), ("1", 1001, ["killed"]), ("3", 5000, [])],
    ids=["somebody started it", "systemd started it", "somebody did, and it failed for another reason since"],
)
def test_kill_counts_until_somebody_starts_the_unit_anew(restarts, restarted, told):
    kill = {"killed": [{"unit": SERVICE, "invocation": "of before", "time": 1000, "restarted": restarted}]}
    found = causes({**kill, **down(SERVICE, NRestarts=restarts)})
    assert [each.kind for each in found] == told


# The certificate that lies there


def test_certificate_that_lies_there_and_is_not_served_yet_wants_a_reload(ca):
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(ca.read_bytes())
    name = looks.Served.of(certificate).names[0]
    text = certificate.public_bytes(Encoding.PEM).decode()
    old = Reply(ADDRESS, "connected", problem="certificate has expired", verify=10, served=served(-2))
    found = causes(
        {"nginx.certificates": {"/etc/nginx/tls/faults.pem": text}}, reply=old, seen={"name": name}, names=[name]
    )[0]
    assert found.cause.startswith("nginx still serves an old certificate")
    assert found.fix == "./sanso ssh -- sudo systemctl reload nginx"
    assert f"{datetime.datetime.now(datetime.UTC):%Y-%m}" in " ".join(found.evidence)


# Words


def test_fix_names_the_inventory_and_the_host_where_there_are_others():
    found = causes(down("nginx.service", **STOPPED), reply=REFUSED, option=" -i inventory/mine", several=True)[0]
    assert found.fix == "./sanso ssh -i inventory/mine web1 -- sudo systemctl restart nginx"


def test_evidence_says_what_a_visitor_gets():
    assert causes(MYSQL_DOWN, reply=UNAVAILABLE)[0].evidence == (
        "a request from here is answered 503",
        "mysql.service is inactive (dead) since 09:02:52 UTC",
    )


def test_server_that_answers_nothing_at_all_is_down():
    found = replace(case(reply=SILENT), server={}, shut="SSH timed out")
    (first,) = looks.diagnose(found)
    assert (first.kind, NAME in first.cause or "web1" in first.cause) == ("machine", True)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (TRACEBACK, TRACEBACK[1:5]),
        (["fine", '  File "a.py", line 1', "    def broken(:", "SyntaxError: invalid syntax"], 4),
        (["nothing", "to see"], []),
    ],
)
def test_traceback_is_found_among_what_was_said(lines, expected):
    found = looks.traceback(lines)
    assert found == expected if isinstance(expected, list) else len(found) == expected


@pytest.mark.parametrize(
    ("number", "said"), [(500, "500 bytes"), (2048, "2.0 KB"), (2**34, "16 GB"), (75013369856, "70 GB")]
)
def test_size_is_as_people_say_it(number, said):
    assert looks.size(number) == said
