"""A server is asked for its digest, and two digests are compared."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess

import pytest

from sanso import digest
from sanso.digest import CouldNotDigest, Digest, compare
from sanso.ssh import Way

FILE = {"kind": "file", "mode": "0644", "sha256": "1"}


@pytest.fixture
def server(monkeypatch):
    """server(answer) or server(code=…, said=…): what the SSH connection gives."""

    def answer(data=None, code=0, said=""):
        text = base64.b64encode(gzip.compress(json.dumps(data).encode())).decode() if data else ""
        done = subprocess.CompletedProcess([], code, text, said)
        monkeypatch.setattr(Way, "run", lambda self, script, given, seconds: done)
        return Way("10.0.0.7", "admin")

    return answer


def test_digest_counts_its_facts(server):
    taken = digest.take("db1", server({"sections": {"a": {"x": "1", "y": "2"}, "b": {"x": "1"}}, "failed": {}}))
    assert (taken.host, taken.facts) == ("db1", 3)


def test_digest_with_a_hole_is_none(server):
    with pytest.raises(CouldNotDigest, match="db1 doesn't say all that it is: nginx: it is down"):
        digest.take("db1", server({"sections": {}, "failed": {"nginx": "it is down"}}))


def test_server_without_python_is_told_by_its_own_words(server):
    with pytest.raises(CouldNotDigest, match="db1 can't be asked: sudo: python3: command not found"):
        digest.take("db1", server(code=1, said="sudo: python3: command not found\n"))


def test_server_that_can_not_be_reached_is_told_with_what_to_do(server):
    with pytest.raises(CouldNotDigest) as caught:
        digest.take("db1", server(code=255, said="ssh: connect to host 10.0.0.7 port 22: Connection refused"))
    assert "no SSH server answers" in caught.value.sentence
    assert caught.value.next_step


def test_no_texts_need_no_connection():
    assert digest.texts("db1", Way("192.0.2.1"), []) == {}


def two(one, other):
    return compare.differences(Digest("one", {"files": one}), Digest("other", {"files": other}))


def test_same_digests_do_not_differ():
    assert two({"/a": FILE}, {"/a": dict(FILE)}) == []


def test_difference_names_section_and_key():
    (found,) = two({"/a": FILE, "/b": FILE}, {"/a": FILE, "/b": FILE | {"mode": "0600"}})
    assert (found.section, found.key) == ("files", "/b")
    assert compare.diff(found, ("ansible", "pyinfra")).splitlines() == [
        "--- ansible: files /b",
        "+++ pyinfra: files /b",
        "@@ -1,3 +1,3 @@",
        " kind: file",
        "-mode: 0644",
        "+mode: 0600",
        " sha256: 1",
    ]


def test_what_only_one_has_is_said_to_be_not_there():
    (found,) = two({"/a": FILE}, {})
    lines = compare.diff(found, ("ansible", "pyinfra")).splitlines()
    assert lines[1] == "+++ pyinfra: files /a (not there)"
    assert "-kind: file" in lines


def test_section_that_only_one_has_differs_in_each_key():
    found = compare.differences(Digest("one", {}), Digest("other", {"nginx": {"x": "1"}}))
    assert [(each.section, each.key) for each in found] == [("nginx", "x")]


def test_text_is_shown_in_place_of_its_hash():
    (found,) = two({"/a": FILE}, {"/a": FILE | {"sha256": "2"}})
    assert found.contents_differ
    lines = compare.diff(found, ("ansible", "pyinfra"), ("same\nold\n", "same\nnew\n")).splitlines()
    assert lines[3:] == [" kind: file", " mode: 0644", " same", "-old", "+new"]


@pytest.mark.parametrize("other", [FILE | {"mode": "0600"}, {"kind": "link", "to": "/b"}, None, "text"])
def test_other_bytes_are_only_where_both_are_files_that_all_may_read(other):
    assert not compare.Difference("files", "/a", FILE, other).contents_differ
