"""A GGUF file judged by its header, before any library reads it.

Owns the bounds on what a stranger's file may claim and the few values that decide whether it can be imported. The
format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import Place, excerpt, refusal

MAGIC = b"GGUF"
MAX_TENSORS = 100_000
MAX_ENTRIES = 10_000
MAX_ARRAY = 5_000_000
MAX_STRING_BYTES = 10_000_000
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class GgufHeader:
    """What an import needs to know. `parameters` counts the weights of all tensors."""

    architecture: str
    name: str
    template: str | None
    parameters: int


def read_gguf_header(path: Path) -> GgufHeader:
    """Read the header, skipping what is not needed.

    Raises:
        WorkbenchError: M11 where it is no GGUF file, is cut off, or claims what no model has.
    """
    place = Place(file=path.name)
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise refusal("M11_not_gguf", place, file=path.name)
            version, tensors, entries = _numbers(file, "<IQQ")
            if version not in (2, 3) or tensors > MAX_TENSORS or entries > MAX_ENTRIES:
                raise refusal("M11_gguf_header", place, file=path.name, reason=f"version {version}, {tensors} tensors")
            values = dict(_entry(file) for _ in range(entries))
            parameters = sum(_tensor_size(file) for _ in range(tensors))
    except (struct.error, ValueError, OverflowError, MemoryError, OSError) as error:
        raise refusal("M11_gguf_header", place, file=path.name, reason=excerpt(error)) from error
    template = values.get("tokenizer.chat_template")
    return GgufHeader(
        architecture=str(values.get("general.architecture", "")),
        name=str(values.get("general.name", "")),
        template=template if isinstance(template, str) else None,
        parameters=parameters,
    )


def _entry(file: BinaryIO) -> tuple[str, Any]:
    key = _string(file)
    (kind,) = _numbers(file, "<I")
    return key, _value(file, kind)


def _value(file: BinaryIO, kind: int) -> Any:
    """A value; arrays are skipped and come back as None."""
    if kind in _NUMBERS:
        return _numbers(file, "<" + _NUMBERS[kind])[0]
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        raise ValueError(f"value type {kind}")
    inner, count = _numbers(file, "<IQ")
    if count > MAX_ARRAY:
        raise ValueError(f"array of {count}")
    if inner in _NUMBERS:
        _skip(file, count * struct.calcsize("<" + _NUMBERS[inner]))
    elif inner == _STRING:
        for _ in range(count):
            (length,) = _numbers(file, "<Q")
            _skip(file, length)
    else:
        raise ValueError(f"array of type {inner}")
    return None


def _tensor_size(file: BinaryIO) -> int:
    _string(file)
    (dimensions,) = _numbers(file, "<I")
    if dimensions > 8:
        raise ValueError(f"{dimensions} dimensions")
    size = 1
    for extent in _numbers(file, f"<{dimensions}Q"):
        size *= extent
    _numbers(file, "<IQ")  # its type and offset
    if size > 2**45:
        raise ValueError(f"tensor of {size}")
    return size


def _string(file: BinaryIO) -> str:
    (length,) = _numbers(file, "<Q")
    if length > MAX_STRING_BYTES:
        raise ValueError(f"text of {length} bytes")
    return file.read(length).decode("utf-8", errors="replace")


def _numbers(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _skip(file: BinaryIO, size: int) -> None:
    if size > MAX_STRING_BYTES:
        raise ValueError(f"value of {size} bytes")
    file.seek(size, 1)
