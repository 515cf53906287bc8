"""Which format most rows of a file have, and the columns a person may map where they have none.

    alpaca             instruction, output; optional input, system, history (pairs of question and answer)
    sharegpt           conversations: [{"from": "human", "value": …}, …]; optional system, tools
    messages           messages: [{"role": "user", "content": …}, …]; optional system, tools
    prompt_completion  prompt and completion, question and answer, 问题 and 回答 … (`names.py` has them all)
    text               text, document or content
    preference         chosen, rejected; before them prompt, messages or conversations
    kto                a conversation, or prompt and completion, with a label that is true or false

`mapped` and `patterns` are never detected: a person chooses them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.data.formats.names import (
    EXTRAS,
    INSTRUCTIONS,
    NAMES,
    NOT_A_DOCUMENT,
    by_plain_key,
    columns_of,
    parsed,
    similar,
)
from core.data.formats.paths import leaves
from core.data.formats.roles import as_label
from core.data.formats.turns import is_shared_turn, is_turn
from core.data.options import FORMATS, ColumnRole, FormatName
from core.data.reading.rows import Row, type_name
from core.errors import SHOWN_PROBLEMS, Place, Problem, excerpt

MAX_COLUMNS = 200
SAMPLES = 3
SAMPLED_ROWS = 20
_TELLING: tuple[ColumnRole, ...] = ("messages", "user", "assistant", "label", "text")


@dataclass(frozen=True)
class Column:
    """A place in the rows: its path, some of what stands there, its type, and the role its name suggests."""

    path: str
    samples: tuple[str, ...]
    kind: str
    guess: ColumnRole | None


@dataclass(frozen=True)
class Detection:
    """The format of a file, None where none can be used; `counts` are rows by format, "unknown" among them."""

    format: FormatName | None
    counts: dict[str, int]
    problems: tuple[Problem, ...]
    columns: tuple[Column, ...]


def detect_format(rows: Sequence[Row]) -> Detection:
    """The format that most of the first rows of a file have, as far as any is known."""
    plain = [by_plain_key(row.values) for row in rows]
    counts = Counter(format_of(values) or "unknown" for values in plain)
    main = next((name for name, _ in counts.most_common() if name != "unknown"), None) or _nearly(plain)
    format: FormatName | None = next((name for name in FORMATS if name == main), None)  # noqa: A001
    problems = () if format or not rows else (_unknown_columns(rows),)  # without a row, others say why
    return Detection(format, dict(counts.most_common()), problems, _columns(rows))


def format_of(values: Mapping[str, Any]) -> FormatName | None:
    """The format of one row, given by plain keys; None where its keys are those of none."""
    columns = columns_of(tuple(values))
    if "chosen" in columns and "rejected" in columns:
        return "preference"
    turns, question, answer, label, document = map(columns.get, _TELLING)
    if label and as_label(values[label]) is not None and (turns or (question and answer)):
        return "kto"
    if turns:
        return _turns_format(values[turns], turns)
    if question and answer:
        return "alpaca" if question in INSTRUCTIONS else "prompt_completion"
    alone = not question and not answer and not any(key in values for key in NOT_A_DOCUMENT)
    return "text" if document and alone and isinstance(values[document], str) else None


def _turns_format(value: object, key: str) -> FormatName:
    turns = parsed(value)
    turns = [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    if turns:
        return "sharegpt" if any(map(is_shared_turn, turns)) else "messages"
    return "messages" if key == "messages" else "sharegpt"


def _nearly(plain: Sequence[Mapping[str, Any]]) -> FormatName | None:
    """Alpaca where its answers stand under a key like `outputs`: the rows are then named one by one with the key."""
    return "alpaca" if any("instruction" in values and similar("output", values) for values in plain) else None


def _unknown_columns(rows: Sequence[Row]) -> Problem:
    columns = Counter(str(key) for row in rows for key in row.values)
    shown = ", ".join(excerpt(key) for key, _ in columns.most_common(SHOWN_PROBLEMS))
    return Problem("D21_unknown_columns", Place(line=rows[0].line if rows else None), {"columns": shown or "–"})


def _columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    samples: dict[str, list[str]] = {}
    values: dict[str, Any] = {}  # the first that is not null, by path
    for number, row in enumerate(rows):
        for path, value in leaves(row.values):
            if path not in samples and len(samples) == MAX_COLUMNS:
                continue
            seen = samples.setdefault(path, [])
            if values.get(path) is None:
                values[path] = value
            if len(seen) < SAMPLES and (number < SAMPLED_ROWS or not seen) and value not in (None, ""):
                shown = excerpt(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
                seen += [shown] if shown not in seen else []
    return tuple(
        Column(path, tuple(seen), type_name(values[path]), _guess(path, values[path])) for path, seen in samples.items()
    )


def _guess(path: str, value: object) -> ColumnRole | None:
    """The role that a column's name and first value suggest."""
    turns = parsed(value)
    if isinstance(turns, list) and turns and is_turn(turns[0]):
        return "messages"
    name = path.rpartition(".")[2].strip().lower()
    role = next((role for role, names in NAMES.items() if name in names), "user" if name in EXTRAS else None)
    fits = {"messages": False, "label": as_label(value) is not None, "text": isinstance(value, str)}
    return role if role and fits.get(role, True) else None
