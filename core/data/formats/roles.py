"""What the columns of a row's roles say, put together as one example. The same for every format.

system, history, messages, user    what is asked, in this order
assistant                          the answer;  with `label` whether it was liked (KTO)
chosen, rejected                   two answers to it, or two whole conversations that differ in their last answer
text                               a document of its own
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.data.conversation import Example, Message, Role
from core.data.formats.names import parsed
from core.data.formats.row_values import Cell, Reading
from core.data.formats.turns import is_turn, read_tools, read_turn, read_turns
from core.data.options import ColumnRole
from core.data.reading.rows import type_name

Cells = Mapping[ColumnRole, Sequence[Cell]]


def read_roles(reading: Reading, cells: Cells, number: int) -> Example:
    """The example that the cells of a row make.

    Raises:
        WorkbenchError: with everything that is wrong with them (D20, D22–D25).
    """
    messages: list[Message] = []
    rejected = text = None
    if "text" in cells:
        text = reading.joined(cells["text"])
    else:
        messages = _asked(reading, cells)
    if "chosen" in cells:
        messages, rejected = _pair(reading, messages, cells["chosen"][0], cells["rejected"][0])
    elif "assistant" in cells:
        messages += _said(reading, "assistant", cells["assistant"])
    label = _label(reading, cells["label"][0], messages) if "label" in cells else None
    tools = read_tools(reading, cells["tools"][0].value, cells["tools"][0].field) if "tools" in cells else ()
    reading.finish()
    return Example(tuple(messages), reading.line, number, reading.file, tools, text, rejected, label)


def _asked(reading: Reading, cells: Cells) -> list[Message]:
    """Everything before the answers, or the whole conversation where it is one list."""
    messages = [message for cell in cells.get("history", ()) for message in _history(reading, cell)]
    for field, value in cells.get("messages", ()):
        messages += read_turns(reading, value, field)
    if "user" in cells:
        messages += _said(reading, "user", cells["user"])
    texts = [reading.text(value, field) for field, value in cells.get("system", ())]
    system = "\n".join(text for text in texts if text.strip())
    return _with_system([Message(role="system", content=system)] if system else [], messages)


def _history(reading: Reading, cell: Cell) -> list[Message]:
    """Earlier turns: pairs of question and answer, or messages."""
    turns = parsed(cell.value) or []
    if isinstance(turns, list) and turns and all(map(is_turn, turns)):
        return read_turns(reading, turns, cell.field)
    if not isinstance(turns, list):
        reading.refuse("D23_history_not_pairs", cell.field, turns)
        return []
    messages: list[Message] = []
    for number, turn in enumerate(turns):
        field = f"{cell.field}[{number}]"
        if not isinstance(turn, list) or len(turn) != 2:
            reading.refuse("D23_history_not_pairs", field, turn)
            continue
        messages.append(Message(role="user", content=reading.filled_text(turn[0], f"{field}[0]")))
        messages.append(Message(role="assistant", content=reading.filled_text(turn[1], f"{field}[1]")))
    return messages


def _said(reading: Reading, role: Role, cells: Sequence[Cell]) -> list[Message]:
    """The turn that the texts of some columns make; a column may also hold messages, as TRL writes them."""
    turns = parsed(cells[0].value)
    if len(cells) == 1 and isinstance(turns, list) and turns and all(map(is_turn, turns)):
        return read_turns(reading, turns, cells[0].field)
    return [Message(role=role, content=reading.joined(cells))]


def _pair(
    reading: Reading, before: list[Message], chosen: Cell, rejected: Cell
) -> tuple[list[Message], Message | None]:
    """The conversation with the chosen answer, and the rejected one. A whole conversation needs nothing before it."""
    liked, disliked = _answers(reading, chosen), _answers(reading, rejected)
    if reading.problems or not liked or not disliked:
        return [], None
    if liked[:-1] != disliked[:-1]:
        reading.refuse("D24_pair_differs", rejected.field, chosen=chosen.field)
    if all(message["role"] == "assistant" for message in liked):
        messages = [*before, *liked]
    else:
        messages = _with_system([message for message in before if message["role"] == "system"], liked)
    if not any(message["role"] == "user" for message in messages):
        reading.refuse("D20_question_missing", chosen.field)
    return messages, disliked[-1]


def _answers(reading: Reading, cell: Cell) -> list[Message]:
    """An answer as text or as a message, or the conversation that ends with it."""
    value = parsed(cell.value)
    if isinstance(value, list) and (value is cell.value or all(map(is_turn, value))):
        messages = read_turns(reading, value, cell.field)
    elif is_turn(value):
        message = read_turn(reading, value, cell.field)
        messages = [message] if message else []
    else:
        messages = [Message(role="assistant", content=reading.filled_text(cell.value, cell.field))]
    _must_end_with_answer(reading, messages, cell.field)
    return messages


def _label(reading: Reading, cell: Cell, messages: list[Message]) -> bool:
    _must_end_with_answer(reading, messages, cell.field)
    label = as_label(cell.value)
    if label is None:
        reading.refuse("D23_not_a_label", cell.field, cell.value, type=type_name(cell.value))
    return bool(label)


def as_label(value: object) -> bool | None:
    """True or false, also as a table's cell writes them; None where it is neither."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _must_end_with_answer(reading: Reading, messages: list[Message], field: str) -> None:
    if messages and messages[-1]["role"] != "assistant" and not reading.problems:
        reading.refuse("D24_no_answer_last", field, role=messages[-1]["role"])


def _with_system(system: list[Message], messages: list[Message]) -> list[Message]:
    """The messages behind a system prompt, unless they have one of their own."""
    return messages if messages and messages[0]["role"] == "system" else [*system, *messages]
