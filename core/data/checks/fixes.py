"""What can safely be done about problems: each fix is a choice of the recipe, and the file is never changed.

Owns what every fix does to an example. Fixes of rows look at one example; those of the set leave examples out, which
only `SetChecker` can decide (`SetFacts.drops`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from core.data.checks.personal_data import masked
from core.data.checks.texts import is_given_away, repaired, trimmed, without_special_tokens
from core.data.conversation import Example, Message
from core.data.options import FIXES, FixName

SET_FIXES: tuple[FixName, ...] = ("drop_contradictions", "drop_duplicates", "drop_near_duplicates")
ROW_FIXES: tuple[FixName, ...] = tuple(name for name in FIXES if name not in SET_FIXES)
CURES: Mapping[FixName, frozenset[str]] = {
    "trim_text": frozenset({"D46_invisible_characters", "D22_spaces_around"}),
    "repair_encoding": frozenset({"D05_garbled_text"}),
    "remove_special_tokens": frozenset({"D29_special_tokens"}),
    "merge_same_role": frozenset({"D26_same_role_twice"}),
    "drop_inner_system": frozenset({"D26_system_inside"}),
    "drop_opening_answer": frozenset({"D27_answer_first"}),
    "drop_unanswered_end": frozenset({"D27_ends_without_answer"}),
    "mask_personal_data": frozenset({"D48_personal_data"}),
    "keep_chosen": frozenset({"D21_preference_data"}),
    "keep_liked": frozenset({"D21_kto_data"}),
    "drop_contained_answers": frozenset({"D47_answer_in_question"}),
    "drop_contradictions": frozenset({"D51_contradictions"}),
    "drop_duplicates": frozenset({"D31_duplicates", "D31_all_equal"}),
    "drop_near_duplicates": frozenset({"D31_near_duplicates"}),
}


def fixed(example: Example, fixes: Sequence[FixName]) -> Example | None:
    """The example after the row fixes in their order; None where one leaves it out.

    The same object where nothing changes. Fixes of the set are passed over.
    """
    done: Example | None = example
    for name in fixes:
        if name in _FIXES and done is not None:
            done = _FIXES[name](done)
    return done


def _rewritten(change: Callable[[str], str], example: Example) -> Example:
    """The example with every text of a person or a model changed, those given to tools among them."""
    messages = [_rewritten_message(change, message) for message in example.messages]
    rejected = _rewritten_message(change, example.rejected) if example.rejected else None
    text = None if example.text is None else change(example.text)
    same = rejected is example.rejected and text == example.text
    if same and all(new is old for new, old in zip(messages, example.messages, strict=True)):
        return example
    return replace(example, messages=tuple(messages), rejected=rejected, text=text)


def _rewritten_message(change: Callable[[str], str], message: Message) -> Message:
    done = message.copy()
    done["content"] = change(message["content"])
    if "reasoning_content" in message:
        done["reasoning_content"] = change(message["reasoning_content"])
    if "tool_calls" in message:
        done["tool_calls"] = _rewritten_value(change, message["tool_calls"])
    return message if done == message else done


def _rewritten_value(change: Callable[[str], str], value: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _rewritten_value(change, part) for name, part in value.items()}
    return [_rewritten_value(change, part) for part in value] if isinstance(value, list) else value


def _merge_same_role(example: Example) -> Example:
    """Turns of different names or weights stay two: which would hold for both?"""
    merged: list[Message] = []
    for message in example.messages:
        before = merged[-1] if merged else None
        alike = before and all(before.get(name) == message.get(name) for name in ("role", "name", "trained"))
        if before and alike and message["role"] in ("user", "assistant"):
            merged[-1] = _joined(before, message)
        else:
            merged.append(message)
    return _with_messages(example, merged)


def _joined(before: Message, message: Message) -> Message:
    done = before.copy()
    done["content"] = "\n".join(filter(None, (before["content"], message["content"])))
    thoughts = [said["reasoning_content"] for said in (before, message) if "reasoning_content" in said]
    if thoughts:
        done["reasoning_content"] = "\n".join(thoughts)
    calls = [call for said in (before, message) for call in said.get("tool_calls", ())]
    if calls:
        done["tool_calls"] = calls
    return done


def _drop_inner_system(example: Example) -> Example:
    kept = [said for index, said in enumerate(example.messages) if index == 0 or said["role"] != "system"]
    return _with_messages(example, kept)


def _drop_opening_answer(example: Example) -> Example:
    asked = next((index for index, said in enumerate(example.messages) if said["role"] == "user"), 0)
    kept = [said for index, said in enumerate(example.messages) if index >= asked or said["role"] == "system"]
    return _with_messages(example, kept)


def _drop_unanswered_end(example: Example) -> Example:
    answers = [index for index, said in enumerate(example.messages) if said["role"] == "assistant"]
    return _with_messages(example, example.messages[: answers[-1] + 1]) if answers else example


def _with_messages(example: Example, messages: Sequence[Message]) -> Example:
    """With other messages; the same where there are as many, as these fixes only leave out or join."""
    return example if len(messages) == len(example.messages) else replace(example, messages=tuple(messages))


def _keep_chosen(example: Example) -> Example:
    return example if example.rejected is None else replace(example, rejected=None)


def _keep_liked(example: Example) -> Example | None:
    if example.label is None:
        return example
    return replace(example, label=None) if example.label else None


def _drop_contained_answers(example: Example) -> Example | None:
    return None if is_given_away(example) else example


_FIXES: Mapping[FixName, Callable[[Example], Example | None]] = {
    "trim_text": partial(_rewritten, trimmed),
    "repair_encoding": partial(_rewritten, repaired),
    "remove_special_tokens": partial(_rewritten, without_special_tokens),
    "merge_same_role": _merge_same_role,
    "drop_inner_system": _drop_inner_system,
    "drop_opening_answer": _drop_opening_answer,
    "drop_unanswered_end": _drop_unanswered_end,
    "mask_personal_data": partial(_rewritten, masked),
    "keep_chosen": _keep_chosen,
    "keep_liked": _keep_liked,
    "drop_contained_answers": _drop_contained_answers,
}
