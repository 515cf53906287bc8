"""Places inside nested rows: `instances[0].input` is the input of the first of a row's instances.

Keys may themselves hold dots and brackets; whatever `leaves` names, `value_at` finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from core.data.formats.names import parsed
from core.data.formats.turns import is_turn

MISSING = object()
MAX_LEVELS = 8
_INDEX = re.compile(r"\[(\d{1,6})\](.*)", re.DOTALL)


def value_at(value: Any, path: str) -> Any:
    """What stands at a path, MISSING where nothing does. JSON that was written as text into a cell is looked into."""
    if not path:
        return value
    value = parsed(value, "[{")
    if isinstance(value, list):
        found = _INDEX.fullmatch(path)
        inside = found is not None and int(found[1]) < len(value)
        return value_at(value[int(found[1])], found[2].removeprefix(".")) if found and inside else MISSING
    if not isinstance(value, dict):
        return MISSING
    if path in value:
        return value[path]
    inner = (
        value_at(entry, path[len(key) :].removeprefix("."))
        for key, entry in value.items()
        if path.startswith((f"{key}.", f"{key}["))
    )
    return next((found for found in inner if found is not MISSING), MISSING)


def leaves(value: Any, path: str = "", levels: int = MAX_LEVELS) -> Iterator[tuple[str, Any]]:
    """Every place of a row that a person could mean, with its value: of a list of objects the first is looked into.

    A message and a list of messages are one place, and so is a list of anything that is no object. What is empty is
    no place.
    """
    if isinstance(value, dict) and value and not is_turn(value) and levels:
        for key, entry in value.items():
            yield from leaves(entry, f"{path}.{key}" if path else str(key), levels - 1)
    elif isinstance(value, list) and value and isinstance(value[0], dict) and not is_turn(value[0]) and levels:
        yield from leaves(value[0], f"{path}[0]", levels - 1)
    elif path and value not in ([], {}):
        yield path, value
