"""What is said of a server, and what is not."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import pwd
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from sanso import sent
from sanso.digest import program
from sanso.digest.server import CouldNotAsk

SECRET = "a line of a map that nobody else may know"


@pytest.fixture
def says(monkeypatch):
    """says({"sshd -T": "…"}) is what the server's programs print, by two words; says(rows, …) MySQL's answers."""
    said, answers = {}, []
    monkeypatch.setattr(program, "ask", lambda *words, **_: said[" ".join(words[:2])])
    monkeypatch.setattr(program, "query", lambda statements: answers.pop(0))
    monkeypatch.setattr(program, "has", lambda name: True)
    monkeypatch.setattr(program, "host_name", lambda: "db1")

    def say(*answered):
        for each in answered:
            if isinstance(each, dict):
                said.update(each)
            else:
                answers.append(each)

    said["ip -json"] = '[{"addr_info": [{"local": "127.0.0.1"}, {"local": "10.0.0.7"}]}]'
    return say


@pytest.fixture
def taken(says):
    return program.Digest("key")


@pytest.fixture
def public(tmp_path, monkeypatch):
    """public("name", text, mode) makes a file in a tree; of this one's folders, others may pass through all."""
    monkeypatch.setattr(program, "is_public", lambda path: bool(path.stat().st_mode & 0o004))

    def make(name, text, mode=0o644):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    return make


def described(taken, path):
    return taken.file(path, path.lstat())


# Files


def test_file_is_what_it_is_whose_it_is_and_what_is_in_it(taken, public):
    path = public("a.conf", "text")
    facts = described(taken, path)
    assert (facts["kind"], facts["mode"], facts["sha256"]) == ("file", "0644", hashlib.sha256(b"text").hexdigest())
    assert facts["owner"] == path.owner()


def test_link_is_where_it_leads(taken, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("/etc/a")
    facts = described(taken, link)
    assert (facts["kind"], facts["to"]) == ("link", "/etc/a")


def test_bytes_of_what_not_all_may_read_leave_as_a_hash_that_this_comparison_alone_understands(says, public):
    path = public("secret", SECRET, 0o600)
    one, same, other = (described(program.Digest(key), path) for key in ("one", "one", "other"))
    assert one == same != other
    assert hashlib.sha256(SECRET.encode()).hexdigest() not in json.dumps(one)


def test_bytes_that_are_a_servers_own_are_nowhere_in_its_facts(taken, public, tmp_path, monkeypatch):
    path = public("own", SECRET)
    monkeypatch.setattr(program, "OWN", {str(path): "the server's own"})
    assert described(taken, path).keys() == {"kind", "owner", "group", "mode"}


def test_who_may_beside_owner_and_group_is_a_fact(taken, public, monkeypatch):
    entries = [(1, 6, 2**32 - 1), (2, 4, os.getuid()), (16, 4, 2**32 - 1)]  # owner, a user, mask
    said = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)
    path = public("a", "")
    monkeypatch.setattr(os, "getxattr", lambda path, name: said if name.endswith("access") else b"")
    user = pwd.getpwuid(os.getuid()).pw_name
    assert described(taken, path)["access of others"] == f"mask::r-- owner::rw- user:{user}:r--"


def test_folder_that_not_all_may_enter_hides_what_is_in_it(tmp_path):
    path = tmp_path / "closed/a"
    path.parent.mkdir()
    path.write_text("")
    path.chmod(0o644)
    path.parent.chmod(0o750)
    assert not program.is_public(path)


def test_what_everyone_may_read_is_public():
    assert program.is_public(Path("/etc/passwd"))


@pytest.mark.parametrize("path", ["/etc/ssh/ssh_host_ed25519_key", "/etc/nginx/trace_secret", "/etc/machine-id"])
def test_bytes_that_are_a_servers_own_are_not_compared(path):
    assert program.matches(path, program.OWN)


@pytest.mark.parametrize("path", ["/etc/nginx/nginx.conf", "/etc/ssh/sshd_config", "/etc/mysql/mysql.conf.d/x.cnf"])
def test_bytes_of_all_others_are(path):
    assert not program.matches(path, program.OWN | program.LEFT_OUT)


def test_tree_is_walked_but_for_what_is_left_out(public, tmp_path):
    public("etc/a/b.conf", "")
    public("etc/a/__pycache__/c.pyc", "")
    found = {str(path.relative_to(tmp_path)) for path, _ in program.walk((f"{tmp_path}/etc",))}
    assert found == {"etc", "etc/a", "etc/a/b.conf"}


def test_file_that_goes_while_it_is_looked_for_is_not_there(tmp_path):
    assert list(program.below(tmp_path / "gone")) == []


def test_text_is_given_of_public_files_only(says, public, tmp_path):
    shown, hidden = public("shown", "text"), public("hidden", SECRET, 0o640)
    assert program.texts([str(shown), str(hidden), f"{tmp_path}/none"]) == {str(shown): "text"}


def test_bytes_that_are_no_text_are_not_shown(says, public):
    path = public("binary", "")
    path.write_bytes(b"\xff\xfe")
    assert program.texts([str(path)]) == {}


# Names


@pytest.mark.parametrize(
    ("text", "common"),
    [
        ("127.0.1.1 db1", "127.0.1.1 HOST"),
        ("db1-relay-bin", "HOST-relay-bin"),
        ("db12", "db12"),
        ("mydb1", "mydb1"),
        ("10.0.0.7:53", "ADDRESS:53"),
        ("110.0.0.7", "110.0.0.7"),
        ("127.0.0.1:53", "127.0.0.1:53"),
    ],
)
def test_own_name_and_address_get_the_names_that_all_share(taken, text, common):
    assert taken.names.common(text) == common


