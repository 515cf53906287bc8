"""Whether one example can be trained as what it is: its kind, its roles in order, and that each turn says something.

Owns the questions about an example's shape. What its words look like is asked in `texts.py`.
"""

from __future__ import annotations

import re
from itertools import pairwise

from core.data.conversation import Example, Message
from core.errors import Place, Problem

# What leaves nothing on the page: white space, controls, and the characters Unicode draws as nothing.
_VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0]"
)


def is_visible(text: str) -> bool:
    """Whether anything of the text can be seen."""
    return _VISIBLE.search(text) is not None


def shape_problems(example: Example) -> list[Problem]:
    """D21, D22, D26 and D27: what keeps an example from being learned, or being learned wholly."""
    if example.text is not None:
        return [] if is_visible(example.text) else [_invisible(example, "text")]
    kind = [Problem(f"D21_{example.kind}_data", _place(example))] if example.kind in ("preference", "kto") else []
    return [*kind, *_empty_turns(example), *_order_problems(example)]


def _empty_turns(example: Example) -> list[Problem]:
    return [
        _invisible(example, f"messages[{index}]")
        for index, message in enumerate(example.messages)
        if message["role"] in ("user", "assistant")
        and not message.get("tool_calls")
        and not is_visible(message["content"])
    ]


def _order_problems(example: Example) -> list[Problem]:
    roles = [message["role"] for message in example.messages]
    if "assistant" not in roles:
        return [Problem("D27_no_answer", _place(example))]
    first = next((index for index, role in enumerate(roles) if role != "system"), 0)
    if roles[first] == "assistant":
        return [Problem("D27_answer_first", _place(example, f"messages[{first}]"))]
    problems = []
    if not any(message["role"] == "assistant" and message.get("trained", True) for message in example.messages):
        problems.append(Problem("D27_nothing_trained", _place(example)))
    for index, (before, message) in enumerate(pairwise(example.messages), start=1):
        if key := _out_of_order(before, message):
            place = _place(example, f"messages[{index}]")
            problems.append(Problem(key, place, {"role": message["role"]}, "warning"))
    if roles[-1] != "assistant":
        place = _place(example, f"messages[{len(roles) - 1}]")
        problems.append(Problem("D27_ends_without_answer", place, severity="warning"))
    return problems


def _out_of_order(before: Message, message: Message) -> str | None:
    """What is unusual about a message where it stands, as the key of its problem."""
    role = message["role"]
    if role == "system":
        return "D26_system_inside"
    if role == "tool" and before["role"] != "tool" and not before.get("tool_calls"):
        return "D26_tool_result_unasked"
    if role == before["role"] and role in ("user", "assistant"):
        return "D26_same_role_twice"
    return None


def _invisible(example: Example, field: str) -> Problem:
    return Problem("D22_nothing_visible", _place(example, field), {"field": field})


def _place(example: Example, field: str = "") -> Place:
    return Place(file=example.file, line=example.line, field=field)
