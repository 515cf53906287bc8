"""Lists of messages as files write them: `role`/`content` or `from`/`value`, tools, and calls of tools.

Owns every key inside a message. A message is read into the shape that chat templates expect (OpenAI's, with the
arguments of a call as an object); reading a message of ours again gives the same message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.data.conversation import Message, Role
from core.data.formats.names import CALLERS, SHOWN_SPEAKERS, SPEAKERS, parsed
from core.data.formats.row_values import Cell, Reading
from core.data.reading.rows import type_name
from core.errors import excerpt

TURN_KEYS = (("role", "content"), ("from", "value"), ("role", "tool_calls"), ("role", "function_call"))
THOUGHTS = ("reasoning_content", "reasoning", "thinking")


def is_turn(value: object) -> bool:
    """Whether a value looks like one message."""
    return isinstance(value, dict) and any(role in value and said in value for role, said in TURN_KEYS)


def is_shared_turn(turn: Mapping[str, Any]) -> bool:
    """Whether a message is in ShareGPT's spelling. Tables give every message all keys, most of them null."""
    return turn.get("role") is None and (turn.get("from") is not None or turn.get("value") is not None)


def read_turns(reading: Reading, value: object, field: str) -> list[Message]:
    turns = parsed(value)
    if not isinstance(turns, list) or not turns:
        reading.refuse("D24_not_a_list", field, value, type=type_name(turns))
        return []
    read = [read_turn(reading, turn, f"{field}[{number}]") for number, turn in enumerate(turns)]
    return [message for message in read if message is not None]


def read_turn(reading: Reading, turn: object, field: str) -> Message | None:
    """One message; None where it is refused, or a system message that is empty, which says the same as none."""
    if not isinstance(turn, dict):
        reading.refuse("D24_not_a_message", field, turn, type=type_name(turn))
        return None
    role_key, content_key = ("from", "value") if is_shared_turn(turn) else ("role", "content")
    said = turn.get(role_key)
    role = _role(reading, said, f"{field}.{role_key}")
    if role is None:
        return None
    text_field = f"{field}.{content_key}"
    content = _joined_parts(reading, turn.get(content_key), text_field)
    if role == "system" and (content is None or content == ""):
        return None
    if role == "assistant":
        return _answer(reading, turn, Cell(text_field, content), str(said).strip().lower() in CALLERS, field)
    read = reading.text if role == "tool" else reading.filled_text  # a tool may have nothing to say
    message = Message(role=role, content=read(content, text_field))
    for key in ("name", "tool_call_id") if role == "tool" else ("name",):
        _copy_text(reading, turn, key, message, field)
    _weight(reading, turn, field)
    return message


def read_tools(reading: Reading, value: object, field: str) -> tuple[dict[str, Any], ...]:
    """Tools in OpenAI's shape, from a list or its JSON text; bare functions are wrapped."""
    tools = parsed(value)
    if tools is None or (isinstance(tools, str) and not tools.strip()):
        return ()
    if not isinstance(tools, list):
        reading.refuse("D23_tools_not_a_list", field, value, type=type_name(tools))
        return ()
    read = []
    for number, each in enumerate(tools):
        tool = parsed(each, "{")
        function = _function_in(tool)
        if function is None:
            reading.refuse("D23_not_a_tool", f"{field}[{number}]", tool)
        else:
            read.append({"type": "function", "function": function})
    return tuple(read)


def _role(reading: Reading, value: object, field: str) -> Role | None:
    known = SPEAKERS.get(value.strip().lower()) if isinstance(value, str) else None
    if known is None:
        reading.refuse("D25_unknown_role", field, known=", ".join(SHOWN_SPEAKERS), role=excerpt(value))
        return None
    reading.renamed[str(value)] += 1
    return known


