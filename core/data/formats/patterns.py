"""Text Generation WebUI's format files: `{"instruction,output": "User: %instruction%\\nAssistant: %output%"}`.

Each entry names columns and a text with their values between percent signs. The entry whose columns are all filled in a
row is used, the one with most columns first. What stands before the last column of the text becomes the user's turn,
without the spaces at its end; that column and what follows it becomes the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.data.formats.names import plain_key
from core.data.formats.roles import Cells
from core.data.formats.row_values import Cell, Reading
from core.errors import SHOWN_PROBLEMS, Place, Problem, WorkbenchError, excerpt, refusal


@dataclass(frozen=True)
class Entry:
    """One entry of a format file: the columns it needs, and the two halves of its text."""

    columns: tuple[str, ...]
    question: str
    answer: str
    place: re.Pattern[str]

    def filled(self, text: str, values: Mapping[str, str]) -> str:
        return self.place.sub(lambda found: values[plain_key(found[1])], text)


def read_patterns(content: bytes, file: str) -> dict[str, str]:
    """The entries of a format file.

    Raises:
        WorkbenchError: D21 where it is no format file, with everything that is wrong with its entries.
    """
    try:
        patterns = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise refusal("D21_no_format_file", Place(file=file)) from error
    if not isinstance(patterns, dict) or not patterns or not all(isinstance(text, str) for text in patterns.values()):
        raise refusal("D21_no_format_file", Place(file=file))
    usable_patterns(patterns, file)
    return patterns


def usable_patterns(patterns: Mapping[str, str], file: str = "") -> tuple[Entry, ...]:
    """The entries in the order in which they are tried.

    Raises:
        WorkbenchError: D21 where there are none, or some have no question or no answer.
    """
    if not patterns:
        raise refusal("D21_no_format_file", Place(file=file))
    problems: list[Problem] = []
    entries = []
    for names, text in patterns.items():
        columns = tuple(plain_key(name) for name in names.split(",") if name.strip())
        place = re.compile(f"%({'|'.join(map(re.escape, columns))})%", re.IGNORECASE)
        found = list(place.finditer(text)) if columns else []
        absent = [name for name in columns if name not in {plain_key(match[1]) for match in found}]
        at = Place(file=file, field=excerpt(names), excerpt=excerpt(text))
        if absent or not columns:
            problems.append(Problem("D21_pattern_column_unused", at, {"columns": ", ".join(absent) or "–"}))
        elif not text[: found[-1].start()].strip():
            problems.append(Problem("D21_pattern_without_question", at))
        else:
            cut = found[-1].start()
            entries.append(Entry(columns, text[:cut].rstrip(), text[cut:], place))
    if problems:
        raise WorkbenchError(problems)
    return tuple(sorted(entries, key=lambda entry: -len(entry.columns)))


def read_entry(reading: Reading, entries: Sequence[Entry], values: Mapping[str, Any]) -> Cells:
    """The question and answer that the first fitting entry makes of a row, given by plain keys.

    Raises:
        WorkbenchError: D20 where no entry fits, D23 where a column is not text.
    """
    filled = {name for name, value in values.items() if value is not None and str(value).strip()}
    entry = next((entry for entry in entries if filled.issuperset(entry.columns)), None)
    if entry is None:
        known = "; ".join(",".join(entry.columns) for entry in entries[:SHOWN_PROBLEMS])
        shown = ", ".join(excerpt(name) for name in sorted(filled)[:SHOWN_PROBLEMS])
        reading.refuse("D20_no_pattern_fits", "", known=known, columns=shown or "–")
        reading.finish()
        return {}
    texts = {name: reading.text(values[name], name) for name in entry.columns}
    reading.finish()
    question, answer = entry.filled(entry.question, texts), entry.filled(entry.answer, texts)
    return {"user": [Cell(entry.columns[0], question)], "assistant": [Cell(entry.columns[-1], answer)]}
