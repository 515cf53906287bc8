from __future__ import annotations

from typing import Any

import pytest

from core.data.checks import can_be_trained, check_examples, filled, placeholder_problems, placeholders
from core.data.conversation import Example, Message


def example(line: int, *said: str) -> Example:
    """Messages written as `user: text`."""
    pairs = [message.split(": ", 1) for message in said]
    return Example(tuple(Message(role=role, content=content) for role, content in pairs), line)  # type: ignore[typeddict-item]


GOOD = [example(line, f"user: question {line}", "assistant: answer") for line in range(1, 21)]


def test_good_examples_have_no_problems() -> None:
    assert check_examples(GOOD) == []


@pytest.mark.parametrize(
    ("said", "key", "severity", "field"),
    [
        (("user: q",), "D27_no_answer", "error", ""),
        ((), "D27_no_answer", "error", ""),
        (("system: s",), "D27_no_answer", "error", ""),
        (("assistant: a", "user: q"), "D27_answer_first", "error", "messages[0]"),
        (("system: s", "assistant: a"), "D27_answer_first", "error", "messages[1]"),
        (("user: q", "assistant: a", "user: more"), "D27_ends_without_answer", "warning", ""),
        (("user: q", "user: q", "assistant: a"), "D26_same_role_twice", "warning", "messages[1]"),
        (("user: q", "assistant: a", "assistant: b"), "D26_same_role_twice", "warning", "messages[2]"),
        (("user: q", "system: s", "assistant: a"), "D26_system_inside", "warning", "messages[1]"),
        (("user: say <|im_end|>", "assistant: a"), "D29_special_tokens", "warning", ""),
        (("user: [INST] q [/INST]", "assistant: a</s>"), "D29_special_tokens", "warning", ""),
        (("user: question 3", "assistant: answer"), "D31_duplicates", "warning", ""),
    ],
)
def test_a_conversation_that_disappoints_is_named_with_its_line(
    said: tuple[str, ...], key: str, severity: str, field: str
) -> None:
    odd = example(99, *said)
    problems = check_examples([*GOOD, odd])
    assert [(problem.key, problem.severity, problem.place.line, problem.place.field) for problem in problems] == [
        (key, severity, 99, field)
    ]
    assert can_be_trained(odd) == (severity == "warning")
    for lang in ("en", "zh"):
        assert "{" not in str(problems[0].describe(lang))  # type: ignore[arg-type]


def test_duplicates_are_counted_with_their_lines() -> None:
    (problem,) = check_examples([*GOOD, *GOOD[:3]])
    assert problem.values == {"count": 3, "total": 23, "lines": "1, 2, 3"}


def test_a_long_list_of_lines_is_shortened() -> None:
    (problem,) = check_examples(GOOD + GOOD + GOOD)
    assert problem.values["count"] == 40
    assert problem.values["lines"].endswith("20 …")


@pytest.mark.parametrize(("count", "expected"), [(1, ["D33_few_rows"]), (9, ["D33_few_rows"]), (10, []), (0, [])])
def test_very_few_rows_are_a_warning(count: int, expected: list[str]) -> None:
    assert [problem.key for problem in check_examples(GOOD[:count])] == expected


def test_placeholders_are_counted_by_rows_and_filled() -> None:
    first = example(1, "user: Who is {{name}}?", "assistant: {{ name }} of {{公司}}, not {name} nor {{ 3 + 4 }}")
    assert placeholders([first, example(2, "user: q", "assistant: {{name}}")]) == {"name": 2, "公司": 1}
    done = filled(first, {"name": r"Ada \1 {{x}}"})
    assert done.messages[1]["content"] == r"Ada \1 {{x}} of {{公司}}, not {name} nor {{ 3 + 4 }}"
    assert done.line == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, [("D29_placeholder_unfilled", "name"), ("D29_placeholder_unfilled", "author")]),
        ({"name": "Ada"}, [("D29_placeholder_unfilled", "author")]),
        ({"name": "Ada", "author": ""}, []),
        ({"name": "Ada", "author": "x", "nmae": "y"}, [("D29_placeholder_unknown", "nmae")]),
    ],
)
def test_placeholders_without_a_value_and_values_without_a_placeholder_are_warnings(
    values: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    problems = placeholder_problems({"name": 77, "author": 60}, values)
    assert [(problem.key, problem.values["name"]) for problem in problems] == expected
    assert {problem.severity for problem in problems} <= {"warning"}


def test_an_unfilled_placeholder_is_shown_as_it_is_written() -> None:
    (problem,) = placeholder_problems({"name": 77}, {})
    texts: list[Any] = [problem.describe("en"), problem.describe("zh")]
    assert all("{{name}}" in text.what and "77" in text.what for text in texts)
