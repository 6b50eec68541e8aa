"""What a server finds of itself that no comparison of files shows."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from sanso.digest import look
from sanso.digest.server import CouldNotAsk

UNIT = {
    "Id": "a.service",
    "Type": "simple",
    "ActiveState": "active",
    "Result": "success",
    "ConditionResult": "yes",
    "FragmentPath": "/usr/lib/systemd/system/a.service",
    "MainPID": "1",
    "WantedBy": "multi-user.target",
    "RequiredBy": "",
    "NeedDaemonReload": "no",
    "RemainAfterExit": "no",
    "StateChangeTimestamp": "@1000",
    "InactiveEnterTimestampMonotonic": "0",
}
TARGET = UNIT | {"Id": "multi-user.target", "WantedBy": ""}
STOPPED = {"ActiveState": "inactive", "InactiveEnterTimestampMonotonic": "5"}


def units(**changed):
    return [(each["kind"], each["key"], each["found"]) for each in look.of_units([UNIT | changed, TARGET])]


# Units


def test_unit_that_runs_is_right():
    assert units() == []


def test_unit_that_was_stopped_though_another_one_wants_it():
    assert units(**STOPPED) == [("unit", "a.service", "inactive")]


@pytest.mark.parametrize(
    "why",
    [
        pytest.param({"WantedBy": ""}, id="nobody wants it"),
        pytest.param({"WantedBy": "rescue.target"}, id="who wants it isn't active"),
        pytest.param({"ConditionResult": "no"}, id="its conditions hold it back"),
        pytest.param({"InactiveEnterTimestampMonotonic": "0"}, id="never ran"),
        pytest.param({"Type": "oneshot"}, id="ends by itself"),
    ],
)
def test_unit_that_may_rest(why):
    assert units(**STOPPED | why) == []


def test_oneshot_that_remains_was_stopped():
    assert units(**STOPPED | {"Type": "oneshot", "RemainAfterExit": "yes"})


def test_unit_that_failed_is_told_with_how():
    assert units(ActiveState="failed", Result="exit-code") == [("unit", "a.service", "failed (exit-code)")]


def test_unit_whose_file_is_newer_than_what_systemd_loaded():
    drop_in = "/etc/systemd/system/a.service.d/x.conf"
    (found,) = look.of_units([UNIT | {"NeedDaemonReload": "yes", "DropInPaths": drop_in}, TARGET])
    assert (found["kind"], found["key"]) == ("unit file", "a.service")
    assert drop_in in found["found"]


@pytest.mark.parametrize("changed", [STOPPED, {"NeedDaemonReload": "yes"}], ids=str)
def test_command_that_mends_a_unit_asks_for_root(changed):
    (found,) = look.of_units([UNIT | changed, TARGET])
    assert found["mend"].startswith("sudo systemctl ")
    assert found["mend"].count("systemctl") == found["mend"].count("sudo")


# Daemons


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    """daemon(age) is mysqld with a file that is so many seconds younger than when it read it."""
    file = tmp_path / "x.cnf"
    file.write_text("")
    monkeypatch.setitem(look.DAEMONS, "mysql.service", ((str(file),), "sudo systemctl restart mysql"))

    def daemon(age, **changed):
        os.utime(file, (1000 + age, 1000 + age))
        return list(look.of_daemons([UNIT | {"Id": "mysql.service"} | changed])), file

    return daemon


@pytest.mark.parametrize("age", [-100, 0, 1])
def test_daemon_that_read_its_files_is_right(daemon, age):
    assert daemon(age)[0] == []


def test_daemon_that_is_older_than_its_files(daemon):
    (found,), file = daemon(100)
    assert (found["key"], found["mend"]) == ("mysql", "sudo systemctl restart mysql")
    assert str(file) in found["found"]


def test_daemon_that_does_not_run_is_no_older(daemon):
    assert daemon(100, ActiveState="inactive")[0] == []


def test_nginx_read_its_files_when_its_workers_began(monkeypatch):
    monkeypatch.setattr(look, "children", lambda pid: ["7", "8"])
    monkeypatch.setattr(look, "start", lambda pid: {"7": 1500.0, "8": 1600.0}[pid])
    assert look.last_read(UNIT | {"Id": "nginx.service"}) == 1600


def test_process_began_before_now():
    assert 0 < time.time() - look.start(str(os.getpid())) < 3600


def test_app_that_serves_another_release_than_the_current_one(tmp_path, monkeypatch):
    (tmp_path / "releases/2").mkdir(parents=True)
    (tmp_path / "current").symlink_to(tmp_path / "releases/2")
    monkeypatch.setattr(
        look, "Path", lambda path: tmp_path / "current" if str(path).endswith("/current") else Path(path)
    )
    (found,) = look.of_apps([UNIT | {"Id": "app-shop@current.service", "MainPID": str(os.getpid())}])
    assert (found["key"], found["was"], found["found"]) == ("shop", str(tmp_path / "releases/2"), str(Path.cwd()))


# The kernel


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """kernel(text) is what differs from a file of ours with that text."""

    def kernel(text):
        file = tmp_path / "90-sanso.conf"
        file.write_text(text)
        monkeypatch.setattr(look, "SYSCTL_FILES", str(file))
        monkeypatch.setattr(os, "access", lambda path, mode: True)
        return [(each["key"], each["was"], each["found"]) for each in look.of_sysctl([])]

    return kernel


def test_value_that_was_set_in_the_running_kernel(kernel):
    assert kernel("-kernel.ostype = Plan 9\n# kernel.osrelease = 1\n") == [("kernel.ostype", "Plan 9", "Linux")]


def test_value_as_the_file_has_it(kernel):
    assert kernel("kernel.ostype = Linux\nkernel.no_such = 1\n") == []


def test_pattern_is_for_what_nothing_else_names(kernel):
    assert kernel("kernel.ostype = Linux\nkernel.osty* = Plan 9\n") == []


def test_value_that_a_container_can_not_set_is_none_of_ours(kernel, monkeypatch):
    assert kernel("kernel.ostype = Plan 9\n")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert list(look.of_sysctl([])) == []


RULES = "table inet sanso_firewall {\n\tchain input {\n\t}\n}\n"


@pytest.fixture
def firewall(monkeypatch):
    """firewall(live, wanted) is what differs."""
    monkeypatch.setattr(look, "has", lambda name: True)
    monkeypatch.setattr(Path, "exists", lambda path: True)

    def firewall(live, wanted=RULES):
        monkeypatch.setattr(look, "ask", lambda program, *_: wanted if program == "unshare" else live)
        return [(each["key"], bool(each["mend"])) for each in look.of_firewall([])]

    return firewall


def test_rules_as_their_file_has_them(firewall):
    assert firewall(RULES + "table inet f2b-table {\n}\n") == []


@pytest.mark.parametrize("live", [RULES.replace("input", "hand"), ""])
def test_rules_that_are_others(firewall, live):
    assert firewall(live) == [("inet sanso_firewall", True)]


def test_table_that_the_file_does_not_make_is_for_somebody_to_judge(firewall):
    assert firewall(RULES + "table inet hand {\n}\n") == [("inet hand", False)]


# MySQL


@pytest.fixture
def mysql(monkeypatch):
    """mysql(rows, settings) is what differs of its variables."""

    def mysql(rows, **settings):
        monkeypatch.setattr(
            look, "query", lambda statement: [[*row, "root", "localhost", "2026-01-01 00:00:00.5"] for row in rows]
        )
        said = "".join(f"{name.replace('_', '-')}  {value}\n" for name, value in settings.items())
        text = f"Variables\n--------------- -----\n{said}\nTo see what values\n"
        monkeypatch.setattr(look, "ask", lambda *words: text)
        return list(look.mysql_variables())

    return mysql


def test_variable_that_was_set_in_the_running_server(mysql):
    (found,) = mysql([["max_connections", "77"]], max_connections="151")
    assert (found["key"], found["was"]) == ("max_connections", "151")
    assert "by root@localhost, 2026-01-01 00:00:00" in found["found"]
    assert found["mend"] == "sudo mysql -e 'SET GLOBAL max_connections = 151'"


@pytest.mark.parametrize(
    ("value", "setting"),
    [("ON", "TRUE"), ("1.000000", "1"), ("A,B", "B,A"), ("", "(No default value)"), ("OFF", "FALSE")],
)
def test_variable_that_was_set_back_or_for_one_session(mysql, value, setting):
    assert mysql([["x", value]], x=setting) == []


def test_variable_that_is_no_setting_is_not_judged(mysql):
    assert mysql([["foreign_key_checks", "OFF"]], max_connections="151") == []


GRANTS = ["GRANT ALL PRIVILEGES ON `shop`.* TO `shop`@`localhost`"]
SHOP = '"shop"@"localhost"'


@pytest.fixture
def people(monkeypatch):
    """people({account: how}, grants=[…], schemas=[…]) is what differs from an inventory with one app, shop."""

    def people(accounts, grants=(), schemas=("shop", "mysql")):
        monkeypatch.setattr(look, "mysql_accounts", lambda: accounts)
        usage = "GRANT USAGE ON *.* TO `shop`@`localhost`"
        answers = {"SHOW": [[line] for line in [usage, *GRANTS, *grants]], "SELE": [[name] for name in schemas]}
        monkeypatch.setattr(look, "query", lambda statement: answers[statement[:4]])
        return [(each["kind"], each["key"], each["mend"]) for each in look.mysql_people({SHOP: GRANTS})]

    return people


def test_described_accounts_are_right(people):
    own = {'"root"@"localhost"': "auth_socket as open", '"mysql.sys"@"localhost"': "x"}
    assert people({SHOP: "auth_socket as open"} | own) == []


def test_account_that_nobody_described(people):
    found = people({SHOP: "auth_socket as open", '"hand"@"%"': "caching_sha2_password with a password open"})
    assert found == [("mysql account", '"hand"@"%"', "")]


def test_grant_that_nobody_gave_is_taken_back_by_its_opposite(people):
    ((_, key, mend),) = people(
        {SHOP: "auth_socket as open"}, ["GRANT FILE ON *.* TO `shop`@`localhost` WITH GRANT OPTION"]
    )
    assert key == SHOP
    assert mend == "sudo mysql -e 'REVOKE FILE ON *.* FROM `shop`@`localhost`'"


def test_account_that_proves_itself_in_another_way(people):
    ((_, key, _),) = people({SHOP: "caching_sha2_password with a password open"})
    assert key == f"{SHOP} (how it proves itself)"


def test_schema_that_no_app_has(people):
    assert people({SHOP: "auth_socket as open"}, schemas=["shop", "hand"]) == [("mysql schema", "hand", "")]


def test_mysql_that_does_not_run_is_not_asked(monkeypatch):
    monkeypatch.setattr(look, "query", lambda statement: pytest.fail("it was asked"))
    assert list(look.of_mysql([UNIT | {"Id": "mysql.service", "ActiveState": "inactive"}], {})) == []


# Files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """folder("name", text) makes a file in a folder of drop-ins, after the others; a p begins those of packages."""
    monkeypatch.setattr(look, "BESIDE_OURS", (f"{tmp_path}/*",))
    monkeypatch.setattr(look, "UCF", str(tmp_path / ".ucf"))
    (tmp_path / ".ucf").write_text(f"0123  {tmp_path}/made\n")

    def ask(*words, code):
        return "".join(f"some: {file}\n" for file in words[2:] if Path(file).name.startswith("p"))

    monkeypatch.setattr(look, "ask", ask)

    def make(name, text=""):
        time.sleep(0.02)  # the file system's clock has ticks
        (tmp_path / name).write_text(text)

    return make


OURS = "# Managed by Sansō: changes made here are lost"


def strangers():
    return [Path(each["key"]).name for each in look.of_strangers([])]


def test_file_that_somebody_put_beside_ours(folder):
    folder("ours", OURS)
    folder("hand")
    assert strangers() == ["hand"]


def test_file_that_somebody_copied_with_its_old_date_is_new_here(folder, tmp_path):
    folder("ours", OURS)
    folder("hand")
    os.utime(tmp_path / "hand", (1, 1))
    assert strangers() == ["hand"]


def test_file_that_was_there_before_ours_came_with_the_server(folder, tmp_path):
    folder("image")
    folder("ours", OURS)
    os.utime(tmp_path / "ours", (1, 1))
    assert strangers() == []


@pytest.mark.parametrize("made", [("package", ""), ("made", ""), ("other", OURS)], ids=lambda made: made[0])
def test_file_of_a_package_or_of_ours_is_no_stranger(folder, made):
    folder("ours", OURS)
    folder(*made)
    assert strangers() == []


@pytest.mark.parametrize(
    ("content", "names"),
    [("text", []), ("other", ["a"]), ("Managed by Sansō", []), (None, ["a"])],
    ids=["its own", "another", "ours", "gone"],
)
def test_settings_of_a_package_that_are_others_now(tmp_path, monkeypatch, content, names):
    if content is not None:
        (tmp_path / "a").write_text(content)
    digest = hashlib.md5(b"text").hexdigest()
    known = f" {tmp_path}/a {digest}\n {tmp_path}/b newconffile\n {tmp_path}/c {digest} obsolete\n"
    monkeypatch.setattr(look, "ask", lambda *words: known)
    assert [Path(each["key"]).name for each in look.of_conffiles([])] == names


def test_look_that_fails_is_told_and_the_others_go_on(monkeypatch):
    def fails(known):
        raise CouldNotAsk("nft: it is broken")

    monkeypatch.setattr(look, "units", lambda: [UNIT, TARGET])
    for name in ("of_daemons", "of_apps", "of_sysctl", "of_strangers", "of_conffiles"):
        monkeypatch.setattr(look, name, lambda known: [])
    fails.__name__ = "of_firewall"
    monkeypatch.setattr(look, "of_firewall", fails)
    assert look.main({}) == {"found": [], "failed": {"firewall": "nft: it is broken"}}
