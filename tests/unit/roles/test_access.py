"""What decides who gets in is tried: what was comes back unless somebody got in by a connection of its own."""

from __future__ import annotations

import subprocess
import time
from types import SimpleNamespace

import jinja2
import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils import sanso_access, sanso_trial
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import become_loader, connection_loader

from sanso.entrance import Shut
from sanso.project import ROOT
from sanso.variables import loader


@pytest.fixture(scope="session")
def action(load):
    loader()
    return load("playbooks/action_plugins/access.py")


# The trial


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """One below tmp_path; its `ran` has what it would have run."""
    monkeypatch.setattr(sanso_trial, "HOME", tmp_path / "home")
    monkeypatch.setattr(sanso_trial, "UNITS", tmp_path / "units")
    monkeypatch.setattr(sanso_trial, "DOOR", tmp_path / "door")
    monkeypatch.delenv("SUDO_UID", raising=False)
    (tmp_path / "units").mkdir()
    (tmp_path / "home").mkdir()
    ran = []
    monkeypatch.setattr(sanso_trial, "call", lambda *command, check=True: ran.append(" ".join(command)) or "")
    trial = sanso_trial.Trial()
    trial.ran = ran
    return trial


@pytest.fixture
def mine(tmp_path):
    """mine(name, text, mode) is a change of a file there, owned by whoever runs this."""
    here = tmp_path.stat()

    def mine(name, text, mode=0o644):
        return sanso_trial.Change(tmp_path / name, text and text.encode(), mode, here.st_uid, here.st_gid)

    return mine


def test_what_was_there_comes_back_and_what_was_not_goes(trial, mine, tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "old").chmod(0o640)
    (tmp_path / "gone").write_text("still needed")
    (tmp_path / "link").symlink_to("old")
    changes = [mine("old", "new"), mine("fresh", "new"), mine("gone", None), mine("link", "no link")]
    trial.begin("a", changes, {"ssh"}, "the program")
    for change in changes:
        change.make()
    assert [change.is_made for change in changes] == [True] * 4
    assert trial.back("a") == {"token": "a", "kept": False, "problems": []}
    assert (tmp_path / "old").read_text() == "old"
    assert (tmp_path / "old").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "gone").read_text() == "still needed"
    assert (tmp_path / "link").is_symlink()
    assert not (tmp_path / "fresh").exists()


def test_what_is_confirmed_stays(trial, mine, tmp_path):
    (tmp_path / "file").write_text("old")
    trial.begin("a", [mine("file", "new")], set(), "the program")
    mine("file", "new").make()
    assert trial.keep("a")["kept"] is True
    assert trial.back("a") == {"token": "a", "kept": True, "problems": []}  # a word that came late changes nothing
    assert (tmp_path / "file").read_text() == "new"


def test_only_who_knows_the_token_confirms(trial, mine):
    trial.begin("a", [mine("file", "new")], set(), "the program")
    assert trial.keep("b") == {}
    assert trial.manifest["token"] == "a"


def test_trial_is_armed_for_the_timer_for_a_boot_and_for_a_wish(trial, mine, tmp_path):
    trial.begin("a", [mine("file", "new")], set(), "the program")
    units = tmp_path / "units"
    assert (units / "sysinit.target.wants/sanso-access.service").resolve() == units / "sanso-access.service"
    assert "OnActiveSec=45" in (units / "sanso-access.timer").read_text()
    assert f"ExecStart=/usr/bin/python3 {tmp_path}/home/trial.py back" in (units / "sanso-access.service").read_text()
    assert (tmp_path / "home/trial.py").read_text() == "the program"
    assert trial.ran[-1] == "systemctl start sanso-access.timer sanso-access.path"
    assert (tmp_path / "door").stat().st_mode & 0o777 == 0o700


def test_nothing_of_a_trial_is_left(trial, mine, tmp_path):
    trial.begin("a", [mine("file", "new")], set(), "the program")
    trial.keep("a")
    assert [path.name for path in (tmp_path / "units").rglob("*") if not path.is_dir()] == []
    assert not (tmp_path / "home/trial").exists()
    assert not (tmp_path / "door").exists()


def test_second_trial_is_refused_while_one_runs(trial, mine):
    trial.begin("a", [mine("file", "new")], set(), "the program")
    with pytest.raises(sanso_trial.Failed, match="another run is trying new settings"):
        trial.refuse_a_second()


