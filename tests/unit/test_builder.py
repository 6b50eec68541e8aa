"""A throwaway copy is of the server's own image, and nothing of one is left behind."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from sanso import builder
from sanso.builder import MachineError

ASKED = {
    "what": "build",
    "output": "/nowhere",
    "python": "3.14",
    "architecture": os.uname().machine,
    "distribution": "ubuntu",
    "release": "resolute",
    "packages": [],
    "pip": {},
    "catalogue": {},
    "directory": "/nowhere",
}


def recipe(**changes):
    return builder.recipe_of(builder.Asked(**{**ASKED, **changes}))


def test_image_of_the_machines_is_taken_where_it_is_the_servers():
    name, found = recipe()
    assert (name, found["suite"], Path(found["keyring"]).is_file()) == ("ubuntu-26.04", "resolute", True)


def test_inventory_may_have_images_of_its_own():
    mine = {"distribution": "ubuntu", "suite": "resolute", "keyring": "/a.gpg", "components": ["main"], "mirror": "x"}
    assert recipe(catalogue={"mine": mine}) == ("mine", mine)


@pytest.mark.parametrize(("distribution", "release"), [("debian", "trixie"), ("ubuntu", "plucky")])
def test_server_of_another_release_gets_an_image_too(distribution, release):
    name, found = recipe(distribution=distribution, release=release)
    assert (name, found["suite"]) == (f"{distribution}-{release}", release)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"architecture": "riscv64"}, "the server is riscv64, and this computer "),
        ({"distribution": "fedora", "release": ""}, "there is no image of fedora"),
    ],
)
def test_server_that_can_not_be_copied_here_is_named(changes, expected):
    with pytest.raises(MachineError, match=expected):
        recipe(**changes)


def test_folder_of_a_build_goes_however_it_ends(tmp_path):
    def build():
        with builder.scratch_in(tmp_path) as scratch:
            (scratch / "upper").mkdir()
            raise MachineError("no compiler")

    with pytest.raises(MachineError, match="no compiler"):
        build()
    assert list(tmp_path.glob("build-*")) == []


def test_folder_of_a_killed_build_goes_with_the_next_one_and_no_other_does(tmp_path):
    (tmp_path / "build-killed/upper").mkdir(parents=True)
    running = tmp_path / "build-running"
    running.mkdir()
    with builder.opened(running) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with builder.scratch_in(tmp_path) as scratch:
            assert {path.name for path in tmp_path.glob("build-*")} == {"build-running", scratch.name}


def test_failed_command_is_what_it_said_on_whichever_side():
    with pytest.raises(MachineError, match=r"^line 2\n(line \d+\n)+line 41$"):
        builder.call("sh", "-c", "i=0; while [ $i -lt 42 ]; do echo line $i; i=$((i+1)); done; exit 1")


def test_index_on_this_computer_is_read_inside_too(tmp_path):
    for name in ("pypi/simple", "wheels"):
        (tmp_path / name).mkdir(parents=True)
    settings = {
        "index-url": "https://user:secret@index.test/simple",
        "extra-index-url": f"file://{tmp_path}/pypi/simple file:///gone/simple",
        "find-links": f"{tmp_path}/wheels https://links.test",
    }
    assert builder.folders_of(settings) == [tmp_path / "pypi", tmp_path / "wheels"]


def test_settings_of_this_computer_stay_outside(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("https_proxy", "http://proxy.test")
    assert set(builder.clean()) - {"http_proxy", "no_proxy"} == {"PATH", "HOME", "LC_ALL", "https_proxy"}
