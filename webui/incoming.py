"""What a browser sent, made fit for a handler: whole characters, and of the type that the handler declares.

Every handler can be called with anything, so nothing the page itself would send is taken for granted. Owns plain types
and what no answer could carry back; what a value may be is checked by `core`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any

import gradio as gr

from core.data.conversation import whole_text
from core.errors import Place, excerpt, refusal

# Annotations that are checked; values of handlers annotated otherwise are checked where they are used.
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, NoneType),
    "float | None": (int, float, NoneType),
}
_LARGEST_INTEGER = 2**63 - 1
MAX_NUMBER = 1_000_000_000  # of rows, lines and tokens


def received(handler: Callable[..., Any], values: Sequence[Any], first: int) -> list[Any]:
    """The values for a handler's parameters from number `first` on.

    Raises:
        WorkbenchError: H01 for a value of another type than the handler declares.
    """
    clean = [whole(value) for value in values]
    for value, parameter in zip(clean, list(inspect.signature(handler).parameters.values())[first:], strict=False):
        if parameter.kind is parameter.VAR_POSITIONAL:
            break
        checked_type(value, parameter.name, _TYPES.get(str(parameter.annotation), (object,)))
    return clean


def received_event(event: gr.EventData) -> gr.EventData:
    """Event data whose parts are read with `getattr`: any of them may be missing or of any type."""
    data = event._data
    return gr.EventData(event.target, whole(data) if isinstance(data, dict) else {})


def refuse_addresses(value: Any) -> None:
    """Refuse what names a file by an address: gradio would fetch it, and nothing leaves the machine unasked.

    Raises:
        WorkbenchError: A26 with the address.
    """
    if isinstance(value, list):
        for entry in value:
            refuse_addresses(entry)
    elif isinstance(value, dict):
        path = value.get("path")
        if isinstance(value.get("meta"), dict) and isinstance(path, str) and "://" in path:
            raise refusal("A26_file_by_address", Place(excerpt=excerpt(path)))
        refuse_addresses(list(value.values()))


def first_cell(event: gr.EventData) -> str:
    """The first cell of the row that was clicked in a table; "" where no such row came."""
    row = getattr(event, "row_value", None)
    return row[0] if isinstance(row, list) and row and isinstance(row[0], str) else ""


def checked_type(value: Any, name: str, types: tuple[type, ...] = (str, NoneType)) -> Any:
    """A value of one of these types, by default a text or nothing.

    Raises:
        WorkbenchError: H01 with what came instead.
    """
    if not isinstance(value, types):
        seen = excerpt(repr(value))
        raise refusal("H01_not_from_the_page", Place(field=name, excerpt=seen), field=name, seen=seen)
    return value


def whole_number(value: object, least: int, default: int) -> int:
    """A whole number of at least `least` that a page could send; `default` for anything else."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if good and least <= value <= MAX_NUMBER else default  # type: ignore[call-overload, operator]


def whole(value: Any) -> Any:
    """The value without what would end the stream of answers on its way back.

    Half characters (lone surrogates) become question marks, integers beyond 64 bits become floats, as in a browser.
    """
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, list):
        return [whole(entry) for entry in value]
    if isinstance(value, dict):
        return {whole(key): whole(entry) for key, entry in value.items()}
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return float(value) if abs(value) < 10**308 else float("inf")
    return value
