"""The exercises' files: whole, in step with each other, and in both languages."""

import string

import pytest

from sanso.console import Failure
from sanso.lab.exercise import LANGUAGES, Question, code, digest, exercises, find, problems, read, read_text
from sanso.lab.place import WORKSHOP
from sanso.lab.words import catalogue

ALL = {each.folder.name: each for each in exercises()}


@pytest.mark.parametrize("name", ALL)
def test_exercise_is_whole_and_its_texts_are_in_step(name):
    assert problems(ALL[name]) == []


def test_words_of_the_lab_are_in_step():
    first, *others = [catalogue(language) for language in LANGUAGES]
    for other in others:
        assert other.keys() == first.keys()
        holes = {key: set(fields(said)) for key, said in first.items()}
        assert {key: set(fields(said)) for key, said in other.items()} == holes


def fields(text):
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]


# The rules that hold them together, each broken once


def test_whole_exercise_has_no_problem(folder):
    assert problems(read(folder)) == []


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("text.en.md", "The page comes.", "The page comes soon.", "text.ja.md is of another text.en.md"),
        ("text.ja.md", "<!-- of text.en.md ", "<!-- of text.en.md 0", "text.ja.md is of another text.en.md"),
        ("text.ja.md", "- `page`", "- `paper`", "text.ja.md has the goals ['paper']"),
        ("text.ja.md", "> 13: Permission denied", "> 13", "text.ja.md promises ['13']"),
        ("text.ja.md", "`lab/inventory`", "`lab/app`", "differ in code: ['lab/app', 'lab/inventory']"),
        ("text.ja.md", "- `gone`: it is gone\n", "", "text.ja.md has the choices ['mode'] of cause"),
        ("text.ja.md", "## 目標", "## 目的", "text.ja.md lacks 目標"),
        ("text.en.md", "3. Three\n", "", "text.en.md has 2 hints, not 3"),
        ("check.py", "test_page", "test_other", "check.py tests ['other'], the texts have the goals ['page']"),
        ("exercise.yml", "right: mode", "right: moon", "the right answer of cause is no choice: moon"),
        ("exercise.yml", "  cause:", "  why:", "text.en.md asks ['cause', 'tier'], exercise.yml ['tier', 'why']"),
    ],
)
def test_what_is_out_of_step_is_named(folder, file, before, after, said):
    text = (folder / file).read_text()
    assert before in text
    (folder / file).write_text(text.replace(before, after))
    read_text.cache_clear()
    assert said in "\n".join(problems(read(folder)))


def test_missing_translation_is_named(folder):
    (folder / "text.ja.md").unlink()
    read_text.cache_clear()
    assert "text.ja.md" in "\n".join(problems(read(folder)))


def test_key_that_no_exercise_has_is_refused(folder):
    (folder / "exercise.yml").write_text("minuets: 3\n")
    with pytest.raises(Failure, match="unknown key: minuets"):
        read(folder)


@pytest.mark.parametrize(("wanted", "found"), [("6", ["6a"]), ("6a", ["6a"]), ("06A", ["6a"])])
def test_exercise_is_found_by_its_number(checkout, wanted, found):
    assert [each.id for each in find(wanted)] == found


@pytest.mark.parametrize("wanted", ["7", "6b", "", "six", "../6"])
def test_exercise_that_is_none_is_refused_with_those_that_are(checkout, wanted):
    with pytest.raises(Failure) as failure:
        find(wanted)
    assert "6a" in failure.value.evidence


def test_draw_is_the_same_for_the_same_seed(folder):
    for name in ("os", "web", "app"):
        (folder / f"fault-{name}.yml").write_text("---\n")
    (folder / "exercise.yml").write_text("draw: 2\n")
    exercise = read(folder)
    assert len(exercise.drawn(1)) == 2
    assert exercise.drawn(1) == exercise.drawn(1)
    assert {name for seed in range(20) for name in exercise.drawn(seed)} == {"os", "web", "app"}


def test_answer_of_a_question_follows_the_draw():
    question = Question(["well", "firewall"], right="well", drawn="firewall")
    assert question.answer("os", ["os", "web"]) == "firewall"
    assert question.answer("os", ["app", "web"]) == "well"


def test_workshops_page_is_in_step_in_both_languages():
    english, japanese = ((WORKSHOP / f"README{each}.md").read_text() for each in ("", ".ja"))
    assert japanese.startswith(f"<!-- of README.md {digest(english)} -->"), "README.ja.md is of another README.md"
    assert code(japanese) == code(english)
