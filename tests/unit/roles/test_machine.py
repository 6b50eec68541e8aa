"""Local machines: which image is taken, and what is refused before anything is made."""

import errno
import fcntl
import ipaddress
import json
import types
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
UBUNTU = {"auto": True, "distribution": "ubuntu", "mirror": "http://u.example", "suite": "resolute"}
DEBIAN = {"auto": True, "distribution": "debian", "suite": "forky", "more_suites": ["sid"], "pins": "Package: 'x'\n"}
COMMON = {"components": ["main"], "keyring": "/home/a/k.gpg"}
CATALOGUE = {"ubuntu": UBUNTU | COMMON, "debian": DEBIAN | COMMON, "old": {**DEBIAN, **COMMON, "auto": False}}


@pytest.fixture
def host(load):
    from ansible.module_utils import sanso_host

    return sanso_host


@pytest.fixture
def image(monkeypatch):
    """The image module on a computer whose apt has neither proxy nor mirrors, and whose keyrings are there."""
    from ansible.module_utils import sanso_image

    monkeypatch.setattr(sanso_image, "host_apt_options", lambda: [])
    monkeypatch.setattr(sanso_image, "host_mirror", lambda distribution: "")
    monkeypatch.setattr(sanso_image.shutil, "copy", lambda keyring, folder: f"{folder}/{Path(keyring).name}")
    return sanso_image


def reachable(image, monkeypatch, *names):
    suites = [CATALOGUE[name]["suite"] for name in names]
    monkeypatch.setattr(image, "reachable", lambda recipe: recipe["suite"] in suites)


# Images


def test_auto_takes_the_first_that_can_be_reached(image, monkeypatch, tmp_path):
    reachable(image, monkeypatch, "ubuntu", "debian")
    assert image.choose("auto", CATALOGUE, tmp_path) == ("ubuntu", "")


def test_auto_says_what_it_passed_over(image, monkeypatch, tmp_path):
    reachable(image, monkeypatch, "debian")
    name, notice = image.choose("auto", CATALOGUE, tmp_path)
    assert name == "debian"
    assert "ubuntu" in notice


def test_auto_takes_a_built_image_without_the_network(image, monkeypatch, tmp_path):
    reachable(image, monkeypatch)
    image.image_path("ubuntu", CATALOGUE["ubuntu"], tmp_path).mkdir(parents=True)
    assert image.choose("auto", CATALOGUE, tmp_path) == ("ubuntu", "")


def test_unknown_image_is_refused_with_the_catalogue(image, host, tmp_path):
    with pytest.raises(host.MachineError, match="auto, ubuntu, debian, old"):
        image.choose("plan9", CATALOGUE, tmp_path)


def test_nothing_reachable_is_said(image, host, monkeypatch, tmp_path):
    reachable(image, monkeypatch)
    with pytest.raises(host.MachineError, match="ubuntu, debian can't be reached"):
        image.choose("auto", CATALOGUE, tmp_path)


@pytest.mark.parametrize(
    "change", [{"suite": "noble"}, {"pins": "x"}, {"components": ["main", "universe"]}, {"keyring": "/other"}]
)
def test_another_recipe_is_another_image(image, tmp_path, change):
    first = image.image_path("debian", CATALOGUE["debian"], tmp_path)
    assert image.image_path("debian", CATALOGUE["debian"] | change, tmp_path) != first


def test_same_recipe_is_the_same_image_in_every_clone(image, tmp_path):
    first = image.image_path("debian", CATALOGUE["debian"], tmp_path)
    assert image.image_path("debian", CATALOGUE["debian"] | {"keyring": "/home/b/k.gpg"}, tmp_path) == first


def test_pins_are_quoted_for_the_shell(image):
    hook = next(part for part in image.mmdebstrap(CATALOGUE["debian"], "t") if "preferences.d" in part)
    assert """'Package: '"'"'x'"'"'""" in hook


def test_computers_own_mirror_is_taken(image, monkeypatch):
    monkeypatch.setattr(image, "host_mirror", lambda distribution: f"http://mirror.example/{distribution}")
    assert image.mmdebstrap(CATALOGUE["ubuntu"], "t")[-1] == "http://mirror.example/ubuntu"


@pytest.mark.parametrize("failure", ["mmdebstrap failed", "disk full"])
def test_build_that_breaks_off_leaves_no_image(image, host, monkeypatch, tmp_path, failure):
    def broken(*_, **__):
        raise host.MachineError(failure)

    monkeypatch.setattr(image, "run", broken)
    with pytest.raises(host.MachineError, match=failure):
        image.ensure("debian", CATALOGUE["debian"], tmp_path)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["debian.lock"]


