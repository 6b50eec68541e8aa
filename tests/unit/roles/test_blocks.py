"""The module `blocks` keeps lines of our own in files that the distribution owns."""

from __future__ import annotations

import pytest
from ansible.module_utils import sanso_blocks
from ansible.module_utils.sanso_trial import Failed

BEGIN, END = "# BEGIN of what Sansō manages: here", "# END of what Sansō manages: here"
OWN = f"{BEGIN}\nours\n{END}\n"


@pytest.fixture
def keep(tmp_path):
    """keep(text, block, checking=…, **where) is (the file's text after it, the result)."""

    def keep(text, block, checking=False, **where):
        path = tmp_path / "file"
        if text is not None:
            path.write_text(text)
            path.chmod(0o640)
        asked = {"origin": "here", "blocks": [{"path": str(path), "block": block, **where}]}
        result = sanso_blocks.run(asked, checking)
        assert oct(path.stat().st_mode & 0o777) == "0o640"
        return path.read_text(), result

    return keep


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, f"one\ntwo\none\nthree\n{OWN}"),
        ({"first": True}, f"{OWN}one\ntwo\none\nthree\n"),
        ({"after": "^on"}, f"one\ntwo\none\n{OWN}three\n"),
        ({"after": "^none of them"}, f"one\ntwo\none\nthree\n{OWN}"),
    ],
)
def test_lines_go_where_they_belong(keep, where, expected):
    assert keep("one\ntwo\none\nthree\n", "ours\n", **where)[0] == expected


def test_old_lines_are_replaced_where_they_are(keep):
    assert keep(f"one\n{BEGIN}\nold\nold\n{END}\ntwo\n", "ours", first=True)[0] == f"one\n{OWN}two\n"


def test_no_lines_take_the_marks_away_too(keep):
    assert keep(f"one\n{OWN}two\n", "")[0] == "one\ntwo\n"


@pytest.mark.parametrize(("text", "block"), [(f"one\n{OWN}", "ours\n"), ("one\n", "")])
def test_what_is_as_it_shall_be_is_left_alone(keep, text, block):
    assert keep(text, block) == (text, {"changed": False, "paths": [], "diff": []})


def test_a_check_only_says_what_would_change(keep, tmp_path):
    text, result = keep("one\n", "ours", checking=True)
    assert text == "one\n"
    assert result["paths"] == [str(tmp_path / "file")]
    assert result["diff"][0]["after"] == f"one\n{OWN}"


def test_missing_file_is_named(keep, tmp_path):
    with pytest.raises(Failed, match=f"{tmp_path}/file"):
        keep(None, "ours")
