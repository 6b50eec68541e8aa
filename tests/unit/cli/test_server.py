"""./sanso up --on user@host: what is taken for a server, and the inventory that is written for it."""

from __future__ import annotations

import getpass
import shutil

import pytest
import yaml

from sanso import project
from sanso import server as servers

KEYS = ["ssh-ed25519 AAAA1 ada@laptop: home", "ssh-rsa AAAA2 'ada' # work"]


@pytest.fixture
def inventories(tmp_path, monkeypatch):
    """An inventory folder with the real example in it."""
    folder = tmp_path / "inventory"
    shutil.copytree(project.ROOT / "inventory/example", folder / "example")
    monkeypatch.setattr(servers, "INVENTORIES", folder)
    monkeypatch.setattr(servers, "EXAMPLE", folder / "example")
    monkeypatch.setattr(servers, "public_keys", lambda: KEYS)
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    return folder


@pytest.fixture
def built(sanso, server, inventories):
    """Run up --on a server that Ansible and ssh can reach, which has no site to ask for."""
    return lambda *words: sanso("up", *words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ubuntu@192.0.2.1", ("ubuntu", "192.0.2.1", 22)),
        ("root@web-1.example.org:2222", ("root", "web-1.example.org", 2222)),
        ("first.last@host", ("first.last", "host", 22)),
        ("a@[2001:db8::1]", ("a", "2001:db8::1", 22)),
        ("a@[2001:db8::1]:2222", ("a", "2001:db8::1", 2222)),
    ],
)
def test_server_is_user_host_and_port(words, expected):
    found = servers.Target().convert(words, None, None)
    assert (found.user, found.address, found.port) == expected


NO_SERVERS = r"""
    host | @host | a@ | -a@host | a@-host | a@host- | -oProxyCommand=x@host | a@-oProxyCommand=x | a b@host | a@ho st
    a@host;id | a@$(id) | a@../host | a@host/.. | a@host: | a@host:0 | a@host:65536 | a@host:ssh | a@b@host
    a@[host] | a@[1::2::3] | a@2001:db8::1 | a@hôst | a@local | a@example
"""


@pytest.mark.parametrize(
    "words", ["", "a@host\n", *(words.strip() for words in NO_SERVERS.strip().replace("\n", "|").split("|"))]
)
def test_anything_else_is_a_usage_error(sanso, programs, words):
    done = sanso("up", "--on", words)
    assert done.exit_code == 2
    assert not programs.called("ssh")


@pytest.mark.parametrize("words", [["-i", "inventory/local"], ["--image", "auto"]])
def test_server_needs_no_word_about_machines(sanso, words):
    assert sanso("up", "--on", "a@host", *words).exit_code == 2


def test_new_server_gets_an_inventory_of_its_own(built, inventories, programs):
    done = built("--on", "ubuntu@192.0.2.1")
    assert done.exit_code == 0
    assert programs.called("ansible-playbook") == [["-i", str(inventories / "192.0.2.1"), "site.yml"]]
    assert "group_vars/all/apps.yml" in done.stdout


def test_inventory_speaks_of_the_server(built, inventories):
    built("--on", "root@web.example.net:2222")
    groups = yaml.safe_load((inventories / "web.example.net/hosts.yml").read_text())["all"]["children"]
    variables = {"ansible_host": "web.example.net", "ansible_user": "root", "ansible_port": 2222}
    assert groups["web"]["hosts"] == {"web.example.net": variables}
    assert groups["app"]["hosts"] == groups["db"]["hosts"] == {"web.example.net": None}


def test_inventory_of_an_ipv6_address_has_a_name_without_colons(built, inventories):
    built("--on", "root@[2001:db8::1]")
    groups = yaml.safe_load((inventories / "2001-db8--1/hosts.yml").read_text())["all"]["children"]
    assert groups["web"]["hosts"]["2001-db8--1"]["ansible_host"] == "2001:db8::1"


def test_comments_of_the_example_stay(built, inventories):
    built("--on", "ubuntu@192.0.2.1")
    text = (inventories / "192.0.2.1/hosts.yml").read_text()
    assert "# Where each tier runs. One server is in all three." in text


def test_person_gets_an_account_with_their_keys(built, inventories):
    built("--on", "ubuntu@192.0.2.1")
    settings = yaml.safe_load((inventories / "192.0.2.1/group_vars/all/os.yml").read_text())
    assert settings["os_admins"] == [{"name": "ada", "keys": KEYS}]


@pytest.mark.parametrize("person", ["root", "ubuntu", "Ada Lovelace"])
def test_account_that_opens_the_server_keeps_its_keys(built, inventories, monkeypatch, person):
    monkeypatch.setattr(getpass, "getuser", lambda: person)
    built("--on", "ubuntu@192.0.2.1")
    text = (inventories / "192.0.2.1/group_vars/all/os.yml").read_text()
    assert text == (inventories / "example/group_vars/all/os.yml").read_text()


def test_inventory_that_is_there_is_used_as_it_is(built, inventories, programs):
    built("--on", "ubuntu@192.0.2.1")
    hosts = inventories / "192.0.2.1/hosts.yml"
    hosts.write_text("# mine\n")
    done = built("--on", "other@192.0.2.1")
    assert done.exit_code == 0
    assert hosts.read_text() == "# mine\n"
    assert "as it is" in done.stdout


def test_server_that_can_not_be_reached_gets_no_inventory(built, inventories, programs):
    programs.fake("ssh", "sys.exit('Permission denied (publickey).')")
    done = built("--on", "ubuntu@192.0.2.1")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[0] == "✗ ubuntu@192.0.2.1 doesn't accept your SSH key"
    assert [folder.name for folder in inventories.iterdir()] == ["example"]


def test_copy_that_was_broken_off_is_made_anew(built, inventories):
    (inventories / ".192.0.2.1.new").mkdir()
    (inventories / ".192.0.2.1.new/left-over.yml").touch()
    built("--on", "ubuntu@192.0.2.1")
    assert not (inventories / "192.0.2.1/left-over.yml").exists()


def test_yes_takes_the_host_key_of_a_new_server(built, inventories, programs):
    built("--on", "ubuntu@192.0.2.1", "--yes")
    assert "StrictHostKeyChecking=accept-new" in programs.called("ssh")[0]


def test_public_keys_are_those_of_agent_and_files_each_once(programs, home):
    programs.fake("ssh-add", f"print({KEYS[0]!r})")
    (home / ".ssh").mkdir(parents=True)
    for name, key in {"id_ed25519.pub": "ssh-ed25519 AAAA1 again", "id_rsa.pub": KEYS[1], "id_rsa": "secret"}.items():
        (home / ".ssh" / name).write_text(f"{key}\n")
    assert [key.split()[1] for key in servers.public_keys()] == ["AAAA1", "AAAA2"]


def test_agent_without_keys_is_no_key(programs, home):
    programs.fake("ssh-add", "print('The agent has no identities.'); sys.exit(1)")
    assert servers.public_keys() == []
