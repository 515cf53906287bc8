from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from core.data.checks.placeholders import filled, placeholder_names, placeholder_problems
from core.data.conversation import Example, Message
from tests.core.data.checks.test_conversations import example


def test_placeholders_are_counted_by_rows_and_filled() -> None:
    first = example(1, "user: Who is {{name}}?", "assistant: {{ name }} of {{公司}}, not {name} nor {{ 3 + 4 }}")
    counts: Counter[str] = Counter()
    for each in (first, example(2, "user: q", "assistant: {{name}}")):
        counts.update(placeholder_names(each))
    assert counts == {"name": 2, "公司": 1}
    done = filled(first, {"name": r"Ada \1 {{x}}"})
    assert done.messages[1]["content"] == r"Ada \1 {{x}} of {{公司}}, not {name} nor {{ 3 + 4 }}"
    assert done.line == 1


def test_placeholders_are_filled_wherever_they_stand() -> None:
    call: Any = {"type": "function", "function": {"name": "f", "arguments": {"who": ["{{a}}"]}}}
    everywhere = Example(
        (Message(role="assistant", content="{{b}}", reasoning_content="{{c}}", tool_calls=[call]),),
        7,
        3,
        "member.json",
        tools=({"description": "{{d}}"},),
        text="{{e}}",
        rejected=Message(role="assistant", content="{{f}}"),
    )
    assert placeholder_names(everywhere) == set("abcdef")
    done = filled(everywhere, {name: name.upper() for name in "abcdef"})
    assert placeholder_names(done) == set()
    assert done.messages[0]["tool_calls"][0]["function"]["arguments"] == {"who": ["A"]}
    assert (done.text, done.tools, done.rejected) == (
        "E",
        ({"description": "D"},),
        {"role": "assistant", "content": "F"},
    )
    assert (done.line, done.row, done.file) == (7, 3, "member.json")
    assert everywhere.text == "{{e}}"


def test_an_example_without_these_placeholders_stays_the_same_object() -> None:
    same = example(1, "user: {{name}}", "assistant: a")
    assert filled(same, {"other": "x"}) is same
    assert filled(same, {}) is same


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
