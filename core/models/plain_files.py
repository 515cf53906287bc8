"""Reading small files of a model folder that a stranger made.

Owns size limits, broken JSON and git-lfs pointers; what the content means is for those who ask.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.errors import Place, Problem, excerpt

LFS_HEAD = b"version https://git-lfs"


def read_json_object(path: Path, max_bytes: int, broken_key: str) -> dict[str, Any] | Problem:
    """The JSON object in a file, or the one problem that keeps it from being read.

    `broken_key` is the catalogue key for "not a JSON object"; it is given `file` and `reason`.
    """
    place = place_of(path)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            return Problem("M02_file_too_big", place, {"file": path.name, "bytes": size, "limit": max_bytes})
        content = path.read_bytes()
    except OSError as error:
        return unreadable(path, error)
    if content.startswith(LFS_HEAD):
        return Problem("M10_lfs_pointer", place, {"file": path.name})
    try:
        values = json.loads(content)
    except json.JSONDecodeError as error:
        place = Place(file=place.file, line=error.lineno, excerpt=excerpt(error.doc[error.pos : error.pos + 60]))
        return Problem(broken_key, place, {"file": path.name, "reason": error.msg})
    except (ValueError, RecursionError) as error:
        values = type(error).__name__
    if isinstance(values, dict):
        return values
    return Problem(broken_key, place, {"file": path.name, "reason": excerpt(values)})


def unreadable(path: Path, error: Exception) -> Problem:
    """M01 with what the system says."""
    reason = getattr(error, "strerror", None) or str(error)
    return Problem("M01_unreadable", place_of(path), {"name": excerpt(path.name), "reason": excerpt(reason)})


def place_of(path: Path) -> Place:
    """A file of a model as people know it: its folder's name and its own."""
    return Place(file=f"{path.parent.name}/{path.name}")
