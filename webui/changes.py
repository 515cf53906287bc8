"""Sending only what is new: the browser looks through its whole page for every property of every component it is sent.

The page itself remembers what it shows, as one mark for each output in a component that is never seen; so nothing is
kept on the server, and a page that was reloaded gets everything. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

HIDDEN = gr.update(visible=False)  # how a component begins that is seen only at times
SKIPPED = gr.skip()


@dataclass(frozen=True)
class Anew:
    """What is sent even where it was before: a person or another handler may have changed it since.

    Its `properties` are sent only where they are new.
    """

    value: Any = field(default_factory=gr.skip)
    properties: Mapping[str, Any] = field(default_factory=dict)


def only_new(updates: Sequence[Any], seen: str | None) -> tuple[list[Any], str]:
    """The updates without those that the page shows already, and what it shows then."""
    marks = (seen or "").split(",")
    known = marks if len(marks) == len(updates) else [""] * len(updates)
    answered = [_new(update, mark) for update, mark in zip(updates, known, strict=True)]
    return [update for update, _ in answered], ",".join(mark for _, mark in answered)


def _new(update: Any, known: str) -> tuple[Any, str]:
    if isinstance(update, Anew):
        sent, mark = _new(gr.update(**update.properties), known) if update.properties else (SKIPPED, known)
        return _with_value(sent, update.value), mark
    if update == SKIPPED:
        return update, known
    mark = f"{zlib.crc32(repr(update).encode('utf-8', 'replace')):x}"
    return (SKIPPED if mark == known or (not known and update == HIDDEN) else update), mark


def _with_value(sent: Any, value: Any) -> Any:
    if sent == SKIPPED:
        return value
    return sent if value == SKIPPED else {**sent, **(value if isinstance(value, dict) else {"value": value})}
