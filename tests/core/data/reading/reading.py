"""What the tests of reading share: a whole file at once, rows apart from problems."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from core.data.reading.streams import Row, open_rows
from core.errors import Problem

ROW = '{"instruction": "a", "output": "b"}'


def read(path: Path, encoding: str | None = None, sheet: str | None = None) -> tuple[list[Row], list[Problem]]:
    with open_rows(path, encoding, sheet) as stream:
        items = list(stream)
        assert stream.share == 1.0
    problems = [item for item in items if isinstance(item, Problem)]
    assert all(problem.describe("en") != problem.describe("zh") for problem in problems)
    return [item for item in items if isinstance(item, Row)], problems


def keys(problems: list[Problem]) -> list[str]:
    return [problem.key for problem in problems]


def zipped(members: Mapping[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