def _answer(reading: Reading, turn: dict[str, Any], said: Cell, is_call: bool, field: str) -> Message:
    """An assistant's turn: text, thoughts before it, calls of tools; where it calls, the text may be missing."""
    calls = _calls(reading, turn, field)
    if is_call:
        calls += _calls_in_text(reading, said)
        text = ""
    elif turn.get("tool_calls") or turn.get("function_call"):
        text = reading.text(said.value, said.field)
    else:
        text = reading.filled_text(said.value, said.field)
    message = Message(role="assistant", content=text)
    thoughts = next((key for key in THOUGHTS if turn.get(key)), None)
    if thoughts:
        message["reasoning_content"] = reading.text(turn[thoughts], f"{field}.{thoughts}")
    if calls:
        message["tool_calls"] = calls
    _copy_text(reading, turn, "name", message, field)
    if not _weight(reading, turn, field):
        message["trained"] = False
    return message


def _calls(reading: Reading, turn: dict[str, Any], field: str) -> list[dict[str, Any]]:
    calls = parsed(turn.get("tool_calls"))
    if calls and not isinstance(calls, list):
        reading.refuse("D23_not_a_call", f"{field}.tool_calls", calls)
        return []
    listed = list(calls) if isinstance(calls, list) else []
    read = [_call(reading, call, f"{field}.tool_calls[{number}]") for number, call in enumerate(listed)]
    if turn.get("function_call"):  # how OpenAI wrote one call before there were several
        read.append(_call(reading, turn["function_call"], f"{field}.function_call"))
    return [call for call in read if call is not None]


def _calls_in_text(reading: Reading, said: Cell) -> list[dict[str, Any]]:
    """The calls of a `function_call` turn, whose text is the JSON of one call or of a list of them."""
    value = parsed(said.value, "[{")
    listed = value if isinstance(value, list) and value else [value]
    return [call for each in listed if (call := _call(reading, each, said.field)) is not None]


def _call(reading: Reading, call: object, field: str) -> dict[str, Any] | None:
    function = _function_in(call)
    if function is None:
        reading.refuse("D23_not_a_call", field, call)
        return None
    arguments = parsed(function.get("arguments", function.get("parameters")) or {}, "{")
    if not isinstance(arguments, dict):
        reading.refuse("D23_arguments_not_an_object", field, arguments)
        return None
    read = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    name = call.get("id") if isinstance(call, dict) else None
    return {"id": name, **read} if isinstance(name, str) else read


def _function_in(value: object) -> dict[str, Any] | None:
    """The function that a tool or a call names, bare or in OpenAI's wrapping; None where there is none."""
    function = (value.get("function") or value) if isinstance(value, dict) else None
    return function if isinstance(function, dict) and isinstance(function.get("name"), str) else None


def _weight(reading: Reading, turn: dict[str, Any], field: str) -> bool:
    """Whether a turn is trained: OpenAI's `weight` 0 or our own `trained` false says that it is only context."""
    weight = turn.get("weight", turn.get("trained"))
    if weight is None or (isinstance(weight, bool) and "weight" not in turn):
        return weight is not False
    if isinstance(weight, bool) or weight not in (0, 1):
        name = "weight" if "weight" in turn else "trained"
        reading.refuse("D23_weight", f"{field}.{name}", weight)
    return bool(weight)


def _copy_text(reading: Reading, turn: dict[str, Any], key: str, message: Message, field: str) -> None:
    text = reading.text(turn.get(key), f"{field}.{key}")
    if text:
        message[key] = text  # type: ignore[literal-required]


def _joined_parts(reading: Reading, content: object, field: str) -> object:
    """Content in parts, as some APIs write it, is text where every part is text."""
    if not isinstance(content, list) or not content or not all(isinstance(part, dict) for part in content):
        return content
    for number, part in enumerate(content):
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            reading.refuse("D23_part_not_text", f"{field}[{number}]", json.dumps(part, ensure_ascii=False)[:200])
            return "-"
    return "".join(part["text"] for part in content)
