"""A file becomes rows: bytes → text → the rows of a JSON array, `{"data": [...]}`, JSON lines or a table.

Owns the first look at the bytes (size, encoding, files that are something else) and the choice of the container, which
is made by content; the suffix decides only where the content does not. The containers are read in `json_rows.py` and
`table_rows.py`. What the rows mean is not asked here (`formats.py`).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from core.data.json_rows import read_json
from core.data.rows import Row
from core.data.table_rows import looks_like_table, read_table
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal

__all__ = ["MAX_FILE_BYTES", "Row", "naming", "read_rows"]

MAX_FILE_BYTES = 500 * 1024 * 1024
GUESSED_ENCODINGS = ("gb18030", "shift_jis", "latin-1")
SIGNATURES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"%PDF": "PDF",
    b"PK\x03\x04": "ZIP / XLSX / DOCX",
    b"\xd0\xcf\x11\xe0": "XLS / DOC",
    b"\x1f\x8b": "GZIP",
    b"PAR1": "Parquet",
    b"MZ": "EXE",
    b"\x7fELF": "ELF",
    b"SQLite format 3": "SQLite",
}
WIDE_ENCODINGS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_rows(path: Path) -> tuple[list[Row], list[Problem]]:
    """All rows of a file with their lines, and everything that was wrong with others.

    Raises:
        WorkbenchError: D01 where there is no row, D04 and D06 where it is not text, D07 and D11 where a JSON document
            ends early or is none, D18 where the file is too big, D21 where it is prose; every bad row where none is
            good.
    """
    with naming(path.name):
        text, problems = _text(_content(path))
        if not text.strip():
            raise refusal("D01_no_rows")
        if text.lstrip()[0] in "[{" or path.suffix.lower() in (".json", ".jsonl"):
            found = read_json(text)
        elif path.suffix.lower() in (".csv", ".tsv") or looks_like_table(text):
            found = read_table(text)
        else:
            raise refusal("D21_plain_text", Place(line=1, excerpt=excerpt(text.strip())))
        problems += found.problems
        if not found.rows:
            errors = [problem for problem in problems if problem.severity == "error"]
            raise WorkbenchError(errors) if errors else refusal("D01_no_rows")
    return found.rows, [_in_file(problem, path.name) for problem in problems]


@contextmanager
def naming(file: str) -> Iterator[None]:
    """Whatever is refused inside names the file."""
    try:
        yield
    except WorkbenchError as error:
        raise WorkbenchError([_in_file(problem, file) for problem in error.problems], error.total) from error


def _in_file(problem: Problem, file: str) -> Problem:
    return replace(problem, place=replace(problem.place, file=problem.place.file or file))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise refusal("D18_file_too_big", megabytes=MAX_FILE_BYTES // 2**20)
        return path.read_bytes()
    except OSError as error:
        raise refusal("D45_file_unreadable", reason=error.strerror or "") from error


def _text(content: bytes) -> tuple[str, list[Problem]]:
    """The file's text without byte-order marks, and a note of what was done to get it."""
    problems: list[Problem] = []
    wide = next((name for mark, name in WIDE_ENCODINGS if content.startswith(mark)), None)
    if wide:
        problems.append(Problem("D03_decoded", values={"encoding": wide.upper()}, severity="warning"))
        text = _decoded(content, wide)
    else:
        _refuse_other_kinds(content)
        text = _decoded(content.removeprefix(codecs.BOM_UTF8), "utf-8")
    mark = re.search(r"^\ufeff", text, re.MULTILINE) if "\ufeff" in text else None
    if mark:
        place = Place(line=text.count("\n", 0, mark.start()) + 1)
        problems.append(Problem("D02_mark_inside", place, severity="warning"))
        text = re.sub(r"^\ufeff+", "", text, flags=re.MULTILINE)
    return text, problems


def _refuse_other_kinds(content: bytes) -> None:
    kind = next((name for mark, name in SIGNATURES.items() if content.startswith(mark)), None)
    if kind:
        raise refusal("D06_other_kind", kind=kind)
    nul = content.find(b"\0")
    if nul >= 0:
        raise refusal("D06_nul_byte", Place(line=content.count(b"\n", 0, nul) + 1), byte=nul)


def _decoded(content: bytes, encoding: str) -> str:
    """Raises D04 with the first byte that is not of the encoding, and what its line would be in a likely one."""
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        bad = error.start
    begin = content.rfind(b"\n", 0, bad) + 1
    end = content.find(b"\n", bad)
    line = content[begin : end if end >= 0 else len(content)]
    guess, seen = _guess(content, line)
    place = Place(line=content.count(b"\n", 0, bad) + 1, excerpt=excerpt(seen))
    raise refusal("D04_not_utf8", place, encoding=encoding.upper(), byte=bad, guess=guess)


def _guess(content: bytes, line: bytes) -> tuple[str, str]:
    for encoding in GUESSED_ENCODINGS:
        try:
            content.decode(encoding)
            return encoding.upper(), line.decode(encoding, "replace")
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes every byte")