def test_remains_of_a_killed_build_are_removed(image, monkeypatch, tmp_path):
    (tmp_path / "images/.debian-killed/root").mkdir(parents=True)
    monkeypatch.setattr(image, "run", lambda *command, **_: Path(command[-1]).mkdir())
    path = image.ensure("debian", CATALOGUE["debian"], tmp_path)
    assert sorted(each.name for each in path.parent.iterdir()) == sorted([path.name, "debian.lock"])


def test_full_disk_is_named_before_a_build(image, host, monkeypatch, tmp_path):
    monkeypatch.setattr(image.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=10**9))
    with pytest.raises(host.MachineError, match=r"0\.9 GB free.*machine_directory"):
        image.ensure("debian", CATALOGUE["debian"], tmp_path)


def test_catalogue_prefers_ubuntu_and_ends_with_what_a_debian_mirror_has():
    catalogue = yaml.safe_load((ROOT / "roles/machine/defaults/main.yml").read_text())["machine_images"]
    assert [name for name, recipe in catalogue.items() if recipe["auto"]] == [
        "ubuntu-26.04",
        "ubuntu-24.04",
        "debian-forky",
    ]


# This computer


@pytest.fixture
def hosts_file(host, monkeypatch, tmp_path):
    file = tmp_path / "hosts"
    file.write_text("127.0.0.1 localhost\n")
    monkeypatch.setattr(host, "HOSTS", file)
    return file


def test_names_are_added_once_and_taken_away_again(host, hosts_file):
    before = hosts_file.read_text()
    assert host.set_names("m", "10.77.0.9", ["a.test", "b.test"])
    assert not host.set_names("m", "10.77.0.9", ["a.test", "b.test"])
    assert hosts_file.read_text().count("10.77.0.9 a.test b.test") == 1
    assert host.set_names("m", "10.77.0.9", [])
    assert hosts_file.read_text() == before


def test_names_of_other_machines_stay(host, hosts_file):
    host.set_names("m", "10.77.0.9", ["a.test"])
    host.set_names("m2", "10.77.0.8", ["b.test"])
    assert not host.set_names("m", "10.77.0.9", ["a.test"])
    host.set_names("m2", "10.77.0.8", [])
    assert "a.test" in hosts_file.read_text()


def test_held_lock_names_its_holder(host, tmp_path):
    held = tmp_path / "x.lock"
    with held.open("w") as file:
        file.write("4711")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(host.MachineError, match="process 4711 has held"), host.lock(held, seconds=0):
            pass


def test_shared_lock_is_held_by_several_and_keeps_who_wants_it_alone_waiting(host, tmp_path):
    path = tmp_path / "x.lock"
    with host.lock(path, shared=True), host.lock(path, seconds=0, shared=True):
        assert host.is_locked(path)
    assert not host.is_locked(path)


def test_subnet_that_is_in_use_is_refused(host, monkeypatch, tmp_path):
    monkeypatch.setattr(host, "run", lambda *command, **_: json.dumps([{"dst": "10.77.0.0/24", "dev": "eth0"}]))
    network = host.Network("no-such-bridge", ipaddress.ip_network("10.77.0.0/24"), tmp_path / "state")
    with pytest.raises(host.MachineError, match="machine_subnet"):
        network.create()


# Machines


@pytest.fixture
def machine(load, tmp_path):
    params = {"name": "m", "address": "10.77.0.9", "subnet": "10.77.0.0/24", "bridge": "b", "directory": str(tmp_path)}
    params |= {
        "image": "auto",
        "authorized_key": "ssh-ed25519 AAAA",
        "catalogue": CATALOGUE,
        "known_as": [],
        "user": "u",
        "state": "present",
        "stage": "",
    }
    return lambda **changes: load("roles/machine/library/machine.py").Machine(params | changes)


@pytest.mark.parametrize("address", ["10.78.0.9", "10.77.0.1"])
def test_address_outside_the_subnet_or_the_computers_own_is_refused(machine, host, address):
    with pytest.raises(host.MachineError, match=address):
        machine(address=address).check_request()


@pytest.mark.parametrize(
    "changes",
    [{"address": "10.77.0.10"}, {"image": "debian"}, {"authorized_key": "ssh-ed25519 BBBB"}],
    ids=lambda c: next(iter(c)),
)
def test_name_in_use_for_another_machine_is_refused(machine, host, changes):
    record = {"image": "ubuntu", "address": "10.77.0.9", "key": "ssh-ed25519 AAAA"}
    with pytest.raises(host.MachineError, match="the machine m exists"):
        machine(**changes).check_same(record)


def test_existing_machine_is_kept_whatever_auto_would_take_today(machine):
    machine().check_same({"image": "debian", "address": "10.77.0.9", "key": "ssh-ed25519 AAAA"})


