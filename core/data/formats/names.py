"""What columns and speakers are called in the files people have, in English and Chinese.

Owns the names alone: which of them make a format is decided in `detection.py`, what they hold is read in `roles.py`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from core.data.conversation import Role, whole_text
from core.data.options import ColumnRole, FormatName
from core.data.reading.rows import MAX_DEPTH

# The names a column of each role goes by; where a row has several, the first is meant.
NAMES: dict[ColumnRole, tuple[str, ...]] = {
    "system": ("system", "system_prompt", "系统提示词", "系统提示", "系统"),
    "history": ("history", "历史对话", "历史"),
    "messages": ("messages", "conversations", "conversation", "对话"),
    "user": (
        *("instruction", "指令", "prompt", "question", "query", "problem", "input", "user", "human"),
        *("问题", "提问", "问", "提示词", "提示", "输入", "用户"),
    ),
    "assistant": (
        *("output", "completion", "response", "solution", "answer", "reply", "target", "assistant", "gpt"),
        *("输出", "回答", "答案", "答复", "回复", "答", "助手"),
    ),
    "tools": ("tools", "functions", "工具"),
    "text": ("text", "document", "content", "文本", "正文", "内容"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "label": ("label", "kto_tag"),
}
INSTRUCTIONS = ("instruction", "指令")  # a question under one of these makes a row Alpaca
EXTRAS = ("input", "context", "输入", "上下文", "背景")  # more of the question, put behind it
NOT_A_DOCUMENT = ("role", "label")  # beside these a text is a message or something to classify

# The roles that are read for each format, and those without which a row is refused.
ROLES: dict[FormatName, tuple[ColumnRole, ...]] = {
    "alpaca": ("system", "history", "user", "assistant", "tools"),
    "prompt_completion": ("system", "history", "user", "assistant", "tools"),
    "sharegpt": ("system", "messages", "tools"),
    "messages": ("system", "messages", "tools"),
    "text": ("text",),
    "preference": ("system", "history", "messages", "user", "chosen", "rejected", "tools"),
    "kto": ("system", "history", "messages", "user", "assistant", "label", "tools"),
}
REQUIRED: dict[FormatName, tuple[ColumnRole, ...]] = {
    "alpaca": ("user", "assistant"),
    "prompt_completion": ("user", "assistant"),
    "sharegpt": ("messages",),
    "messages": ("messages",),
    "text": ("text",),
    "preference": ("chosen", "rejected"),
    "kto": ("label",),
}
USUAL_NAMES: dict[FormatName, dict[ColumnRole, str]] = {
    "alpaca": {"user": "instruction", "assistant": "output"},
    "prompt_completion": {"user": "prompt", "assistant": "completion"},
    "sharegpt": {"messages": "conversations"},
    "kto": {"user": "prompt", "assistant": "completion"},
}

SPEAKERS: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "系统": "system",
    "user": "user",
    "human": "user",
    "用户": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "助手": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "ipython": "tool",
    "工具": "tool",
}
_SURROGATE = re.compile(r"\\ud[89a-f]", re.IGNORECASE)
SHOWN_SPEAKERS = ("system", "user", "assistant", "tool", "human", "gpt", "function_call", "observation")
CALLERS = ("function_call", "tool_call")  # an assistant's turn whose text is the JSON of a call
USUAL_SPEAKERS: dict[FormatName, tuple[str, ...]] = {
    "sharegpt": ("system", "human", "gpt", "function_call", "observation", "tool"),
    "messages": ("system", "developer", "user", "assistant", "tool", "function"),
}
USUAL_ELSEWHERE = ("system", "human", "gpt", "user", "assistant", "tool")


@lru_cache(maxsize=4096)
def plain_key(key: str) -> str:
    """A key in lower case and without spaces around it, as people write columns."""
    return key.strip().lower()


def by_plain_key(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row by plain keys; of two that are one then, the one that was plain already."""
    plain = {plain_key(str(key)): value for key, value in row.items()}
    if len(plain) < len(row):
        plain.update({key: row[key] for key in plain if key in row})
    return plain


@lru_cache(maxsize=128)
def columns_of(keys: tuple[str, ...]) -> Mapping[ColumnRole, str]:
    """The key that the column of each role stands under, for a row with these plain keys; most rows of a file agree."""
    present = set(keys)
    found = {role: next((name for name in names if name in present), None) for role, names in NAMES.items()}
    return {role: name for role, name in found.items() if name is not None}


def similar(name: str, keys: Iterable[str], cutoff: float = 0.75) -> str:
    """The key that was probably meant, "" where none is near."""
    return next(iter(difflib.get_close_matches(name, list(keys), n=1, cutoff=cutoff)), "")


def parsed(value: object, opening: str = "[") -> object:
    """A list (or what begins with one of `opening`) that was written as JSON text is read; anything else stays."""
    if not isinstance(value, str) or not value.lstrip().startswith(tuple(opening)):
        return value
    try:
        read = json.loads(value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return value
    if value.count("[") + value.count("{") > MAX_DEPTH and not _is_shallow(read, MAX_DEPTH):
        return value
    return json.loads(whole_text(json.dumps(read, ensure_ascii=False))) if _SURROGATE.search(value) else read


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no value")


def _is_shallow(value: object, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(entry, levels - 1) for entry in inside)