def test_trial_that_nothing_ended_is_taken_back_by_the_next_one(trial, mine, tmp_path, monkeypatch):
    trial.begin("a", [mine("file", "new")], set(), "the program")
    mine("file", "new").make()
    now = time.time()
    monkeypatch.setattr(sanso_trial.time, "time", lambda: now + 120)
    trial.refuse_a_second()
    assert not (tmp_path / "file").exists()


def test_one_file_that_cannot_come_back_keeps_no_other_away(trial, mine, tmp_path):
    (tmp_path / "second").write_text("old")
    changes = [mine("first", "new"), mine("second", "new")]
    trial.begin("a", changes, set(), "the program")
    for change in changes:
        change.make()
    (tmp_path / "first").unlink()
    (tmp_path / "first").mkdir()
    assert len(trial.back()["problems"]) == 1
    assert (tmp_path / "second").read_text() == "old"


def test_program_runs_with_nothing_but_pythons_library():
    command = ["python3", "-I", ROOT / "playbooks/module_utils/sanso_trial.py"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, "keep TOKEN" in done.stderr) == (2, True)


# What sshd goes by


@pytest.mark.parametrize(
    ("content", "effective", "said"),
    [
        ("PermitRootLogin prohibit-password", "permitrootlogin without-password", ""),
        ("TCPKeepAlive no", "TCPKeepAlive false", ""),
        ("LogLevel VERBOSE", "loglevel VERBOSE", ""),
        ("PermitRootLogin no", "permitrootlogin yes", "PermitRootLogin no (sshd goes by yes)"),
        ("# PermitRootLogin no\nMatch User a\nPermitRootLogin no", "permitrootlogin yes", ""),
        ("UseDNS yes\nUseDNS no", "usedns yes", ""),  # the hatch, and the role's own after it
        ("Port 2222\nPort 22", "port 22\nport 2222", ""),
        ("Later yes", "port 22", ""),  # what this sshd doesn't show
    ],
)
def test_line_that_another_file_overrides_is_found(content, effective, said):
    found = sanso_access.overridden(content, effective)
    assert said in found if said else found == ""


# Host keys


@pytest.fixture
def ssh_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sanso_access, "SSH", tmp_path)

    def make(kind, bits=0):
        size = ["-b", str(bits)] if bits else []
        path = tmp_path / f"ssh_host_{kind}_key"
        subprocess.run(["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-f", path], check=True)

    make("ed25519")
    return SimpleNamespace(path=tmp_path, make=make)


def test_short_rsa_key_is_replaced_and_ecdsa_goes(ssh_folder):
    ssh_folder.make("rsa", 2048)
    ssh_folder.make("ecdsa")
    kinds, gone = sanso_access.host_keys(4096)
    assert kinds == ["rsa"]
    assert sorted(change.path.name for change in gone) == ["ssh_host_ecdsa_key", "ssh_host_ecdsa_key.pub"]


def test_keys_that_are_good_stay(ssh_folder):
    ssh_folder.make("rsa", 2048)
    assert sanso_access.host_keys(2048) == ([], [])


def test_groups_that_are_too_short_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(sanso_access, "SSH", tmp_path)
    (tmp_path / "moduli").write_text("# Time Type\n2020 2 6 100 2047 2 AA\n2020 2 6 100 3071 2 BB\n")
    assert sanso_access.moduli().content == b"# Time Type\n2020 2 6 100 3071 2 BB\n"


# The second connection


@pytest.fixture
def plugin(action):
    """The action over an SSH connection that becomes root, as the executor would make both."""
    connection = connection_loader.get("ssh", PlayContext())
    connection.set_options(
        var_options={
            "ansible_host": "server.test",
            "ansible_user": "ada",
            "ansible_port": 2200,
            "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=60s",
            "ansible_ssh_common_args": "-o ProxyJump=gate.test",
            "ansible_ssh_private_key_file": "/keys/ada",
        }
    )
    sudo = become_loader.get("sudo")
    sudo.set_options(var_options={"ansible_become_password": "secret"})
    connection.set_become_plugin(sudo)
    task = SimpleNamespace(args={"files": {}}, async_val=0, check_mode=False, diff=False)
    return action.ActionModule(task, connection, PlayContext(), None, None, None)


def words(connection):
    return " ".join(word.decode() for word in connection._build_command("ssh", "ssh", "server.test"))


