"""The inventory as Ansible itself reads it."""

from __future__ import annotations

import pytest

from sanso import inventory
from sanso.console import Failure

HOSTS = """
all:
  vars:
    ansible_ssh_common_args: -o UserKnownHostsFile=/machines/{{ inventory_hostname }}/known_hosts
    where: "{{ base }}/{{ inventory_hostname }}"
    base: /srv
    later: "{{ known_later }}"
    apps:
      - name: faults
        server_names: [faults.test, www.faults.test]
      - name: quiet
      - name: any
        server_names: ["*.any.test"]
  children:
    site:
      children:
        web:
          hosts:
            one:
              ansible_host: 192.0.2.1
    db:
      hosts:
        two:
          nginx_local_ca_directory: /elsewhere
"""


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """Read by the real ansible-inventory, before tests put fakes on PATH."""
    file = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    file.write_text(HOSTS)
    return inventory.read(file)


def test_hosts_and_their_groups_are_known(described):
    assert {name: host.groups for name, host in described.hosts.items()} == {
        "one": {"all", "site", "web"},
        "two": {"all", "db"},
    }


def test_names_of_hosts_are_filled_in(described):
    assert described.hosts["one"].get("ansible_ssh_common_args") == "-o UserKnownHostsFile=/machines/one/known_hosts"


@pytest.mark.parametrize("makes", ["acme", "local"])
def test_private_ca_is_believed_where_it_makes_the_certificates(tmp_path, makes):
    for name in ("ca.crt", "private.pem"):
        (tmp_path / name).touch()
    variables = {"nginx_certificates": makes, "acme_ca_certificate": f"{tmp_path}/private.pem"}
    expected = "private.pem" if makes == "acme" else "ca.crt"
    assert inventory.ca_of({**variables, "nginx_local_ca_directory": str(tmp_path)}) == tmp_path / expected


def test_other_variables_are_filled_in(described):
    assert described.hosts["two"].get("where") == "/srv/two"


def test_what_only_ansible_knows_stays_as_it_is_written(described):
    assert described.hosts["one"].get("later") == "{{ known_later }}"


def test_address_is_the_name_where_no_other_is_given(described):
    assert [host.address for host in described.hosts.values()] == ["192.0.2.1", "two"]


def test_sites_are_the_names_that_a_browser_can_ask_for(described):
    assert described.sites() == [("faults.test", "192.0.2.1")]


def test_ca_is_none_where_there_is_no_file(described):
    assert described.ca() is None


def test_default_inventory_is_not_named_to_ansible():
    assert inventory.Inventory(inventory.DEFAULT_INVENTORY).words == []


def test_unreadable_inventory_shows_the_words_of_ansible(programs, tmp_path):
    programs.fake("ansible-inventory", "sys.exit('did not find expected key')")
    with pytest.raises(Failure, match="can't be read") as failure:
        inventory.read(tmp_path)
    assert "did not find expected key" in failure.value.evidence


def test_inventory_without_hosts_is_a_failure(hosts):
    hosts()
    with pytest.raises(Failure, match="has no hosts"):
        inventory.read()


# What Ansible said is kept by all that it depends on


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "inventory"
    (folder / "group_vars/all").mkdir(parents=True)
    (folder / "hosts.yml").write_text("all:\n  hosts:\n    one:\n")
    (folder / "group_vars/all/apps.yml").write_text("apps: []\n")
    return folder


@pytest.fixture
def asked(programs):
    """How often Ansible was asked."""
    programs.fake("ansible-inventory", "print(json.dumps({'_meta': {'hostvars': {}}, 'all': {'hosts': ['one']}}))")
    return lambda: len(programs.called("ansible-inventory"))


def test_ansible_is_asked_once_about_the_same_inventory(folder, asked):
    for _ in range(3):
        assert inventory.read(folder).hosts.keys() == {"one"}
    assert asked() == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "hosts.yml").write_text("all:\n  hosts:\n    two:\n"),
        lambda folder: (folder / "group_vars/all/more.yml").write_text("more: 1\n"),
        lambda folder: (folder / "group_vars/all/apps.yml").unlink(),
        lambda folder: (folder / "group_vars/all/apps.yml").rename(folder / "group_vars/all/other.yml"),
    ],
    ids=["changed", "added", "removed", "renamed"],
)
def test_ansible_is_asked_again_after_any_change(folder, asked, change):
    inventory.read(folder)
    change(folder)
    inventory.read(folder)
    assert asked() == 2


def test_ansible_is_asked_again_in_another_environment(folder, asked, monkeypatch):
    inventory.read(folder)
    monkeypatch.setenv("ANSIBLE_INVENTORY_ENABLED", "yaml")
    inventory.read(folder)
    assert asked() == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hosts.ini", "one"),
        ("cloud.yml", "plugin: amazon.aws.aws_ec2\n"),
        ("group_vars/all/secrets.yml", "$ANSIBLE_VAULT;1.1;AES256\n3132\n"),
        ("group_vars/all/one.yml", "key: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3132\n"),
    ],
)
def test_what_more_than_plain_files_say_or_a_vault_hides_is_never_kept(folder, asked, state, name, content):
    (folder / name).write_text(content)
    for _ in range(2):
        inventory.read(folder)
    assert asked() == 2
    assert not (state / "inventories").exists()


def test_what_is_kept_is_for_its_reader_alone(folder, asked, state):
    inventory.read(folder)
    (kept,) = (state / "inventories").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