def test_address_of_another_machine_is_refused(machine, host, tmp_path):
    (tmp_path / "machines/other").mkdir(parents=True)
    (tmp_path / "machines/other/machine.json").write_text('{"address": "10.77.0.9"}')
    with pytest.raises(host.MachineError, match="belongs to the machine other"):
        machine().check_address()


@pytest.mark.parametrize("left", ["", "{"], ids=["empty", "broken off"])
def test_half_a_record_of_another_machine_is_in_nobodys_way(machine, tmp_path, left):
    (tmp_path / "machines/other").mkdir(parents=True)
    (tmp_path / "machines/other/machine.json").write_text(left)
    machine().check_address()


@pytest.fixture
def network(monkeypatch, load, host):
    """network(m) lets a machine have a network on paper, that no machine is plugged into: what was done with it."""

    def network(machine):
        done = []
        monkeypatch.setattr(host.Network, "is_used", False)
        monkeypatch.setattr(machine.network, "create", lambda: done.append("create"))
        monkeypatch.setattr(machine.network, "remove", lambda: done.append("remove"))
        return done

    return network


def test_network_goes_with_the_last_machine(machine, network, hosts_file):
    gone = machine()
    done = network(gone)
    gone.absent()
    assert done == ["remove"]


def test_network_stays_for_a_machine_that_is_just_being_made(machine, network, host, hosts_file, monkeypatch):
    """Between the bridge and the plug, another machine may go which was the last one."""
    made, gone = machine(image="ubuntu"), machine(name="gone")
    done = network(made)
    network_of_gone = network(gone)

    def boot(lower, stage):
        made.home.mkdir(parents=True)
        gone.absent()

    monkeypatch.setattr(made, "boot", boot)
    monkeypatch.setitem(type(made).present.__globals__, "ensure", lambda *_: made.base)
    monkeypatch.setitem(type(made).present.__globals__, "require_space", lambda *_: None)
    assert made.present()["action"] == "created"
    assert (done, network_of_gone) == (["create"], [])


@pytest.mark.parametrize("content", [None, "", "{"], ids=["absent", "empty", "broken off"])
def test_machine_without_a_whole_record_is_no_machine(machine, tmp_path, content):
    (tmp_path / "machines/m").mkdir(parents=True)
    if content is not None:
        (tmp_path / "machines/m/machine.json").write_text(content)
    assert machine().record == {}


# Stages


@pytest.fixture
def built(machine, network, hosts_file, monkeypatch):
    """built(…) is a machine on paper: what it was booted from, and with what, stands in .booted."""

    def built(**changes):
        made = machine(image="ubuntu", **changes)
        network(made)
        made.booted = []

        def boot(lower, stage):
            made.booted.append((lower, stage))
            (made.home / "upper").mkdir(parents=True, exist_ok=True)
            known = made.home / "known_hosts"
            known.write_text(stage["known_hosts"] if stage else "10.77.0.9 ssh-ed25519 its-own")

        monkeypatch.setattr(made, "boot", boot)
        monkeypatch.setitem(type(made).present.__globals__, "ensure", lambda *_: Path("/image"))
        monkeypatch.setitem(type(made).present.__globals__, "require_space", lambda *_: None)
        return made

    return built


def saved(built, name, **changes):
    made = built(stage=changes.pop("over", ""), **changes)
    made.present()
    (made.home / "upper/what").write_text(name)
    made.params["stage"] = name
    return made.saved()


def test_machine_is_kept_as_a_stage_and_made_from_it_again(built, tmp_path):
    assert saved(built, "os")["action"] == "saved"
    assert not (tmp_path / "machines/m").exists()
    again = built(stage="os")
    assert again.present()["action"] == "created"
    ((lower, stage),) = again.booted
    assert lower == f"{tmp_path}/stages/m/os/upper:/image"
    assert stage["known_hosts"] == "10.77.0.9 ssh-ed25519 its-own"
    assert (tmp_path / "stages/m/os/upper/what").read_text() == "os"


def test_stage_is_built_on_a_stage(built, tmp_path):
    saved(built, "os")
    saved(built, "web", over="os")
    again = built(stage="web")
    again.present()
    assert again.booted[0][0] == f"{tmp_path}/stages/m/web/upper:{tmp_path}/stages/m/os/upper:/image"


def test_machine_that_is_there_goes_on_over_its_own_layers(built, tmp_path):
    saved(built, "os")
    first = built(stage="os")
    first.present()
    again = built(stage="")
    assert again.present()["action"] == "started"
    assert again.booted == [(first.booted[0][0], None)]


