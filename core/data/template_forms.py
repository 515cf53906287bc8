"""How what is more than words, a tool, a call or a thought, is put to a template.

Templates disagree about it: some want a call's arguments as JSON text, some want no content beside a call, some want
ids of nine letters, and many have no place for tools or thoughts at all. Each form is tried on the template with a
small conversation, and the first that the template takes and writes whole is used. Where there is none, tools and
calls are written as text in the form most models know, thoughts as `<think>…</think>` before the answer. What a
template leaves out of what it takes (some write no words beside a call) stays left out.

Owns these forms. `turns.py` applies them to every conversation, in training and in chat alike.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.data.conversation import Message
from core.data.templates import render_text
from core.errors import WorkbenchError

ID_LETTERS = 9  # Mistral's templates take ids of exactly so many
PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "probe_description",
        "parameters": {"type": "object", "properties": {"probe_key": {"type": "string", "description": "probe"}}},
    },
}
PROBE_CALL: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "type": "function",
            "id": "probe_id",
            "function": {"name": "probe_tool", "arguments": {"probe_key": "probe_value"}},
        }
    ],
}
PROBE: tuple[Message, ...] = (
    {"role": "user", "content": "probe"},
    PROBE_CALL,
    {"role": "tool", "name": "probe_tool", "tool_call_id": "probe_id", "content": "probe_answer"},
)
PROBE_WORDS = ("probe_tool", "probe_description", "probe_key", "probe_value", "probe_answer")


@dataclass(frozen=True)
class CallForm:
    """A form in which a template takes tool calls."""

    new_ids: bool  # ids are replaced by numbered ones of nine letters
    no_content: bool  # a call without words has the content None, not ""
    arguments_as_text: bool  # arguments are JSON text, not an object


def call_form(tokenizer: Any) -> CallForm | None:
    """The form in which the template takes and writes tools, calls and their answers; None where there is none."""
    for form in itertools.starmap(CallForm, itertools.product((False, True), repeat=3)):
        try:
            text = render_text(tokenizer, _formed(PROBE, form), False, [PROBE_TOOL])
        except WorkbenchError:
            continue
        broken = "{'probe_key'" in text or '\\"probe_key' in text  # Python's words, or JSON inside JSON
        if not broken and all(word in text for word in PROBE_WORDS) and text.count("probe_key") > 1:
            return form
    return None


def takes_thoughts(tokenizer: Any) -> bool:
    """Whether the template writes the `reasoning_content` of an answer."""
    said = {"role": "assistant", "content": "probe_answer", "reasoning_content": "probe_thought"}
    try:
        return "probe_thought" in render_text(tokenizer, [{"role": "user", "content": "probe"}, said], False)
    except WorkbenchError:
        return False


def formed(
    messages: Sequence[Message], tools: Sequence[dict[str, Any]], calls: CallForm | None, thoughts: bool
) -> list[dict[str, Any]]:
    """The messages as the template takes them; with no form for calls, the tools are in words among them."""
    kept = [_thought_in_words(message) if not thoughts else message for message in messages]
    if calls is not None:
        return _formed(kept, calls)
    return _tools_in_words(kept, tools)


def uses_tools(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> bool:
    return bool(tools) or any(message["role"] == "tool" or message.get("tool_calls") for message in messages)


def without_thoughts(message: Message) -> Message:
    """An answer without what was thought before and in it; the same object where nothing was."""
    if message["role"] != "assistant" or ("reasoning_content" not in message and "</think>" not in message["content"]):
        return message
    said = message.copy()
    said.pop("reasoning_content", None)
    *thoughts, words = said["content"].split("</think>")
    before = [thought.partition("<think>")[0] if "<think>" in thought else "" for thought in thoughts]
    if thoughts:
        said["content"] = before[0] * bool(before[0].strip()) + "".join(each.lstrip() for each in [*before[1:], words])
    return said


def _thought_in_words(message: Message) -> Message:
    if not message.get("reasoning_content"):
        return message
    said = message.copy()
    said["content"] = f"<think>\n{said.pop('reasoning_content')}\n</think>\n\n{said['content']}"
    return said


def _formed(messages: Sequence[Message], form: CallForm) -> list[dict[str, Any]]:
    shaped: list[dict[str, Any]] = []
    numbers = itertools.count()
    new_ids: dict[str, str] = {}  # by old ones
    unanswered: list[str] = []  # new ids in the order of their calls
    for message in messages:
        said: dict[str, Any] = {**message}
        if message.get("tool_calls"):
            said["tool_calls"] = [_call(call, form) for call in message["tool_calls"]]
            said["content"] = message["content"] or (None if form.no_content else "")
            for call in said["tool_calls"] if form.new_ids else ():
                new = f"call{next(numbers):0{ID_LETTERS - 4}}"
                new_ids[str(call.get("id", new))] = call["id"] = new
                unanswered.append(new)
        elif message["role"] == "tool" and unanswered:
            said["tool_call_id"] = new_ids.get(str(message.get("tool_call_id")), unanswered[0])
            unanswered = [each for each in unanswered if each != said["tool_call_id"]]
        shaped.append(said)
    return shaped


def _call(call: dict[str, Any], form: CallForm) -> dict[str, Any]:
    function = call.get("function", call)
    arguments = function.get("arguments", {})
    if form.arguments_as_text:
        arguments = json.dumps(arguments, ensure_ascii=False)
    shaped = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {**shaped, "id": call["id"]} if "id" in call else shaped


def _tools_in_words(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    worded: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        said: dict[str, Any] = {**message}
        if calls := said.pop("tool_calls", None):
            said["content"] = "\n".join(filter(None, [message["content"], *map(_call_in_words, calls)]))
        if message["role"] == "tool":
            said = {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
            if index and messages[index - 1]["role"] == "tool":
                worded[-1]["content"] += "\n" + said["content"]
                continue
        worded.append(said)
    if not tools:
        return worded
    own = worded.pop(0)["content"] + "\n\n" if worded and worded[0]["role"] == "system" else ""
    return [{"role": "system", "content": own + _tools_in_system(tools)}, *worded]


def _call_in_words(call: dict[str, Any]) -> str:
    function = call.get("function", call)
    line = _json({"name": function["name"], "arguments": function.get("arguments", {})})
    return f"<tool_call>\n{line}\n</tool_call>"


def _tools_in_system(tools: Sequence[dict[str, Any]]) -> str:
    """The wording of Hermes and Qwen, which many models have seen: https://github.com/NousResearch/Hermes-Function-Calling"""
    listed = "\n".join(map(_json, tools))
    return (
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        f"You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{listed}\n</tools>\n\n"
        "For each function call, return a json object with function name and arguments within <tool_call></tool_call> "
        'XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
