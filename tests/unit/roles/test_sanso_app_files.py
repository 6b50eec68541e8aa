"""What a release is made of beside its code: its venv, what it builds, its static files, its record."""

from __future__ import annotations

import fcntl
import json
import os

import pytest
from app_server import NEW, OLD

SAME = {"requirements.txt": "flask==3.1"}


def installed(server):
    return [words for words in server.commands if words[0].endswith("/pip")]


# Venvs


def test_releases_with_the_same_lock_file_share_a_venv(server, release):
    for id in (OLD, NEW):
        server.bring(id, files=SAME)
        assert release(id) == (0, "")
    assert len(installed(server)) == 1
    assert (server.home / "releases" / OLD / "venv").resolve() == (server.home / "current/venv").resolve()
    assert not (server.home / "current/wheels").exists()


def test_another_lock_file_is_another_venv_and_the_one_before_keeps_its_own(server, release, old):
    server.bring(NEW)
    assert release(NEW) == (0, "")
    assert len(list((server.home / "venvs").iterdir())) == 2


def test_venv_that_no_release_uses_any_more_goes(server, release, old):
    server.bring(NEW)
    assert release(NEW, kept=0) == (0, "")
    server.bring("cccccccccccc")
    assert release("cccccccccccc", kept=0) == (0, "")
    assert len(list((server.home / "venvs").iterdir())) == 2  # its own, and that of the one before


def test_venv_of_which_a_part_is_missing_is_made_anew(server, release, old):
    server.bring(NEW)
    server.refused["--no-index"] = "no such wheel"
    assert release(NEW)[0] == 1
    assert len(list((server.home / "venvs").iterdir())) == 1
    server.refused.clear()
    assert release(NEW) == (0, "")


# A full disk


@pytest.mark.parametrize("word", ["tar", "--no-index", "migrate bbbbbbbbbbbb"])
def test_full_disk_leaves_nothing_half_and_the_one_before_serves(server, release, old, word):
    server.bring(NEW)
    server.refused[word] = "cannot write: No space left on device"
    code, said = release(NEW)
    assert (code, "No space left on device" in said, f"Release {OLD} keeps serving." in said) == (1, True, True)
    assert [path.name for path in (server.home / "releases").iterdir()] == [OLD]
    assert not (server.home / "incoming").exists()
    assert len(list((server.home / "venvs").iterdir())) == 1 + (word == "migrate bbbbbbbbbbbb")
    assert server.serves == (OLD, OLD)


# What it builds


def test_build_writes_to_a_folder_of_the_release_before_the_database_changes(server, release, old):
    server.build = {"static/app.js": "new"}
    folder = server.bring(NEW, build="make", static={"/static": "static"})
    assert release(NEW) == (0, "")
    assert (folder / "public/static/app.js").read_text() == "new"
    units = [next(word for word in words if "--unit" in word) for words in server.commands if words[0] == "systemd-run"]
    assert units == ["--unit=app-shop-build", "--unit=app-shop-migration"]
    assert ["chown", "-hR", "root:shop", str(folder / "build")] in server.commands


def test_link_that_leads_out_of_what_was_built_goes(server, release, old, monkeypatch):
    folder = server.bring(NEW, build="make", static={"/static": "$APP_BUILD/static"})
    server.build = {"static/app.js": ""}
    done = server.done

    def with_link(words):
        said = done(words)
        if "--unit=app-shop-build" in words:
            (folder / "build/static/secrets").symlink_to(folder / "secrets")
            (folder / "build/static/passwd").symlink_to("/etc/passwd")
        return said

    monkeypatch.setattr(server, "done", with_link)
    assert release(NEW) == (0, "")
    assert [path.name for path in (folder / "build/static").iterdir()] == ["app.js"]


# Static files


@pytest.mark.parametrize("named", ["app/static", "/static/", "$APP_BUILD"])
def test_static_folder_that_is_not_there_is_named(server, release, old, named):
    server.bring(NEW, static={"/files": named + "/nowhere"})
    code, said = release(NEW)
    assert (code, f"static says /files: {named}/nowhere" in said) == (1, True)


def test_static_folder_is_no_way_out_of_a_release(server, release, old):
    server.bring(NEW, static={"/files": "../../.."})
    assert "no such folder in the release" in release(NEW)[1]


STATIC = {"src/static/a.css": "a", "src/admin/b.css": "b"}


@pytest.mark.parametrize(
    ("static", "found"),
    [
        ({"/static": "src/static"}, {"static/a.css"}),
        ({"/deep/er": "src/static"}, {"deep/er/a.css"}),
        ({"/": "src/static"}, {"a.css"}),
        ({"/static": "src/static", "/static/admin": "src/admin"}, {"static/a.css", "static/admin/b.css"}),
        ({"/": "src/static", "/admin": "src/admin/"}, {"a.css", "admin/b.css"}),
        ({}, set()),
    ],
)
def test_public_has_the_static_files_at_their_urls(server, release, static, found):
    folder = server.bring(NEW, static=static, files={f"app/{name}": text for name, text in STATIC.items()})
    assert release(NEW) == (0, "")
    for top in (folder / "public", server.home / "assets"):
        names = {
            os.path.relpath(os.path.join(where, name), top)  # noqa: PTH118 -- rglob follows no links
            for where, _, names in os.walk(top, followlinks=True)
            for name in names
        }
        assert names == found


