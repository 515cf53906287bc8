from __future__ import annotations

import json
from typing import Any

import pytest

from core.data.conversation import Message
from core.data.formats.row_reader import RowReader, read_messages
from core.data.reading.rows import Row
from core.errors import WorkbenchError

SCHEMA = {"name": "weather", "description": "The weather", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": SCHEMA}
CALLED = {"type": "function", "function": {"name": "weather", "arguments": {"city": "巴黎"}}}
BARE = {"name": "weather", "arguments": {"city": "巴黎"}}
AS_TEXT = {"name": "weather", "arguments": '{"city": "巴黎"}'}
USER = {"role": "user", "content": "q"}


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [CALLED]}, {"content": "", "tool_calls": [CALLED]}),
        (
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": AS_TEXT}]},
            {"content": "", "tool_calls": [{"id": "1", **CALLED}]},
        ),
        ({"role": "assistant", "content": "a", "tool_calls": [BARE]}, {"content": "a", "tool_calls": [CALLED]}),
        ({"role": "assistant", "content": "a", "tool_calls": []}, {"content": "a"}),
        ({"role": "assistant", "content": "a", "tool_calls": None}, {"content": "a"}),
        ({"role": "assistant", "content": None, "function_call": AS_TEXT}, {"content": "", "tool_calls": [CALLED]}),
        ({"from": "function_call", "value": json.dumps(BARE)}, {"content": "", "tool_calls": [CALLED]}),
        ({"from": "function_call", "value": json.dumps(AS_TEXT)}, {"content": "", "tool_calls": [CALLED]}),
        ({"from": "function_call", "value": json.dumps([BARE, BARE])}, {"content": "", "tool_calls": [CALLED, CALLED]}),
        (
            {"from": "function_call", "value": '{"name": "now"}'},
            {"content": "", "tool_calls": [{"type": "function", "function": {"name": "now", "arguments": {}}}]},
        ),
        ({"from": "observation", "value": "21°"}, {"role": "tool", "content": "21°"}),
        ({"from": "tool", "value": ""}, {"role": "tool", "content": ""}),
        (
            {"role": "tool", "content": "21°", "tool_call_id": "1"},
            {"role": "tool", "content": "21°", "tool_call_id": "1"},
        ),
        ({"role": "function", "name": "f", "content": "21°"}, {"role": "tool", "name": "f", "content": "21°"}),
        ({"role": "user", "name": "Ann", "content": "q"}, {"role": "user", "name": "Ann", "content": "q"}),
        ({"role": "assistant", "content": "a", "weight": 0}, {"content": "a", "trained": False}),
        ({"role": "assistant", "content": "a", "weight": 1}, {"content": "a"}),
        ({"role": "assistant", "content": "a", "trained": False}, {"content": "a", "trained": False}),
        ({"role": "assistant", "content": "a", "trained": True}, {"content": "a"}),
        ({"role": "user", "content": "q", "weight": 0}, {"role": "user", "content": "q"}),
        ({"role": "assistant", "content": "a", "reasoning_content": "t"}, {"content": "a", "reasoning_content": "t"}),
        ({"role": "assistant", "content": "a", "thinking": "t"}, {"content": "a", "reasoning_content": "t"}),
        ({"role": "assistant", "content": "a", "reasoning_content": None}, {"content": "a"}),
        ({"role": "assistant", "content": "a", "from": None, "value": None, "weight": None}, {"content": "a"}),
        ({"role": "assistant", "from": "Ann", "content": "a"}, {"content": "a"}),
        ({"role": None, "content": None, "from": "gpt", "value": "a"}, {"content": "a"}),
    ],
)
def test_what_a_message_says_beside_its_text_is_kept(turn: dict[str, Any], message: dict[str, Any]) -> None:
    reader = RowReader("messages")
    example = reader.read(Row(1, {"messages": [USER, turn]}), 1)
    assert example.messages[1] == {"role": "assistant", **message}
    assert read_messages(example.messages, 1) == example.messages, "a message of ours is read as itself"


@pytest.mark.parametrize(
    ("tools", "read"),
    [
        ([TOOL], (TOOL,)),
        ([SCHEMA], (TOOL,)),
        (json.dumps([SCHEMA]), (TOOL,)),
        ([json.dumps(SCHEMA)], (TOOL,)),
        ("[]", ()),
        ("", ()),
        (None, ()),
    ],
)
def test_tools_are_read_in_the_shape_that_templates_expect(tools: object, read: tuple[object, ...]) -> None:
    example = RowReader("messages").read(Row(1, {"messages": [USER], "tools": tools}), 1)
    assert example.tools == read


def test_json_text_inside_a_cell_keeps_the_promises_that_rows_make() -> None:
    said = '[{"role": "user", "content": "half \\ud83d, whole \\ud83d\\ude00"}]'
    assert RowReader("messages").read(Row(1, {"messages": said}), 1).messages == (
        Message(role="user", content="half ?, whole 😀"),
    )


@pytest.mark.parametrize("arguments", ['{"a": NaN}', '{"a": ' + "[" * 100 + "]" * 100 + "}"], ids=["NaN", "deep"])
def test_json_text_that_a_row_may_not_hold_is_not_read(arguments: str) -> None:
    call = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": arguments}]}
    with pytest.raises(WorkbenchError) as caught:
        read_messages([call], 1)
    assert caught.value.key == "D23_arguments_not_an_object"
