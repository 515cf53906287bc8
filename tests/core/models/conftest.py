"""Model folders with one thing wrong."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Change = Callable[..., Path]


@pytest.fixture
def tiny_copy(tiny_model_dir: Path, workspace: Any) -> Path:
    """A copy of the tiny model in a fresh `models/`, to be damaged."""
    return Path(shutil.copytree(tiny_model_dir, workspace.models / "tiny"))


def edit_json(path: Path, changes: dict[str, Any]) -> None:
    """Change keys of a JSON file; a value of ... removes its key."""
    values = json.loads(path.read_text())
    for key, value in changes.items():
        if value is ...:
            values.pop(key, None)
        else:
            values[key] = value
    path.write_text(json.dumps(values))


def safetensors_bytes(header: Any, data: bytes = b"") -> bytes:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + data


def keys_of(problems: Any) -> list[str]:
    return [problem.key for problem in problems]


def assert_shown_in_both_languages(problems: Any) -> None:
    """Every part of every text is there and all its values are given."""
    for problem in problems:
        for lang in ("en", "zh"):
            shown = problem.describe(lang)
            assert shown.what and shown.why and shown.fix
