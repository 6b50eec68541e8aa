"""The report and the class's table: all that was done is in it, and nothing in it is believed."""

import json

import pytest

from sanso.lab import exercise, goals, report
from sanso.lab.goals import MET, NOT_MET, Goal
from sanso.lab.words import Words


@pytest.fixture
def done(sanso, monkeypatch, checkout):
    """An exercise that was seen, located and mended, with an edit."""

    def check(state, found, trace):
        monkeypatch.setattr(goals, "check", lambda *_, **__: [Goal("page", state, "an answer", found, trace)])
        sanso("lab", "check")

    sanso("lab", "start", "6")
    check(NOT_MET, "<script>alert(1)</script>\u202e", "the broken trace")
    sanso("lab", "answer", "tier=web")
    sanso("lab", "answer", "tier=app", "cause=mode")
    (checkout / "lab/app/app.py").write_text("mended & more\n")
    check(MET, "", "the good trace")
    return sanso


def test_report_holds_what_happened(done, checkout):
    result = done("lab", "report")
    assert "lab/report-6a.html" in result.output
    page = (checkout / "lab/report-6a.html").read_text()
    for words in ("A title", "the broken trace", "the good trace", "mended &amp; more", "tier=web", "located after"):
        assert words in page


def test_report_believes_nothing(done, checkout):
    done("lab", "report")
    page = (checkout / "lab/report-6a.html").read_text()
    assert "<script" not in page
    assert "\u202e" not in page
    assert "default-src 'none'" in page


def test_report_in_japanese_says_so(done, checkout, monkeypatch):
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    done("lab", "report")
    page = (checkout / "lab/report-6a.html").read_text()
    assert '<html lang="ja">' in page
    assert "特定まで" in page


def test_report_before_anything_was_done_says_how_to_begin(sanso):
    assert "./sanso lab start 0" in sanso("lab", "report").output


def test_every_word_of_the_pages_is_known(done, checkout, monkeypatch):
    known = Words("en", None)
    said = []
    monkeypatch.setattr(Words, "say", lambda self, key, **_: said.append(key) or key)
    report.render(progress_of(checkout), exercise.exercises(), known)
    from sanso.lab.words import catalogue

    assert {key for key in said if key not in catalogue("en")} == set()


def progress_of(checkout):
    from sanso.lab.progress import Progress

    return Progress.read(checkout / "lab/progress.json")


def test_class_is_one_table_of_many(done, checkout, tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    data = json.loads((checkout / "lab/progress.json").read_text())
    for name in ("aiko", "bea<b>"):
        (folder / f"{name.strip('<b>')}.json").write_text(json.dumps(data | {"learner": name}))
    page = tmp_path / "class.html"
    result = done("lab", "class", str(folder), "--html", str(page))
    assert result.exit_code == 0, result.output
    assert "aiko: 0 / 1, → 6a" in result.output
    assert "stopgap" in result.output
    assert "bea&lt;b&gt;" in page.read_text()
    table = json.loads(done("lab", "class", str(folder), "--json").stdout)
    assert [each["learner"] for each in table["learners"]] == ["aiko", "bea<b>"]
    assert table["learners"][0]["exercises"]["6a"]["diagnosed"] is True


def test_learners_of_one_name_are_told_apart_by_their_files(done, checkout, tmp_path):
    text = (checkout / "lab/progress.json").read_text()
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(text)
    result = done("lab", "class", str(tmp_path / "one.json"), str(tmp_path / "two.json"))
    assert "(one):" in result.output
    assert "(two):" in result.output


@pytest.mark.parametrize("text", ["{}", "no JSON"])
def test_file_that_is_no_progress_is_named(sanso, tmp_path, text):
    file = tmp_path / "other.json"
    file.write_text(text)
    result = sanso("lab", "class", str(file))
    assert result.exit_code == 1
    assert "other.json" in result.output