def test_own_name_is_looked_for_only_where_it_is_said(taken, says):
    says([["hostname", "db1"], ["relay_log", "db1-relay-bin"], ["datadir", "/var/lib/db1/"], ["server_uuid", "x"]])
    assert taken.mysql_variables() == {"hostname": "HOST", "relay_log": "HOST-relay-bin", "datadir": "/var/lib/db1/"}


# Settings


@pytest.mark.parametrize(
    ("field", "said"),
    [("", "empty"), ("!", "locked"), ("*", "locked"), ("!$y$j9T$x", "locked"), (f"$y${SECRET}$x", "set (y)")],
)
def test_password_is_told_by_its_kind(field, said):
    assert program.password(field) == said


def test_nginx_shows_no_file_that_not_all_may_read(taken, says, public):
    shown, hidden = public("nginx.conf", ""), public("hidden", "", 0o640)
    dump = f"# configuration file {shown}:\nhttp {{}}\n# configuration file {hidden}:\n{SECRET}\n"
    says({"nginx -T": dump})
    found = taken.nginx()
    assert "http {}" in found[str(shown)]
    assert "read as number 2 of 2" in found[str(hidden)]
    assert SECRET not in json.dumps(found)


def test_unit_is_what_it_is_at_boot_and_now_but_not_what_a_timer_starts(taken, says):
    says(
        {
            "systemctl list-unit-files": "a.service enabled enabled\nb.service disabled -\nc.service transient -\n",
            "systemctl list-units": "a.service loaded active running A\nd.service loaded active running D\n"
            "b.service loaded failed failed B\nuser@0.service loaded active running U\n",
            "systemctl list-timers": '[{"activates": "d.service"}]',
        }
    )
    assert taken.units() == {
        "a.service": {"at boot": "enabled", "now": "active"},
        "b.service": {"at boot": "disabled", "now": "failed failed"},
    }


def test_listener_is_told_with_its_program(taken, says):
    says(
        {
            "ss -Hltunp": 'tcp LISTEN 0 511 10.0.0.7:80 0.0.0.0:* users:(("nginx",pid=2,fd=5),("nginx",pid=1,fd=5))\n',
            "ss -Hlx": "u_str LISTEN 0 151 /run/x.sock 1 * 0\nu_str LISTEN 0 1 /run/user/0/bus 1 * 0\n",
        }
    )
    assert taken.listeners() == {"tcp ADDRESS:80": "nginx", "unix /run/x.sock": "listens"}


def test_option_of_sshd_that_comes_more_than_once_is_one_fact(taken, says):
    says({"sshd -T": "port 22\nacceptenv LANG\nacceptenv COLORTERM\n"})
    assert taken.sshd() == {"port": "22", "acceptenv": "COLORTERM\nLANG"}


def test_rules_are_told_without_what_came_through_them(taken, says):
    says({"nft list": "table inet sanso_firewall\n", "nft --stateless": "set x { # count 3\n}\n"})
    assert taken.nftables() == {"inet sanso_firewall": "set x {\n}\n"}


def test_account_is_how_it_proves_itself_and_what_it_may(taken, says):
    account = ["app", "localhost", "auth_socket", "as ", "N"]
    says([account], [['"app"@"localhost"'], ["GRANT USAGE ON *.*"], ["GRANT ALL ON `app`.*"]])
    assert taken.mysql_accounts() == {
        '"app"@"localhost"': "auth_socket as open\nGRANT ALL ON `app`.*\nGRANT USAGE ON *.*"
    }


def test_table_is_its_columns(taken, says):
    says([["app", "utf8mb4", "ci"]], [["app", "t", "id", "int", "NO", "PRI"], ["app", "t", "x", "text", "YES", ""]])
    assert taken.mysql_schemas() == {"app": "utf8mb4 ci", "app.t": "id int NO PRI\nx text YES"}


def test_daemon_that_is_not_there_has_no_settings(taken, monkeypatch):
    monkeypatch.setattr(program, "has", lambda name: False)
    assert (taken.nginx(), taken.mysql_variables(), taken.fail2ban(), taken.nftables()) == ({}, {}, {}, {})


def test_kernel_is_asked_for_what_our_files_set(tmp_path, monkeypatch):
    file = tmp_path / "90-sanso.conf"
    file.write_text("# kernel.no = 1\n-kernel.ostype = x\nkernel.no_such_name = 1\n")
    monkeypatch.setattr(program, "SYSCTL_FILES", str(file))
    assert program.sysctls() == {"kernel.ostype": "Linux", "kernel.no_such_name": None}


# The whole


def test_part_that_fails_is_told_and_the_others_go_on(says, monkeypatch):
    def fails(_):
        raise CouldNotAsk("mysql: it is down")

    monkeypatch.setattr(program, "SECTIONS", {"good": lambda _: {"a": "b"}, "bad": fails})
    assert program.digest("key") == {"sections": {"good": {"a": "b"}}, "failed": {"bad": "mysql: it is down"}}


def test_what_is_sent_needs_nothing_but_python_itself():
    modules = ["sanso.digest.server", "sanso.digest.program"]
    text = sent.script(modules, {"texts": ["/etc/passwd", "/no/such/file"]})
    done = subprocess.run([sys.executable, "-I", "-S", "-"], input=text, capture_output=True, text=True)
    assert done.stderr == ""
    answer = json.loads(gzip.decompress(base64.b64decode(done.stdout)))
    assert answer == {"texts": {}}
