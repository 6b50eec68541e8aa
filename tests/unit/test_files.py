"""What a role says of its files is complete when a server hears it, and a mistake is named."""

from __future__ import annotations

import pytest

from sanso.files import ON_TRIAL, RENDERED, joined, told


def test_defaults_and_contents_are_filled_in():
    assert told(
        {"/etc/a": None, "/etc/b": {"template": "x.j2", "mode": "0600"}}, RENDERED, lambda name: f"<{name}>"
    ) == [
        {"path": "/etc/a", "content": "<etc/a.j2>", **RENDERED},
        {"path": "/etc/b", "content": "<x.j2>", **RENDERED, "mode": "0600"},
    ]


def test_file_of_the_role_is_copied_as_it_is():
    (file,) = told({"/etc/a": {"copy": True}}, RENDERED, {}.__getitem__, read=lambda name: f"<{name}>")
    assert file == {"path": "/etc/a", "content": "<etc/a>", **RENDERED}


def test_what_the_controller_alone_needs_is_kept():
    told_there = told({"/a": {"content": "", "variables": ["x"]}}, ON_TRIAL, str, kept=["variables"])
    assert told_there == [{"path": "/a", "content": "", **ON_TRIAL}]


def test_file_that_shall_not_be_there_needs_no_template():
    assert told({"/a": {"state": "absent"}}, RENDERED, {}.__getitem__)[0]["content"] == ""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"mod": "0600"}, "/a has no key mod; known are content, copy, group, mode, owner, state, template, validate"),
        ({"state": "gone"}, "/a can't be gone; its state is one of present, absent"),
        ({"mode": 420}, "the mode of /a wants quotes"),
    ],
)
def test_mistake_is_named(how, said):
    with pytest.raises(ValueError, match=said):
        told({"/a": {"content": "", **how}}, RENDERED, str)


def test_texts_are_joined_line_by_line(tmp_path):
    (tmp_path / "certificate").write_text("one")
    (tmp_path / "key").write_text("two\n")
    assert joined([str(tmp_path / "certificate"), str(tmp_path / "key")]) == "one\ntwo\n"


def test_text_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}/key: .*No such file"):
        joined([str(tmp_path / "key")])