def test_what_apt_fetched_for_a_stage_lies_above_those_before_it(built, tmp_path):
    made = built()
    made.present()
    for name in (
        "var/cache/apt/archives/a_1.deb",
        "var/cache/apt/archives/lock",
        "var/lib/apt/lists/archive_InRelease",
    ):
        file = made.home / "upper" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    made.params["stage"] = "os"
    made.saved()
    saved(built, "web", over="os")
    packages = tmp_path / "stages/m/packages"
    for stage, layers in {
        "": "/image",
        "web": f"{tmp_path}/stages/m/web/upper:{tmp_path}/stages/m/os/upper:/image",
    }.items():
        again = built(stage=stage, state="renewed")
        again.present()
        assert again.booted[0][0] == f"{packages}:{layers}"
    files = {str(file.relative_to(packages)) for file in packages.rglob("*") if file.is_file()}
    assert files == {
        "var/cache/apt/archives/a_1.deb",
        "var/lib/apt/lists/archive_InRelease",
        "var/lib/apt/periodic/update-success-stamp",
    }


def test_renewed_machine_has_nothing_of_its_own_left(built, tmp_path):
    saved(built, "os")
    first = built(stage="os")
    first.present()
    (first.home / "upper/changed").touch()
    assert built(stage="os", state="renewed").present()["action"] == "created"
    assert not (tmp_path / "machines/m/upper/changed").exists()


def test_machine_without_that_stage_is_refused(built, host):
    with pytest.raises(host.MachineError, match="the machine m has no stage web"):
        built(stage="web").present()


def test_stage_of_another_address_is_refused(built, host):
    saved(built, "os")
    with pytest.raises(host.MachineError, match="has the address"):
        built(stage="os", address="10.77.0.8").present()


@pytest.mark.parametrize("name", ["../os", "os/..", "OS", "a b"])
def test_name_that_is_no_stage_is_refused(built, host, name):
    with pytest.raises(host.MachineError, match="no name of a stage"):
        built(stage=name).present()


def test_stage_that_machines_may_be_over_is_never_replaced(built, host):
    saved(built, "os")
    with pytest.raises(host.MachineError, match="has a stage os already"):
        saved(built, "os")


@pytest.mark.parametrize("name", ["os", ""])
def test_only_what_exists_is_saved_and_under_a_name(built, host, name):
    with pytest.raises(host.MachineError, match="machine_stage"):
        built(stage=name).saved()


def test_stages_stay_until_they_are_forgotten(built, tmp_path):
    saved(built, "os")
    built().absent()
    assert (tmp_path / "stages/m/os").exists()
    assert built().forgotten()["changed"]
    assert not (tmp_path / "stages/m").exists()
    assert not built().forgotten()["changed"]


def test_machine_that_does_not_shut_down_is_an_error_and_goes_on(machine, host, monkeypatch):
    made = machine()
    monkeypatch.setattr(type(made), "nspawn", 4711)
    monkeypatch.setattr(made, "end", lambda *_: False)
    with pytest.raises(host.MachineError, match="runs 60 s after it was told to shut down"):
        made.halt()


@pytest.mark.parametrize(
    ("runs", "answers", "serves"),
    [
        ([True], [True], True),
        ([True, True], [False, True], True),  # busy at first
        ([True, False], [False], False),  # it was shutting down
        ([True, True], [False, False], False),  # shut to everybody
        ([False], [], False),
    ],
)
def test_running_machine_has_some_seconds_to_answer(machine, monkeypatch, runs, answers, serves):
    made = machine()
    monkeypatch.setattr(type(made), "nspawn", property(lambda self: runs.pop(0) or None))
    monkeypatch.setattr(type(made), "answers", lambda self: answers.pop(0))
    clock = iter([0, 5, 21])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert made.serves() is serves
    assert (runs, answers) == ([], [])


class Group:
    """A cgroup whose removal ends as told, one word for each try."""

    def __init__(self, *ends):
        self.ends = list(ends)

    def rmdir(self):
        if end := self.ends.pop(0):
            raise OSError(end, "as told")


def test_cgroup_that_the_kernel_still_holds_is_tried_again(load, monkeypatch):
    machine = load("roles/machine/library/machine.py")
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: None)
    group = Group(errno.EBUSY, errno.EBUSY, 0)
    machine.remove_group(group)
    assert group.ends == []


def test_cgroup_that_can_not_be_removed_is_an_error(load):
    machine = load("roles/machine/library/machine.py")
    with pytest.raises(OSError, match="as told"):
        machine.remove_group(Group(errno.EPERM))


def test_cgroup_that_is_gone_is_no_error(load):
    machine = load("roles/machine/library/machine.py")
    machine.remove_group(Group(errno.ENOENT))
