"""The action `render` writes the files of a role that belong together: all of them, or none."""

from __future__ import annotations

import getpass
import grp
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils import sanso_render
from ansible.module_utils.sanso_trial import Change, Failed

ROOT = Path(__file__).parents[3]


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.fixture
def render(tmp_path, target):
    """render({name: how}, templates, *options) runs it for files in `target`: (exit code, its result)."""
    me = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}
    role = tmp_path / "role"

    def render(files, templates=None, *options):
        for name, text in (templates or {}).items():
            path = role / "templates" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        described = {str(target / name): {"template": f"{name}.j2", **me, **how} for name, how in files.items()}
        (role / "tasks").mkdir(parents=True, exist_ok=True)
        (role / "tasks/main.yml").write_text(json.dumps([{"render": {"files": described}}]))
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "roles": [str(role)]}
        play["vars"] = {"word": "hello", "ansible_python_interpreter": sys.executable}
        (tmp_path / "play.yml").write_text(json.dumps([play]))
        settings = {"ACTION_PLUGINS": "action_plugins", "LIBRARY": "library"}
        environment = {
            **os.environ,
            **{f"ANSIBLE_{name}": str(ROOT / "playbooks" / folder) for name, folder in settings.items()},
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        }
        command = [
            Path(sys.executable).parent / "ansible-playbook",
            "-i",
            "localhost,",
            tmp_path / "play.yml",
            *options,
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"]

    return render


def test_files_are_rendered_with_their_folders_and_modes(render, target):
    templates = {"etc/a/one.j2": "# {{ word }}\n{% if word %}\nyes\n{% endif %}\n"}
    code, result = render({"etc/a/one": {"mode": "0640"}, "two": {"content": "2\n"}}, templates)
    assert (code, result["paths"]) == (0, [str(target / "etc/a/one"), str(target / "two")])
    assert ((target / "etc/a/one").read_text(), (target / "two").read_text()) == ("# hello\nyes\n", "2\n")
    assert (target / "etc/a/one").stat().st_mode & 0o777 == 0o640


def test_second_run_changes_nothing_but_what_differs(render, target):
    files = {"one": {"content": "1\n"}, "two": {"content": "2\n"}, "three": {"content": "3\n"}}
    render(files)
    assert render(files)[1]["changed"] is False
    (target / "two").write_text("by hand\n")
    (target / "three").chmod(0o600)
    assert render(files)[1]["paths"] == [str(target / "two"), str(target / "three")]
    assert ((target / "two").read_text(), (target / "three").stat().st_mode & 0o777) == ("2\n", 0o644)


def test_bad_file_replaces_nothing_of_what_belongs_to_it(render, target):
    render({"one": {"content": "old\n"}})
    (target / "two").unlink(missing_ok=True)
    bad = {"content": "bad\n", "validate": "grep good %s"}
    code, result = render({"one": {"content": "new\n"}, "two": bad})
    assert (code, f"{target / 'two'} would not be valid" in result["msg"]) == (2, True), result
    assert [(each.name, each.read_text()) for each in target.iterdir()] == [("one", "old\n")]


def test_validation_sees_the_candidate(render, target):
    code, result = render({"one": {"content": "good\n", "validate": "grep good %s"}})
    assert (code, result["changed"]) == (0, True)


def test_file_that_shall_not_be_there_is_removed(render, target):
    (target / "one").write_text("old\n")
    assert render({"one": {"state": "absent"}})[1]["paths"] == [str(target / "one")]
    assert not (target / "one").exists()
    assert render({"one": {"state": "absent"}})[1]["changed"] is False


def test_check_shows_the_difference_and_changes_nothing(render, target):
    (target / "one").write_text("old\n")
    code, result = render({"one": {"content": "new\n"}, "two": {"content": "2\n"}}, None, "--check", "--diff")
    assert (code, result["changed"]) == (0, True)
    assert [(each["before"], each["after"]) for each in result["diff"]] == [("old\n", "new\n"), ("", "2\n")]
    assert [(each.name, each.read_text()) for each in target.iterdir()] == [("one", "old\n")]


@pytest.mark.parametrize(
    ("how", "said"),
    [({"mod": "0600"}, "has no key mod; known are"), ({"state": "gone"}, "present, absent")],
    ids=["unknown key", "unknown state"],
)
def test_mistake_is_named(render, target, how, said):
    code, result = render({"one": {"content": "1\n", **how}})
    assert (code, said in result["msg"]) == (2, True), result
    assert list(target.iterdir()) == []


# What runs on the server, by itself


@pytest.fixture
def write(target):
    """write(name, checking=…, **how) gives the server one file."""
    me = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}

    def write(name, checking=False, **how):
        file = {"content": "new\n", "state": "present", "mode": "0644", "validate": "", **me, **how}
        return sanso_render.run({"files": [{"path": str(target / name), **file}]}, checking)

    return write


@pytest.mark.parametrize("kind", ["owner", "group"])
def test_owner_that_is_not_there_yet_fails_no_check(write, target, kind):
    write("one")
    result = write("one", checking=True, **{kind: "nobody-yet"})
    assert result["changed"]
    assert "(a new one)" in result["diff"][0]["after"]
    with pytest.raises(Failed, match=r"there is no (user|group) nobody-yet"):
        write("one", **{kind: "nobody-yet"})
    assert [each.name for each in target.iterdir()] == ["one"]


def test_mode_that_differs_is_shown(write, target):
    write("one")
    (target / "one").chmod(0o666)
    diff = write("one")["diff"][0]
    assert (diff["before"][-5:], diff["after"][-5:]) == ("0666\n", "0644\n")
    assert diff["after_header"] == f"{target / 'one'} (owner, group, mode)"


def test_new_folders_are_open_whatever_the_umask(target, monkeypatch):
    for name in ("chown", "fchown"):  # root alone may
        monkeypatch.setattr(os, name, lambda *words: None)
    before = os.umask(0o077)
    try:
        Change(target / "a/b/c", b"").make()
    finally:
        os.umask(before)
    assert [(target / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o755, 0o755]


def test_candidate_lies_beside_under_a_name_that_a_validation_may_rely_on(write, target):
    said = write("one", validate='sh -c \'ls -A "$(dirname "$1")" > "$1.seen"\' validate %s')
    assert said["changed"]
    seen = next(target.glob(".one.*.seen")).read_text().split()
    assert [re.fullmatch(r"\.one\.[^.]+\.sanso(\.seen)?", name) is not None for name in seen] == [True, True]
