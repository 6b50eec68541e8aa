"""A release is what its content says, holds what the server needs, and shows the web server only what is public."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

PIP_WOULD_SAY = "ERROR: No matching distribution found for nothing==1"


@pytest.fixture(scope="module")
def release(load):
    return load("roles/app/library/release_archive.py")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "shop"
    for name, text in {"shop.py": "app = 1\n", "static/style.css": "p {}\n", "requirements.txt": "# none\n"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def build(release, source, tmp_path, monkeypatch):
    """build(**options) makes the release of an app that needs no wheels."""
    (tmp_path / "no wheels").mkdir()
    monkeypatch.setattr(release, "wheels", lambda *_: tmp_path / "no wheels")

    def build(**options):
        params = {
            "name": "shop",
            "source": str(source),
            "version": "HEAD",
            "root": str(tmp_path),
            "libraries": [],
            "public": [],
            "files": {"uwsgi.ini": "[uwsgi]\n"},
        }
        params |= {"python_version": "3.14.2", "architecture": "x86_64", "cache_directory": str(tmp_path / "cache")}
        return release.run(params | options, checking=False)

    return build


def members(result):
    with tarfile.open(result["path"]) as archive:
        return {member.name: member for member in archive.getmembers()}


def test_same_content_is_the_same_release(build, source):
    first = build()
    (source / "shop.py").touch()
    assert build() == first | {"changed": False}


@pytest.mark.parametrize(
    "change",
    [
        lambda source: ((source / "shop.py").write_text("app = 2\n"), {})[1],
        lambda source: ((source / "new.py").write_text(""), {})[1],
        lambda source: ((source / "shop.py").chmod(0o755), {})[1],
        lambda source: ((source / "shop.py").rename(source / "other.py"), {})[1],
        lambda source: {"files": {"uwsgi.ini": "[uwsgi]\nprocesses = 9\n"}},
        lambda source: {"python_version": "3.12.3"},
        lambda source: {"architecture": "aarch64"},
        lambda source: {"public": ["static"]},
        lambda source: {"libraries": [str(source / "static")]},
    ],
    ids=["content", "new file", "mode", "name", "settings", "python", "machine type", "public folders", "libraries"],
)
def test_whatever_differs_is_another_release(build, source, change):
    first = build()["id"]
    assert build(**change(source))["id"] != first


def test_patch_release_of_python_is_no_other_release(build):
    assert build(python_version="3.14.0")["id"] == build(python_version="3.14.9")["id"]


def test_only_what_is_public_is_open_to_all(build):
    modes = {name: member.mode & 0o007 for name, member in members(build(public=["static"])).items()}
    assert {name for name, mode in modes.items() if mode & 0o004} == {"app/static", "app/static/style.css"}
    assert modes["app"] == 0o001  # passed through, not listed


def test_library_lies_beside_the_app(build, source, tmp_path):
    library = tmp_path / "tracing"
    library.mkdir()
    (library / "tracing.py").touch()
    names = set(members(build(libraries=[str(library)], public=["."])))
    assert {"app/shop.py", "lib/tracing.py"} <= names
    assert "app/tracing.py" not in names


def test_library_is_closed_to_the_web_server(build, source):
    modes = {name: member.mode & 0o007 for name, member in members(build(libraries=[str(source)])).items()}
    assert modes["lib/static/style.css"] == 0


def test_everything_belongs_to_root(build):
    assert {(member.uid, member.gid) for member in members(build()).values()} == {(0, 0)}


@pytest.mark.parametrize("name", [".venv/lib/x.py", "__pycache__/shop.pyc", ".git/config", "node_modules/x/index.js"])
def test_what_no_app_needs_stays_out(build, source, name):
    (source / name).parent.mkdir(parents=True)
    (source / name).write_text("")
    assert f"app/{name}" not in members(build())


def test_in_a_git_work_tree_what_git_ignores_stays_out(build, source):
    subprocess.run(["git", "init", "--quiet", source], check=True)
    (source / ".gitignore").write_text("secret.txt\n")
    (source / "secret.txt").write_text("")
    assert "app/shop.py" in members(build())
    assert "app/secret.txt" not in members(build())


def test_archive_is_readable_by_its_owner_alone(build):
    assert Path(build()["path"]).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("break_it", "options", "expected"),
    [
        (lambda source: (source / "requirements.txt").unlink(), {}, "requirements.txt is missing"),
        (lambda source: (source / "requirements.txt").write_text("-r other.txt\n"), {}, "is an option"),
        (lambda source: (source / "requirements.txt").write_text("flask==\n"), {}, "'flask=='"),
        (lambda source: None, {"public": ["nowhere"]}, "static names the folder 'nowhere'"),
        (lambda source: None, {"source": "/nowhere"}, "/nowhere is not a folder"),
    ],
)
def test_what_is_wrong_is_named(build, release, source, break_it, options, expected):
    break_it(source)
    with pytest.raises(release.Failed, match=f"^shop: .*{expected}"):
        build(**options)


def test_broken_off_archive_is_none(build, release, monkeypatch, tmp_path):
    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(release, "add", full_disk)
    with pytest.raises(release.Failed, match=r"^shop: No space left"):
        build()
    assert list((tmp_path / "cache/releases").iterdir()) == []


LOCKED = """
# made by a tool
greenlet==3.2.1 ; python_full_version < '3.14' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
flask==3.1.3 --hash=sha256:cc
pywin32==1 ; sys_platform == 'win32' --hash=sha256:dd
"""


@pytest.mark.parametrize(
    ("python", "expected"),
    [
        ("3.14.2", "flask==3.1.3 --hash=sha256:cc\n"),
        ("3.12.3", "greenlet==3.2.1 --hash=sha256:aa     --hash=sha256:bb\nflask==3.1.3 --hash=sha256:cc\n"),
    ],
)
def test_markers_are_those_of_the_server(release, python, expected):
    kept = release.requirements_for(LOCKED, python, "x86_64")
    assert kept.split() == expected.split()


def test_what_pip_says_is_shown(release, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text(f"#!/bin/sh\necho '{PIP_WOULD_SAY}' >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(release.Failed, match="No matching distribution found"):
        release.wheels("nothing==1\n", "3.14.2", "x86_64", tmp_path / "cache")
    assert list((tmp_path / "cache/wheels").iterdir()) == []


# From git


@pytest.fixture
def repository(source, tmp_path, monkeypatch):
    """repository(*words) runs git in the app's source, which is a repository with a branch, a tag and a commit."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")

    def git(*words):
        command = ["git", "-C", source, "-c", "user.name=x", "-c", "user.email=x@x.test", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    for version in ("one", "two"):
        (source / "version").write_text(version)
        git("add", ".")
        git("commit", "--quiet", "--message", version)
        git("tag", "--annotate", "--message", version, f"tag-{version}")
    git("branch", "old", "HEAD^")
    return git


@pytest.fixture
def from_git(build, source, repository):
    """from_git(version) makes the release of it, and returns what the file `version` in it says."""

    def from_git(version="HEAD", url=f"file://{source}"):
        with tarfile.open(build(source=url, version=version)["path"]) as archive:
            return archive.extractfile("app/version").read().decode()

    return from_git


@pytest.mark.parametrize(
    ("version", "expected"), [("HEAD", "two"), ("main", "two"), ("old", "one"), ("tag-one", "one"), ("tag-two", "two")]
)
def test_version_is_a_branch_or_a_tag(from_git, version, expected):
    assert from_git(version) == expected


@pytest.mark.parametrize("digits", [40, 8])
def test_version_is_a_commit(from_git, repository, digits):
    assert from_git(repository("rev-parse", "HEAD^")[:digits]) == "one"


def test_what_came_since_is_fetched(from_git, repository, source):
    assert from_git("main") == "two"
    (source / "version").write_text("three")
    repository("commit", "--quiet", "--all", "--amend", "--message", "three")  # also where history was rewritten
    assert from_git("main") == from_git("HEAD") == "three"


def test_another_url_is_another_source(from_git, tmp_path, source):
    assert from_git("old") == "one"
    subprocess.run(["git", "clone", "--quiet", "--branch=main", source, tmp_path / "other"], check=True)
    assert from_git("main", f"file://{tmp_path}/other") == "two"
    with pytest.raises(Exception, match="no branch, tag or commit 'old'"):
        from_git("old", f"file://{tmp_path}/other")


def test_what_lies_about_in_the_checkout_is_no_part_of_a_release(build, from_git, source, tmp_path):
    first = build(source=f"file://{source}")["id"]
    folder = tmp_path / "cache/sources/shop"
    (folder / "left.py").touch()
    (folder / "shop.py").write_text("by hand")
    assert build(source=f"file://{source}")["id"] == first


def test_checkout_of_an_earlier_version_is_taken_on(from_git, source, tmp_path):
    """Ansible's module cloned it."""
    folder = tmp_path / "cache/sources/shop"
    subprocess.run(["git", "clone", "--quiet", "--branch=old", source, folder], check=True)
    assert [from_git(version) for version in ("main", "old")] == ["two", "one"]


@pytest.mark.parametrize(
    ("version", "url", "expected"),
    [
        ("gone", None, "^shop: its source file://.* has no branch, tag or commit 'gone'$"),
        ("deadbeef", None, "has no branch, tag or commit 'deadbeef'$"),
        ("--help", None, "has no branch, tag or commit '--help'$"),
        ("HEAD", "file:///nowhere", "^shop: its source file:///nowhere can't be fetched; git said:\n.*/nowhere"),
        ("HEAD", "--upload-pack=touch $MARKER; x@y:", "strange hostname"),
        ("HEAD", "-oProxyCommand=touch $MARKER;@host:x", "strange hostname"),
    ],
)
def test_version_or_url_that_there_is_not_is_named(
    release, from_git, source, tmp_path, monkeypatch, version, url, expected
):
    monkeypatch.setenv("MARKER", str(tmp_path / "marker"))
    with pytest.raises(release.Failed, match=expected):
        from_git(version, url or f"file://{source}")
    assert not (tmp_path / "marker").exists()


def test_git_asks_nobody(release, build, source, repository, tmp_path, monkeypatch):
    """A password, or whether a host's key is known: a run without anybody at the terminal would hang."""
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    # A session's first process has no terminal.
    said = 'echo "prompts: $GIT_TERMINAL_PROMPT, session: $(($(cut -d " " -f 6 /proc/$$/stat) - $$))" >&2'
    program.write_text(f"#!/bin/sh\n{said}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    with pytest.raises(release.Failed, match="prompts: 0, session: 0"):
        build(source=f"file://{source}")
