from __future__ import annotations

from typing import Any

import pytest

from core.data.checks.conversations import is_visible, shape_problems
from core.data.conversation import Example, Message


def example(line: int, *said: str) -> Example:
    """Messages written as `user: text`."""
    pairs = [message.split(": ", 1) for message in said]
    return Example(tuple(Message(role=role, content=content) for role, content in pairs), line)  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("said", "key", "severity", "field"),
    [
        (("user: q",), "D27_no_answer", "error", ""),
        ((), "D27_no_answer", "error", ""),
        (("system: s",), "D27_no_answer", "error", ""),
        (("assistant: a", "user: q"), "D27_answer_first", "error", "messages[0]"),
        (("system: s", "assistant: a"), "D27_answer_first", "error", "messages[1]"),
        (("user: q", "assistant: a", "user: more"), "D27_ends_without_answer", "warning", "messages[2]"),
        (("user: q", "user: q", "assistant: a"), "D26_same_role_twice", "warning", "messages[1]"),
        (("user: q", "assistant: a", "assistant: b"), "D26_same_role_twice", "warning", "messages[2]"),
        (("user: q", "system: s", "assistant: a"), "D26_system_inside", "warning", "messages[1]"),
        (("user: q", "tool: 4", "assistant: a"), "D26_tool_result_unasked", "warning", "messages[1]"),
        (("user: q", "assistant: "), "D22_nothing_visible", "error", "messages[1]"),
        (("user: \u200b\ufeff \u2060", "assistant: a"), "D22_nothing_visible", "error", "messages[0]"),
    ],
)
def test_a_conversation_that_disappoints_is_named_with_its_line(
    said: tuple[str, ...], key: str, severity: str, field: str
) -> None:
    odd = example(99, *said)
    (problem,) = shape_problems(odd)
    assert (problem.key, problem.severity, problem.place.line, problem.place.field) == (key, severity, 99, field)


CALL: Any = [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]
GOOD = [
    example(1, "system: s", "user: q", "assistant: a", "user: q", "assistant: a"),
    example(1, "system: ", "user: q", "assistant: a"),
    Example((Message(role="user", content="q"), Message(role="assistant", content="", tool_calls=CALL)), 1),
    Example(
        (
            Message(role="user", content="q"),
            Message(role="assistant", content="", tool_calls=[*CALL, *CALL]),
            Message(role="tool", content=""),
            Message(role="tool", content="2"),
            Message(role="assistant", content="a"),
        ),
        1,
    ),
    Example((), 1, text="A document."),
]


@pytest.mark.parametrize("good", GOOD)
def test_a_good_example_has_no_problems(good: Example) -> None:
    assert shape_problems(good) == []


def test_a_conversation_whose_answers_are_all_context_cannot_be_trained() -> None:
    answers = [Message(role="assistant", content="a", trained=trained) for trained in (False, True)]
    asked = Message(role="user", content="q")
    (problem,) = shape_problems(Example((asked, answers[0]), 3))
    assert (problem.key, problem.severity) == ("D27_nothing_trained", "error")
    assert shape_problems(Example((asked, answers[0], asked, answers[1]), 3)) == []


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ({"rejected": Message(role="assistant", content="b")}, "D21_preference_data"),
        ({"label": True}, "D21_kto_data"),
        ({"label": False}, "D21_kto_data"),
    ],
)
def test_preference_data_cannot_be_trained_yet(kind: dict[str, Any], key: str) -> None:
    messages = example(5, "user: q", "assistant: a").messages
    (problem,) = shape_problems(Example(messages, 5, **kind))
    assert (problem.key, problem.severity, problem.place.line) == (key, "error", 5)


def test_a_document_without_visible_text_cannot_be_trained() -> None:
    (problem,) = shape_problems(Example((), 5, text=" \u200b\n"))
    assert (problem.key, problem.place.field) == ("D22_nothing_visible", "text")


def test_problems_name_the_member_of_a_folder() -> None:
    (problem,) = shape_problems(Example((), 5, file="a.txt", text=""))
    assert problem.place.file == "a.txt"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", True), ("。", True), ("👍", True), ("", False), (" \n\t", False), ("\u200d\ufe0f\u00ad\u3164", False)],
)
def test_what_can_be_seen(text: str, expected: bool) -> None:
    assert is_visible(text) == expected