def test_assets_of_earlier_releases_stay_and_the_newest_one_wins(server, release):
    for id, names in ((OLD, {"a.css": "old", "b.css": "old"}), (NEW, {"b.css": "new", "c.css": "new"})):
        files = {f"app/static/{name}": text for name, text in names.items()}
        server.bring(id, static={"/static": "static"}, files=files)
        assert release(id) == (0, "")
    assets = server.home / "assets/static"
    assert {path.name: path.read_text() for path in assets.iterdir()} == {
        "a.css": "old",
        "b.css": "new",
        "c.css": "new",
    }
    assert len(list(server.home.glob(".assets-*"))) == 1


def test_static_link_that_leads_out_of_the_release_is_in_no_assets(server, release, tool):
    folder = server.bring(NEW, static={"/static": "static"}, files={"app/static/a.css": "a"})
    (server.srv / "secret").write_text("x")
    unpack = server.unpack

    def with_link(archive, place):
        unpack(archive, place)
        (place / "app/static/secret").symlink_to(server.srv / "secret")
        (place / "app/static/round").symlink_to(".")

    server.unpack = with_link
    assert release(NEW) == (0, "")
    assert sorted(path.name for path in (server.home / "assets/static").iterdir()) == ["a.css"]
    assert (folder / "public/static/a.css").exists()


# What is known of it


def test_record_says_who_and_how_long_and_from_which_commit(server, release, old):
    source = {"version": "v2", "commit": "c0ffee", "subject": "Sell more", "dirty": False}
    server.bring(NEW, files={"source.json": json.dumps(source)})
    assert release(NEW, "--why=it is time") == (0, "")
    record = server.record(NEW)
    said = {"id": NEW, "state": "served", "by": "me", "why": "it is time", "version": "v2", "commit": "c0ffee"}
    assert said.items() <= record.items()
    assert {"at", "seconds"} <= record.keys()


def test_record_of_one_that_failed_says_where_and_what(server, release, old):
    server.bring(NEW)
    server.bad[NEW] = ["candidate"]
    release(NEW)
    record = server.record(NEW)
    assert (record["state"], record["step"]) == ("failed", "Try it on a socket of its own")
    assert f"no good: {NEW}" in record["said"]


def test_history_has_a_line_for_each_run(server, release, call, old):
    server.bring(NEW)
    server.bad[NEW] = ["candidate"]
    release(NEW)
    server.bad.clear()
    release(NEW)
    call("rollback", "shop", "--by=you", "--why=it was too early")
    told = [(line["action"], line["release"], line.get("before"), line["by"]) for line in server.history]
    assert told == [
        ("release", OLD, None, "me"),
        ("failed", NEW, OLD, "me"),
        ("release", NEW, OLD, "me"),
        ("rollback", OLD, NEW, "you"),
    ]
    assert server.history[1]["step"] == "Try it on a socket of its own"


# One at a time


@pytest.fixture
def busy(server):
    """Another run holds the lock."""
    with (server.home / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps({"who": "ann", "when": "2026-01-01", "why": "new prices", "what": "release b", "pid": 7}))
        file.flush()
        yield


@pytest.mark.usefixtures("old", "busy")
@pytest.mark.parametrize("words", [["release", "shop", NEW], ["rollback", "shop"], ["remove", "shop"]])
def test_second_run_is_refused_with_who_and_when_and_why(server, call, words):
    server.bring(NEW)
    code, _, said = call(*words)
    assert code == 1
    assert said.startswith(
        "shop is busy: ann began to release b it at 2026-01-01 (process 7), because: new prices. Nothing was changed.\n"
    )
    assert not (server.home / "releases" / NEW).exists()


@pytest.mark.usefixtures("old")
def test_lock_of_a_run_that_was_killed_is_named_and_taken(server, call):
    (server.home / "lock").write_text(json.dumps({"who": "ann", "when": "2026-01-01", "what": "release", "pid": 7}))
    server.bring(NEW)
    code, out, _ = call("release", "shop", NEW, "--host=shop.test", "--seconds=0")
    assert (code, "ann began to release it at 2026-01-01 (process 7), and was killed before it was done." in out) == (
        0,
        True,
    )
    assert (server.home / "lock").read_text() == ""


def test_app_that_is_not_there_is_named(call, server):
    code, _, said = call("rollback", "shop")
    assert (code, said) == (1, f"There is no app shop on this server: {server.home} is missing.\n")


@pytest.mark.parametrize(
    "words",
    [["release", "../etc", NEW], ["release", "shop", "../../x"], ["remove", "a;b"], ["rollback", "shop", "x/y"], []],
)
def test_word_that_is_no_name_is_refused_as_usage(call, words, capsys):
    with pytest.raises(SystemExit) as ended:
        call(*words)
    assert ended.value.code == 2
