"""Rows become conversations: which of the usual formats a file has, and what each row of it says.

    alpaca             instruction, output; optional input, system, history (pairs of question and answer)
    sharegpt           conversations: [{"from": "human", "value": …}, …]; optional system
    messages           messages: [{"role": "user", "content": …}, …]; optional system
    prompt_completion  prompt and completion; also prompt/response, question/answer, query/response, input/output

Owns the names of keys and roles. Formats that are recognised but cannot be trained yet are named, not guessed at. What
makes a conversation good is asked in `checks.py`.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from core.data.conversation import Example, Message, Role
from core.data.rows import Row, type_name
from core.errors import SHOWN_PROBLEMS, Place, Problem, WorkbenchError, excerpt

FormatName = Literal["alpaca", "sharegpt", "messages", "prompt_completion"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)
UNSUPPORTED_FORMATS = ("preference", "kto", "tool_call", "text")  # each has a text `errors.D21_<name>_data`

TURN_KEYS = ("messages", "conversations", "conversation")
PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("query", "response"),
    ("input", "output"),
)
ROLE_ALIASES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "tool": "tool",
}
USUAL_ROLES = {"sharegpt": ("system", "human", "gpt"), "messages": ("system", "user", "assistant", "tool")}
TOOL_ROLES = ("function_call", "observation", "function")


@dataclass(frozen=True)
class Detection:
    """The format of a file, None where none can be used; `counts` are rows by format, "unknown" among them."""

    format: FormatName | None
    counts: dict[str, int]
    problems: tuple[Problem, ...] = ()


def detect_format(rows: Sequence[Row]) -> Detection:
    """The format most rows have. Mixed files, and formats that cannot be used, are named with counts and lines."""
    names = [_format_of(row.values) for row in rows]
    counts = dict(Counter(name or "unknown" for name in names).most_common())
    usable = [name for name in counts if name in FORMATS]
    recognised = [name for name in counts if name in UNSUPPORTED_FORMATS]
    if not usable and not recognised:
        near = _nearly(rows)
        return Detection(near, counts, () if near else (_unknown_columns(rows),))
    if recognised and (not usable or counts[recognised[0]] > counts[usable[0]]):
        place = Place(line=rows[names.index(recognised[0])].line)
        problem = Problem(f"D21_{recognised[0]}_data", place, {"count": counts[recognised[0]]})
        return Detection(None, counts, (problem,))
    main: FormatName = next(name for name in FORMATS if name == usable[0])
    others = [name for name in counts if name not in (main, "unknown")]
    if not others:
        return Detection(main, counts)
    found = [f"{name} ({counts[name]}; {rows[names.index(name)].line})" for name in (main, *others)]
    place = Place(line=rows[names.index(others[0])].line)
    return Detection(main, counts, (Problem("D19_mixed_formats", place, {"found": ", ".join(found)}),))


def to_examples(rows: Sequence[Row], format: FormatName) -> tuple[list[Example], list[Problem]]:  # noqa: A002
    """The conversation of each row that can be read, and every reason why others cannot, with line and field."""
    read = _READERS[format]
    examples: list[Example] = []
    problems: list[Problem] = []
    renamed: Counter[str] = Counter()
    for row in rows:
        reading = _Reading(row.line, _by_plain_key(row.values), renamed)
        try:
            examples.append(Example(tuple(read(reading)), row.line))
        except WorkbenchError as error:
            problems += error.problems
    usual = USUAL_ROLES.get(format, ())
    seen = [
        f"{role} → {ROLE_ALIASES[role.strip().lower()]} ({count})"
        for role, count in renamed.items()
        if role not in usual
    ]
    if seen:
        problems.append(Problem("D25_roles_read_as", values={"roles": ", ".join(seen)}, severity="warning"))
    return examples, problems


def _format_of(row: Mapping[str, Any]) -> str | None:
    values = _by_plain_key(row)
    turns_key = next((key for key in TURN_KEYS if key in values), None)
    if "chosen" in values and "rejected" in values:
        return "preference"
    if isinstance(values.get("label"), bool) and (turns_key or "completion" in values):
        return "kto"
    if turns_key:
        return _turns_format(values, turns_key)
    if "instruction" in values and "output" in values:
        return "alpaca"
    if any(question in values and answer in values for question, answer in PAIRS):
        return "prompt_completion"
    return "text" if isinstance(values.get("text"), str) else None


def _turns_format(values: Mapping[str, Any], key: str) -> str:
    turns = _parsed(values[key])
    turns = [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    if "tools" in values or any(_is_tool_call(turn) for turn in turns):
        return "tool_call"
    if turns:
        return "sharegpt" if any("from" in turn or "value" in turn for turn in turns) else "messages"
    return "messages" if key == "messages" else "sharegpt"


def _is_tool_call(turn: Mapping[str, Any]) -> bool:
    return bool(turn.get("tool_calls")) or turn.get("from", turn.get("role")) in TOOL_ROLES


def _nearly(rows: Sequence[Row]) -> FormatName | None:
    """Alpaca where its answers stand under a key like `outputs`: the rows are then named one by one with the key."""
    for row in rows:
        values = _by_plain_key(row.values)
        if "instruction" in values and _similar("output", values):
            return "alpaca"
    return None


def _unknown_columns(rows: Sequence[Row]) -> Problem:
    columns = Counter(str(key) for row in rows for key in row.values)
    shown = ", ".join(excerpt(key) for key, _ in columns.most_common(SHOWN_PROBLEMS))
    return Problem("D21_unknown_columns", Place(line=rows[0].line if rows else None), {"columns": shown or "–"})


@dataclass(frozen=True)
class _Reading:
    """One row being read. `renamed` counts, over all rows, the role names that stood in the file."""

    line: int
    values: dict[str, Any]
    renamed: Counter[str]

    def refused(self, key: str, field: str, value: object = "", **values: Any) -> WorkbenchError:
        place = Place(line=self.line, field=field, excerpt=excerpt(value) if value != "" else "")
        return WorkbenchError([Problem(key, place, {"field": field, **values})])

    def text(self, key: str) -> str:
        """The text of a key that may be missing or null, which is the same as empty."""
        value = self.values.get(key)
        return "" if value is None else self.checked_text(value, key)

    def required(self, key: str) -> str:
        """The text of a key. Raises D20 where it is missing, D22 where it is empty, D23 where it is not text."""
        if key not in self.values:
            similar = _similar(key, self.values)
            if similar:
                raise self.refused("D20_key_misspelt", key, similar=similar)
            raise self.refused("D20_key_missing", key, columns=", ".join(excerpt(name) for name in self.values))
        return self.filled_text(self.values[key], key)

    def filled_text(self, value: object, field: str) -> str:
        if value is None or (isinstance(value, str) and not value.strip()):
            raise self.refused("D22_empty_text", field)
        return self.checked_text(value, field)

    def checked_text(self, value: object, field: str) -> str:
        if not isinstance(value, str):
            raise self.refused("D23_not_text", field, value, type=type_name(value))
        return value

    def role(self, value: object, field: str) -> Role:
        known = ROLE_ALIASES.get(value.strip().lower()) if isinstance(value, str) else None
        if known is None:
            raise self.refused("D25_unknown_role", field, known=", ".join(ROLE_ALIASES), role=excerpt(value))
        self.renamed[str(value)] += 1
        return known

    def system(self) -> list[Message]:
        system = self.text("system")
        return [Message(role="system", content=system)] if system.strip() else []


def _alpaca(row: _Reading) -> list[Message]:
    output = row.required("output")
    extra = row.text("input")
    instruction = row.text("instruction") if extra.strip() else row.required("instruction")
    question = f"{instruction}\n{extra}" if instruction.strip() and extra.strip() else instruction or extra
    return [
        *row.system(),
        *_history(row),
        Message(role="user", content=question),
        Message(role="assistant", content=output),
    ]


def _history(row: _Reading) -> list[Message]:
    turns = _parsed(row.values.get("history") or [])
    if not isinstance(turns, list):
        raise row.refused("D23_history_not_pairs", "history", turns)
    messages: list[Message] = []
    for number, turn in enumerate(turns):
        field = f"history[{number}]"
        if not isinstance(turn, list) or len(turn) != 2:
            raise row.refused("D23_history_not_pairs", field, turn)
        messages.append(Message(role="user", content=row.filled_text(turn[0], f"{field}[0]")))
        messages.append(Message(role="assistant", content=row.filled_text(turn[1], f"{field}[1]")))
    return messages


def _prompt_completion(row: _Reading) -> list[Message]:
    question, answer = next((pair for pair in PAIRS if pair[0] in row.values and pair[1] in row.values), PAIRS[0])
    asked, answered = row.required(question), row.required(answer)
    return [*row.system(), Message(role="user", content=asked), Message(role="assistant", content=answered)]


def _turns(row: _Reading) -> list[Message]:
    """The messages of a `sharegpt` or `messages` row; either spelling of its keys is read."""
    key = next((name for name in TURN_KEYS if name in row.values), "messages")
    if key not in row.values:
        row.required(key)
    turns = _parsed(row.values[key])
    if not isinstance(turns, list) or not turns:
        raise row.refused("D24_not_a_list", key, row.values[key], type=type_name(turns))
    messages = [message for number, turn in enumerate(turns) for message in _turn(row, turn, f"{key}[{number}]")]
    return messages if messages and messages[0]["role"] == "system" else [*row.system(), *messages]


def _turn(row: _Reading, turn: object, field: str) -> list[Message]:
    """One message; none where a system message is empty, which says the same as none."""
    if not isinstance(turn, dict):
        raise row.refused("D24_not_a_message", field, turn, type=type_name(turn))
    if _is_tool_call(turn):
        raise row.refused("D25_tool_call", field)
    role_key, content_key = ("from", "value") if "from" in turn or "value" in turn else ("role", "content")
    role = row.role(turn.get(role_key), f"{field}.{role_key}")
    content = _joined_parts(turn.get(content_key))
    if role == "system" and (content is None or content == ""):
        return []
    return [Message(role=role, content=row.filled_text(content, f"{field}.{content_key}"))]


def _joined_parts(content: object) -> object:
    """Content in parts, as some APIs write it, is text where every part is text."""
    if (
        isinstance(content, list)
        and content
        and all(isinstance(part, dict) and part.get("type") == "text" for part in content)
    ):
        return "".join(str(part.get("text", "")) for part in content)
    return content


_READERS: dict[FormatName, Callable[[_Reading], list[Message]]] = {
    "alpaca": _alpaca,
    "sharegpt": _turns,
    "messages": _turns,
    "prompt_completion": _prompt_completion,
}


def _by_plain_key(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its keys in lower case and without spaces around them, as people write columns."""
    return {str(key).strip().lower(): value for key, value in row.items()}


def _similar(key: str, values: Mapping[str, Any]) -> str:
    return next(iter(difflib.get_close_matches(key, list(values), n=1, cutoff=0.75)), "")


def _parsed(value: object) -> object:
    """A list that was written as JSON text into a cell is read; anything else stays what it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
