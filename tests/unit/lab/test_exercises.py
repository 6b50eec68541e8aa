"""The exercises' files: whole, in step with each other, and in both languages."""

import string

import pytest

from sanso.lab.exercise import LANGUAGES, exercises, problems
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