def test_second_connection_shares_nothing_with_the_first(plugin):
    assert words(plugin.fresh(0)).startswith("ssh -o ControlMaster=no -o ControlPath=none ")


@pytest.mark.parametrize("word", ["ProxyJump=gate.test", 'User="ada"', "Port=2200", 'IdentityFile="/keys/ada"'])
def test_second_connection_goes_the_same_way(plugin, word):
    assert word in words(plugin.fresh(0))


def test_second_connection_takes_the_new_port_and_the_known_host_key(plugin):
    said = words(plugin.fresh(2222, alias=True))
    assert "Port=2222" in said
    assert "HostKeyAlias=[server.test]:2200" in said


def test_sudo_of_the_second_connection_has_the_password_and_no_memory(plugin):
    become = plugin.fresh(0).become
    assert become.get_option("become_pass") == "secret"
    assert become.get_option("become_flags").startswith("-k ")
    assert not plugin._connection.become.get_option("become_flags").startswith("-k ")


def test_door_is_the_inventorys(plugin, tmp_path):
    plugin._templar = SimpleNamespace(template=lambda value: value)
    (tmp_path / "os.yml").write_text("os_firewall_extra_rules: drop\n")
    plugin.variables = {"inventory_hostname": "a", "inventory_dir": str(tmp_path), "os_firewall_extra_rules": "drop"}
    assert (plugin.user, plugin.host, plugin.port) == ("ada", "a", 22)
    assert plugin.value("os_firewall_extra_rules") == "drop"
    assert plugin.place("os_firewall_extra_rules") == f"{tmp_path}/os.yml:1"


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ({"rc": 1, "stdout": "", "stderr": "sudo: a password is required\n"}, "sudo: a password is required"),
        ({"rc": 3, "stdout": "x", "stderr": ""}, "sudo, or what it shall run, failed with 3: x"),
        (AnsibleConnectionFailure("timed out"), "timed out"),
    ],
)
def test_door_says_why_it_is_shut(plugin, monkeypatch, done, said):
    def execute(command, sudoable, in_data):
        if isinstance(done, Exception):
            raise done
        return done

    monkeypatch.setattr(plugin, "_low_level_execute_command", execute)
    monkeypatch.setattr(plugin, "_is_pipelining_enabled", lambda style: True)
    before = plugin._connection
    with pytest.raises(Shut) as shut:
        plugin.anew("true")
    assert str(shut.value) == said
    assert plugin._connection is before


# The settings


@pytest.fixture
def sshd():
    """sshd(**variables) renders the drop-in; returns its lines without comments."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    text = (ROOT / "roles/os/templates/etc/ssh/sshd_config.d/00-sanso.conf.j2").read_text()
    defaults = {
        "os_ssh_extra_settings": "",
        "os_ssh_port": 0,
        "os_ssh_password_authentication": False,
        "os_ssh_permit_root_login": "no",
        "os_ssh_tcp_forwarding": True,
        "os_ban_ignored": [],
        "__os_ssh_ports": [22],
        "__os_ssh_with_penalties": ["resolute"],
        "__os_ssh_key_exchanges": {"resolute": "mlkem768x25519-sha256"},
        "ansible_facts": {"distribution_release": "resolute"},
    }

    def sshd(**variables):
        lines = environment.from_string(text).render(defaults | variables).splitlines()
        return [line for line in lines if not line.startswith("#")]

    return sshd


def test_own_lines_come_before_the_roles_and_match_blocks_after(sshd):
    lines = sshd(os_ssh_extra_settings="LogLevel INFO\nMatch User a\n  X11Forwarding yes\nMatch User b\n  PermitTTY no")
    assert lines[0] == "LogLevel INFO"
    assert lines[-4:] == ["Match User a", "  X11Forwarding yes", "Match User b", "  PermitTTY no"]


def test_port_is_left_alone_unless_it_is_asked_for(sshd):
    assert [line for line in sshd() if line.startswith("Port")] == []
    assert sshd(os_ssh_port=2222, __os_ssh_ports=[2222, 22])[:2] == ["Port 2222", "Port 22"]


def test_who_is_never_banned_is_not_turned_away_by_sshd_either(sshd):
    assert "PerSourcePenaltyExemptList 192.0.2.1,198.51.100.0/24" in sshd(
        os_ban_ignored=["192.0.2.1", "198.51.100.0/24"]
    )
