"""A refusal says code, what, where, why and fix, in the language of the person, and never floods the screen."""

from __future__ import annotations

import pytest

from core.errors import EXCERPT_CHARACTERS, SHOWN_PROBLEMS, Place, Problem, WorkbenchError, excerpt, refusal


def test_a_refusal_says_code_what_where_why_and_fix() -> None:
    error = refusal("A17_data_directory_in_use", Place(file="data"), pid=4711)
    words = error.problems[0].describe("en")
    assert (words.code, words.where) == ("A17", "data")
    assert "4711" in words.what
    assert all((words.what, words.why, words.fix))
    assert str(words).splitlines() == [f"A17 · {words.what}", words.where, words.why, words.fix]


def test_a_refusal_speaks_the_language_it_is_asked_for() -> None:
    error = refusal("A17_data_directory_in_use", pid=4711)
    assert "process 4711" in error.describe("en")
    assert "进程 4711" in error.describe("zh")


def test_a_refusal_without_a_place_has_no_empty_line() -> None:
    assert "" not in refusal("D42_name_empty").describe("en").splitlines()


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        (Place(), ""),
        (Place(file="a.jsonl"), "a.jsonl"),
        (Place(file="a.jsonl", line=3, field="output"), "a.jsonl · line 3 · field output"),
        (Place(line=1, excerpt="{bad"), "line 1 · «{bad»"),
    ],
)
def test_a_place_shows_the_parts_it_has(place: Place, shown: str) -> None:
    assert Problem("D42_name_empty", place).describe("en").where == shown


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (20, 20), (21, 20), (5000, 20)])
def test_at_most_twenty_problems_are_shown_and_the_total_is_said(count: int, shown: int) -> None:
    error = WorkbenchError([Problem("D42_name_empty")] * count)
    assert (len(error.problems), error.total) == (shown, count)
    assert error.describe("en").count("D42 · ") == shown
    more = f"and {count - SHOWN_PROBLEMS} more"
    assert (more in error.describe("en")) == (count > SHOWN_PROBLEMS)


def test_a_total_that_was_counted_elsewhere_is_kept() -> None:
    assert "and 99 more" in WorkbenchError([Problem("D42_name_empty")], total=100).describe("en")


def test_a_refusal_of_nothing_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError):
        WorkbenchError([])


@pytest.mark.parametrize(("key", "code"), [("D42_name_empty", "D42"), ("A17_data_directory_in_use", "A17")])
def test_the_code_is_the_part_of_the_key_before_the_first_underscore(key: str, code: str) -> None:
    assert Problem(key).code == code
    assert WorkbenchError([Problem(key)]).code == code


def test_a_value_that_was_forgotten_is_found_when_the_refusal_is_made_not_when_it_is_shown() -> None:
    with pytest.raises(KeyError):
        refusal("A17_data_directory_in_use", wrong=1)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("弱智吧", "弱智吧"),
        ("a\nb\tc", "a\\u000ab\\u0009c"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("invoice\u202efdp.exe", "invoice\\u202efdp.exe"),
        ("\ud800", "\\ud800"),
        ("\x00", "\\u0000"),
        (None, "None"),
        (3, "3"),
    ],
)
def test_an_excerpt_makes_invisible_characters_visible(value: object, shown: str) -> None:
    assert excerpt(value) == shown
    excerpt(value).encode("utf-8")


@pytest.mark.parametrize("length", [EXCERPT_CHARACTERS - 1, EXCERPT_CHARACTERS, EXCERPT_CHARACTERS + 1, 1_000_000])
def test_an_excerpt_is_short(length: int) -> None:
    cut = excerpt("x" * length)
    assert len(cut) == min(length, EXCERPT_CHARACTERS)
    assert cut.endswith("…") == (length > EXCERPT_CHARACTERS)
