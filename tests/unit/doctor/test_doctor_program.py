"""What the server's own program reads out of what the server's tools say; and that it only needs Python."""

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sanso import sent
from sanso.digest.server import CouldNotAsk
from sanso.doctor import MODULES, program


@pytest.fixture
def says(monkeypatch):
    """says(text) is what any program says; says.words are those that were asked."""

    def answer(text):
        monkeypatch.setattr(program, "ask", lambda *words, **options: text)

    return answer


@pytest.mark.parametrize(("listen", "port"), [("443", "443"), ("[::]:443", "443"), ("127.0.0.1:8080", "8080")])
def test_port_of_a_listen(listen, port):
    assert program.port(listen) == port


@pytest.mark.parametrize(
    ("rule", "ports"),
    [
        ("tcp dport { 80, 443 } accept", {80, 443}),
        ("tcp dport 22 jump ssh", {22}),
        ("tcp dport 8000-8002 drop", {8000, 8001, 8002}),
        ("iif lo accept", set()),
    ],
)
def test_ports_of_a_rule(rule, ports):
    assert program.ports(rule) == ports


RULES = "table inet f {\n chain input {\n  type filter hook input priority filter; policy drop;\n  %s\n }\n}"


@pytest.mark.parametrize(
    ("rules", "drops", "accepts"),
    [
        (RULES % "tcp dport { 80, 443 } accept", 0, True),
        (RULES % "tcp dport 80 accept", 0, False),
        (RULES % "tcp dport 443 drop\n  tcp dport { 80, 443 } accept", 1, True),
        ("", 0, None),
    ],
)
def test_firewall_is_read(says, rules, drops, accepts):
    says(rules)
    found = program.firewall(443)
    assert (len(found["drops"]), found["accepts"]) == (drops, accepts)


def test_who_listens_is_told_once_with_its_unit(says):
    says(
        'LISTEN 0 511 0.0.0.0:443 0.0.0.0:* users:(("nginx",pid=1,fd=7),("nginx",pid=2,fd=7))\n'
        'LISTEN 0 511 [::]:443 [::]:* users:(("nginx",pid=1,fd=8))\n'
    )
    assert [(each["program"], each["pid"]) for each in program.listeners(443)] == [("nginx", 1), ("nginx", 2)]


def test_waiting_connections_are_those_of_the_path(says):
    says("u_str LISTEN 3 128 /run/app-a/current.sock 1 * 0\nu_str LISTEN 9 128 /run/app-b/current.sock 2 * 0\n")
    assert (program.waiting("/run/app-a/current.sock"), program.waiting("/run/none")) == (3, 0)


def test_errors_of_nginx_are_those_since_then_and_serious(tmp_path):
    def line(at, level, text):
        return f"{time.strftime('%Y/%m/%d %H:%M:%S', time.localtime(at))} [{level}] 7#7: {text}\n"

    now, log = time.time(), tmp_path / "error.log"
    log.write_text(line(now - 60, "error", "old") + line(now, "notice", "chatty") + line(now, "crit", "*1 new"))
    assert program.errors(log, now - 5) == ["*1 new"]


def test_key_beside_a_certificate_stays_there(tmp_path):
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    file = tmp_path / "a.pem"
    file.write_text(f"{begin}\none\n{end}\n{begin}\ntwo\n{end}\n-----BEGIN PRIVATE KEY-----\nsecret\n")
    found = program.certificates(str(file))
    assert (found.count(begin), "secret" in found) == (2, False)


def test_kills_are_read_from_the_journal(says):
    entry = {"UNIT": "mysql.service", "INVOCATION_ID": "7", "__REALTIME_TIMESTAMP": "1795338500000000"}
    says(json.dumps(entry | {"N_RESTARTS": "1"}) + "\n")
    kill = {"unit": "mysql.service", "invocation": "7", "time": 1795338500.0, "restarted": 1795338500.0}
    assert program.killed() == [kill]


def test_part_that_fails_is_told_and_the_others_go_on():
    def fails():
        raise CouldNotAsk("nft: it isn't there")

    found = {"problems": {}}
    program.collect(found, {"firewall": fails, "memory": lambda: {"MemTotal": 1}})
    assert found == {"problems": {"firewall": "CouldNotAsk: nft: it isn't there"}, "memory": {"MemTotal": 1}}


def test_disk_of_this_computer_is_described():
    found = program.disks(["/proc"])
    assert {"/", "/proc"} <= {each["mount"] for each in found}
    assert all(each["size"] >= each["free"] for each in found)


def test_largest_files_come_first(tmp_path):
    for name, size in {"a": 1, "b": 300, "c": 20}.items():
        (tmp_path / name).write_bytes(b"x" * size * 4096)
    (tmp_path / "link").symlink_to(tmp_path / "b")
    assert [Path(each["path"]).name for each in program.largest(str(tmp_path))] == ["b", "c", "a"]


# A socket


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "a.sock"))
        found.listen()
        yield tmp_path / "a.sock"


def test_process_that_listens_is_found(listener):
    assert program.peer(str(listener))["pid"] == os.getpid()


def test_process_that_is_younger_than_the_socket_has_only_the_number_of_who_made_it(listener, monkeypatch):
    monkeypatch.setattr(program, "began_at", lambda pid: time.time() + 60)
    assert program.peer(str(listener)) == {}


def test_nobody_listens_where_nothing_is(tmp_path):
    assert program.peer(str(tmp_path / "a.sock")) == {}


def test_this_process_began_before_now():
    assert 0 < program.began_at(os.getpid()) <= time.time() + program.TICK
    assert program.began_at(2**30) == 0.0


def test_what_is_at_a_path_is_described(tmp_path):
    (tmp_path / "file").touch(mode=0o640)
    assert program.described(tmp_path / "file")["mode"] == "0640"
    assert program.described(tmp_path / "nothing") == {}
    (tmp_path / "link").symlink_to("folder/file")
    assert (program.linked(tmp_path / "link"), program.linked(tmp_path / "link", whole=True)) == ("file", "folder/file")
    assert program.linked(tmp_path / "file") == ""


@pytest.mark.parametrize(
    ("asked", "files", "expected"),
    [
        ("/run/app-a/current.sock", [], "/run/app-a/current.sock"),
        ("", ["current.sock"], "/run/app-a/current.sock"),
    ],
)
def test_socket_is_the_one_of_nginxs_configuration(asked, files, expected):
    assert str(program.App({"name": "a"}, asked).socket) == expected


def test_what_is_sent_needs_nothing_but_python_itself():
    request = {"apps": [], "port": 443, "since": 1, "trace": "x"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-"], input=sent.script(MODULES, request), capture_output=True, text=True
    )
    assert done.stderr == ""
    answer = json.loads(gzip.decompress(base64.b64decode(done.stdout)))
    assert answer["memory"]["MemTotal"] > 0
    assert answer["apps"] == {}
