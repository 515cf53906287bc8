from __future__ import annotations

from typing import Any

import pytest

from core.data.conversation import Message
from core.data.formats import FORMATS, detect_format, to_examples
from core.data.readers import Row


def rows(*values: dict[str, Any]) -> list[Row]:
    return [Row(10 * number, row) for number, row in enumerate(values, start=1)]


def turns(*said: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role=role, content=content) for role, content in said)  # type: ignore[typeddict-item]


ASKED = turns(("user", "q"), ("assistant", "a"))
WITH_SYSTEM = turns(("system", "s"), ("user", "q"), ("assistant", "a"))
GOOD: list[tuple[str, dict[str, Any], tuple[Message, ...]]] = [
    ("alpaca", {"instruction": "q", "input": "", "output": "a"}, ASKED),
    ("alpaca", {"instruction": "q", "output": "a"}, ASKED),
    ("alpaca", {"instruction": "q", "input": None, "output": "a"}, ASKED),
    ("alpaca", {"instruction": "q", "input": "x", "output": "a"}, turns(("user", "q\nx"), ("assistant", "a"))),
    ("alpaca", {"instruction": "", "input": "q", "output": "a"}, ASKED),
    ("alpaca", {"Instruction": "q", " OUTPUT ": "a"}, ASKED),
    ("alpaca", {"instruction": "q", "output": "a", "system": "s"}, WITH_SYSTEM),
    (
        "alpaca",
        {"instruction": "q", "output": "a", "history": [["h", "i"]]},
        turns(("user", "h"), ("assistant", "i"), ("user", "q"), ("assistant", "a")),
    ),
    ("alpaca", {"instruction": "q", "output": "a", "history": None}, ASKED),
    ("sharegpt", {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, ASKED),
    (
        "sharegpt",
        {
            "conversations": [
                {"from": "system", "value": "s"},
                {"from": "human", "value": "q"},
                {"from": "gpt", "value": "a"},
            ]
        },
        WITH_SYSTEM,
    ),
    (
        "sharegpt",
        {"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        WITH_SYSTEM,
    ),
    ("messages", {"messages": [{"content": "q", "role": "user"}, {"role": "assistant", "content": "a"}]}, ASKED),
    ("messages", {"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, ASKED),
    (
        "messages",
        {"messages": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'},
        ASKED,
    ),
    (
        "messages",
        {
            "messages": [
                {"role": "system", "content": ""},
                {"role": "user", "content": [{"type": "text", "text": "q"}]},
                {"role": "assistant", "content": "a"},
            ]
        },
        ASKED,
    ),
    ("prompt_completion", {"prompt": "q", "completion": "a"}, ASKED),
    ("prompt_completion", {"question": "q", "answer": "a", "id": 3}, ASKED),
    ("prompt_completion", {"input": "q", "output": "a", "system": "s"}, WITH_SYSTEM),
]


@pytest.mark.parametrize(("name", "values", "messages"), GOOD)
def test_a_row_of_each_format_becomes_its_conversation(
    name: Any, values: dict[str, Any], messages: tuple[Message, ...]
) -> None:
    found = detect_format(rows(values))
    assert (found.format, found.counts, found.problems) == (name, {name: 1}, ())
    examples, problems = to_examples(rows(values), name)
    assert [(example.messages, example.line) for example in examples] == [(messages, 10)]
    assert problems == []


ALPACA = {"instruction": "q", "output": "a"}
SAID = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"conversations": SAID, "chosen": "a", "rejected": "b"}, "D21_preference_data"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "D21_preference_data"),
        ({"messages": SAID, "label": True}, "D21_kto_data"),
        ({"conversations": [{"from": "human", "value": "q"}], "tools": "[]"}, "D21_tool_call_data"),
        ({"messages": [*SAID, {"role": "assistant", "tool_calls": [{"id": "1"}]}]}, "D21_tool_call_data"),
        ({"text": "Once upon a time"}, "D21_text_data"),
        ({"id": 1, "instruction": "q", "instances": []}, "D21_unknown_columns"),
        ({}, "D21_unknown_columns"),
    ],
)
def test_what_cannot_be_trained_is_named_for_what_it_is(values: dict[str, Any], key: str) -> None:
    found = detect_format(rows(values, values))
    assert found.format is None
    (problem,) = found.problems
    assert (problem.key, problem.place.line) == (key, 10)
    assert str(problem.describe("en")) != str(problem.describe("zh"))


def test_mixed_formats_are_counted_with_the_first_line_of_each() -> None:
    found = detect_format(rows(ALPACA, {"messages": SAID}, ALPACA))
    assert (found.format, found.counts) == ("alpaca", {"alpaca": 2, "messages": 1})
    (problem,) = found.problems
    assert (problem.key, problem.place.line) == ("D19_mixed_formats", 20)
    assert problem.values["found"] == "alpaca (2; 10), messages (1; 20)"


def test_a_row_without_its_answer_is_named_with_the_key_that_was_meant() -> None:
    mixed = rows(ALPACA, {"instruction": "q", "outputs": "a"}, {"instruction": "q"})
    assert detect_format(mixed).format == "alpaca"
    examples, problems = to_examples(mixed, "alpaca")
    assert len(examples) == 1
    assert [(problem.key, problem.place.line) for problem in problems] == [
        ("D20_key_misspelt", 20),
        ("D20_key_missing", 30),
    ]
    assert problems[0].values["similar"] == "outputs"


def test_a_key_misspelt_in_every_row_is_still_alpaca() -> None:
    mixed = rows({"instruction": "q", "outputs": "a"})
    found = detect_format(mixed)
    assert (found.format, found.problems) == ("alpaca", ())
    assert [problem.key for problem in to_examples(mixed, "alpaca")[1]] == ["D20_key_misspelt"]


def messages(*said: Any) -> dict[str, Any]:
    return {"messages": list(said)}


USER = {"role": "user", "content": "q"}


@pytest.mark.parametrize(
    ("name", "values", "key", "field"),
    [
        ("alpaca", {"instruction": "q", "output": None}, "D22_empty_text", "output"),
        ("alpaca", {"instruction": "q", "output": " \n"}, "D22_empty_text", "output"),
        ("alpaca", {"instruction": "", "input": " ", "output": "a"}, "D22_empty_text", "instruction"),
        ("alpaca", {"instruction": "q", "output": 3}, "D23_not_text", "output"),
        ("alpaca", {"instruction": ["q"], "output": "a"}, "D23_not_text", "instruction"),
        ("alpaca", {"instruction": "q", "input": True, "output": "a"}, "D23_not_text", "input"),
        ("alpaca", {"instruction": "q", "system": {}, "output": "a"}, "D23_not_text", "system"),
        ("alpaca", {"instruction": "q", "output": "a", "history": "x"}, "D23_history_not_pairs", "history"),
        ("alpaca", {"instruction": "q", "output": "a", "history": [["x"]]}, "D23_history_not_pairs", "history[0]"),
        ("alpaca", {"instruction": "q", "output": "a", "history": [["x", None]]}, "D22_empty_text", "history[0][1]"),
        ("prompt_completion", {"prompt": "q", "completion": ""}, "D22_empty_text", "completion"),
        ("prompt_completion", {"prompt": "q"}, "D20_key_missing", "completion"),
        ("messages", {"text": "x"}, "D20_key_missing", "messages"),
        ("messages", {"messages": "not a list"}, "D24_not_a_list", "messages"),
        ("messages", {"messages": {"role": "user"}}, "D24_not_a_list", "messages"),
        ("messages", {"messages": []}, "D24_not_a_list", "messages"),
        ("messages", {"messages": None}, "D24_not_a_list", "messages"),
        ("messages", messages(["user", "q"]), "D24_not_a_message", "messages[0]"),
        ("messages", messages(USER, {"role": "bot", "content": "a"}), "D25_unknown_role", "messages[1].role"),
        ("messages", messages(USER, {"content": "a"}), "D25_unknown_role", "messages[1].role"),
        ("messages", messages(USER, {"role": 3, "content": "a"}), "D25_unknown_role", "messages[1].role"),
        ("messages", messages(USER, {"role": "assistant"}), "D22_empty_text", "messages[1].content"),
        ("messages", messages(USER, {"role": "assistant", "content": 5}), "D23_not_text", "messages[1].content"),
        (
            "messages",
            messages({"role": "user", "content": [{"type": "image_url"}]}),
            "D23_not_text",
            "messages[0].content",
        ),
        ("messages", messages(USER, {"role": "assistant", "tool_calls": [1]}), "D25_tool_call", "messages[1]"),
        (
            "sharegpt",
            {"conversations": [{"from": "narrator", "value": "x"}]},
            "D25_unknown_role",
            "conversations[0].from",
        ),
        ("sharegpt", {"conversations": [{"from": "human", "value": ""}]}, "D22_empty_text", "conversations[0].value"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_with_line_and_field(
    name: Any, values: dict[str, Any], key: str, field: str
) -> None:
    examples, problems = to_examples(rows(ALPACA, values), name)
    found = [(problem.key, problem.place.field) for problem in problems if problem.place.line == 20]
    assert found == [(key, field)]
    assert all(example.line != 20 for example in examples)
    for lang in ("en", "zh"):
        assert problems[0].describe(lang).fix  # type: ignore[arg-type]


def test_unusual_role_names_are_read_visibly() -> None:
    values = messages({"role": "Human", "content": "q"}, {"role": "gpt", "content": "a"})
    examples, problems = to_examples(rows(values, values), "messages")
    assert [example.messages for example in examples] == [ASKED, ASKED]
    (problem,) = problems
    assert (problem.key, problem.severity) == ("D25_roles_read_as", "warning")
    assert problem.values["roles"] == "Human → user (2), gpt → assistant (2)"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("value", [None, True, 0, 1.5, "", "x", [], [[]], {}, {"a": []}, [None], [{}], "[", "[1]"])
def test_no_value_of_any_key_is_answered_with_a_traceback(name: Any, value: Any) -> None:
    keys = ("instruction", "input", "output", "system", "history", "messages", "conversations", "prompt", "completion")
    for key in keys:
        for row in ({key: value}, {**ALPACA, key: value}, {"messages": SAID, key: value}):
            detect_format(rows(row))
            examples, problems = to_examples(rows(row), name)
            assert len(examples) + len([problem for problem in problems if problem.severity == "error"]) == 1
