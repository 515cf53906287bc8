"""Names in double braces (`{{name}}`) in examples, and the values a person gives them.

Owns finding and filling them, wherever they stand: in messages, thoughts, tool calls, tools, documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from core.data.conversation import Example
from core.errors import Problem, excerpt

_PLACEHOLDER = re.compile(r"\{\{\s*([^\W\d][\w.-]*)\s*\}\}")
Value = TypeVar("Value")


def placeholder_names(example: Example) -> set[str]:
    """The names that stand in an example; count them over examples with a `Counter`."""
    return set(_names(example.messages) + _names(example.tools) + _names(example.rejected) + _names(example.text))


def filled(example: Example, values: Mapping[str, str]) -> Example:
    """The example with the placeholders that have a value replaced by it; the same object where there are none."""
    if not values or placeholder_names(example).isdisjoint(values):
        return example
    return replace(
        example,
        messages=with_values(example.messages, values),
        tools=with_values(example.tools, values),
        rejected=with_values(example.rejected, values),
        text=with_values(example.text, values),
    )


def with_values(value: Value, values: Mapping[str, str]) -> Value:
    """A text, or the same structure with every text in it, with the placeholders filled that have a value."""
    filling: Any = value
    if isinstance(value, str):
        filling = _PLACEHOLDER.sub(lambda found: values.get(found.group(1), found.group()), value)
    elif isinstance(value, dict):
        filling = {name: with_values(part, values) for name, part in value.items()}
    elif isinstance(value, list | tuple):
        filling = type(value)(with_values(part, values) for part in value)
    return filling  # type: ignore[no-any-return]


def placeholder_problems(found: Mapping[str, int], values: Mapping[str, str]) -> list[Problem]:
    """A warning for each placeholder without a value, and for each value whose placeholder is not in the file.

    `found` are the names with the number of rows each stands in.
    """
    missing = [
        Problem("D29_placeholder_unfilled", values={"name": name, "count": count}, severity="warning")
        for name, count in found.items()
        if name not in values
    ]
    unknown = [
        Problem(
            "D29_placeholder_unknown",
            values={"name": excerpt(name), "known": ", ".join(found) or "–"},
            severity="warning",
        )
        for name in values
        if name not in found
    ]
    return missing + unknown


def _names(value: object) -> list[str]:
    if isinstance(value, str):
        return _PLACEHOLDER.findall(value) if "{{" in value else []
    if isinstance(value, dict):
        return [name for part in value.values() for name in _names(part)]
    if isinstance(value, list | tuple):
        return [name for part in value for name in _names(part)]
    return []
