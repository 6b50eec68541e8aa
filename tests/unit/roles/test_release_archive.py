"""A release is what its content says, holds what the server needs, and shows the web server only what is public."""

import json
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest


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
            "dependencies": "",
            "root": str(tmp_path),
            "libraries": [],
            "public": [],
            "files": {"uwsgi.ini": "[uwsgi]\n"},
        }
        params |= {"python_version": "3.14.2", "architecture": "x86_64", "cache_directory": str(tmp_path / "cache")}
        params |= {"distribution": "Ubuntu", "distribution_release": "resolute", "build_packages": []}
        params |= {"catalogue": {}, "machine_directory": str(tmp_path / "machines")}
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
        lambda source: {"distribution": "Debian"},
        lambda source: {"distribution_release": "noble"},
        lambda source: {"public": ["static"]},
        lambda source: {"libraries": [str(source / "static")]},
        lambda source: ((source / "link.py").symlink_to("shop.py"), {})[1],
    ],
    ids=[
        *("content", "new file", "mode", "name", "settings", "python", "machine type", "distribution", "its release"),
        *("public folders", "libraries", "link"),
    ],
)
def test_whatever_differs_is_another_release(build, source, change):
    first = build()["id"]
    assert build(**change(source))["id"] != first


def test_patch_release_of_python_is_no_other_release(build):
    assert build(python_version="3.14.0")["id"] == build(python_version="3.14.9")["id"]


def test_made_anew_the_archive_is_the_same_to_the_byte(build, source, tmp_path):
    first, second = (build(cache_directory=str(tmp_path / name))["path"] for name in ("one", "two"))
    assert Path(first).read_bytes() == Path(second).read_bytes()


def test_link_inside_of_the_source_stays_a_link(build, source):
    (source / "link.py").symlink_to("shop.py")
    assert members(build())["app/link.py"].linkname == "shop.py"


@pytest.mark.parametrize("leads", ["/etc/passwd", "../other", "static/../../other"])
def test_link_out_of_the_source_is_refused(build, release, source, leads):
    (source / "link.py").symlink_to(leads)
    with pytest.raises(release.Failed, match=f"^shop: link.py is a link to {leads}, which leads out of "):
        build()


def test_folder_that_the_build_fills_is_not_looked_for(build):
    assert build(public=["$APP_BUILD/static", "static"])["id"]


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
        (
            lambda source: (source / "requirements.txt").unlink(),
            {},
            "has none of uv.lock, requirements.txt, pyproject.toml",
        ),
        (lambda source: None, {"version": "v1"}, r"is a folder, which is released as it is; a version \('v1'\)"),
        (lambda source: (source / "empty").mkdir(), {"public": ["empty"]}, "'empty', of which nothing is in a release"),
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


# Where it comes from


def origin(result):
    with tarfile.open(result["path"]) as archive:
        return json.load(archive.extractfile("source.json"))


def test_folder_that_git_does_not_know_has_no_origin(build):
    assert origin(build()) == {"version": "", "commit": "", "subject": "", "dirty": False}


def test_origin_is_what_was_asked_for_and_what_it_was(build, source, repository):
    commit = repository("rev-parse", "HEAD^")
    found = origin(build(source=f"file://{source}", version="tag-one"))
    assert found == {"version": "tag-one", "commit": commit, "subject": "one", "dirty": False}


@pytest.mark.parametrize("dirty", [False, True])
def test_origin_of_a_folder_is_its_branch_and_whether_it_was_changed_since(build, source, repository, dirty):
    if dirty:
        (source / "shop.py").write_text("app = 3\n")
    found = origin(build())
    assert (found["version"], found["subject"], found["dirty"]) == ("main", "two", dirty)


def test_origin_is_no_part_of_the_release_and_is_told_as_it_is_now(build, source, repository):
    first = build()
    repository("commit", "--quiet", "--amend", "--message", "said better")
    second = build()
    assert second["id"] == first["id"]
    assert (origin(first)["subject"], origin(second)["subject"]) == ("two", "said better")


# Two runs at once


def test_two_runs_at_once_get_each_its_own_version(release, build, source, repository, monkeypatch):
    """They share the folder that git fills."""
    first, go = threading.Event(), threading.Event()
    checkout, found = release.checkout, {}

    def slow(url, version, folder):
        checkout(url, version, folder)
        if version == "tag-one":
            first.set()
            assert go.wait(10)

    def make(version):
        with tarfile.open(build(source=f"file://{source}", version=version)["path"]) as archive:
            found[version] = archive.extractfile("app/version").read().decode()

    monkeypatch.setattr(release, "checkout", slow)
    threads = [threading.Thread(target=make, args=[version]) for version in ("tag-one", "tag-two")]
    threads[0].start()
    assert first.wait(10)
    threads[1].start()
    threads[1].join(0.5)
    assert found == {}
    go.set()
    for thread in threads:
        thread.join(10)
    assert found == {"tag-one": "one", "tag-two": "two"}


def test_nobody_else_can_look_into_the_cache_of_archives(build):
    assert Path(build()["path"]).parent.stat().st_mode & 0o077 == 0
