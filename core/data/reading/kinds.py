"""Which kind of file it is, told by its content, and the reader for it.

Owns the first look at the bytes; the suffix decides only where the content does not. Folders and archives are opened
in `archives.py`, which asks here about each member.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from core.data.reading.document_rows import read_document
from core.data.reading.json_rows import looks_like_json, read_json
from core.data.reading.rows import Container, Row
from core.data.reading.table_rows import looks_like_table, read_table
from core.data.reading.texts import TextSource
from core.data.reading.zips import ZIP_ERRORS, opened_zip
from core.errors import Problem, refusal

SIGNATURES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"%PDF": "PDF",
    b"\x1f\x8b": "GZIP",
    b"7z\xbc\xaf": "7Z",
    b"Rar!": "RAR",
    b"MZ\x90": "EXE",
    b"\x7fELF": "ELF",
    b"SQLite format 3": "SQLite",
}
ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
COMPOUND_SIGNATURE = b"\xd0\xcf\x11\xe0"  # files of old Office versions, and the shell of new ones with a password
PASSWORD_MARK = "EncryptedPackage".encode("utf-16-le")
TAR_MARK = (257, b"ustar")
SPREADSHEETS = {"xl/workbook.bin": "XLSB", "xl/vbaProject.bin": "XLSM", "Index/Document.iwa": "Numbers"}
DOCUMENTS = {"word/document.xml": "DOCX", "ppt/presentation.xml": "PPTX", "META-INF/container.xml": "EPUB"}


def is_archive(file: BinaryIO) -> bool:
    """Whether it is a zip archive of files, and not a workbook, which is one inside.

    Raises:
        WorkbenchError: D06 and D38 where it is another kind of document, D39 and D40 where the archive is not readable.
    """
    if not _beginning(file).startswith(ZIP_SIGNATURES):
        return False
    with opened_zip(file) as archive:
        names = set(archive.namelist())
        try:
            declared = archive.read("mimetype")[:200] if "mimetype" in names else b""
        except ZIP_ERRORS:
            declared = b""
    file.seek(0)
    spreadsheet = next((kind for name, kind in SPREADSHEETS.items() if name in names), None)
    if spreadsheet or b"opendocument.spreadsheet" in declared:
        raise refusal("D38_other_spreadsheet", kind=spreadsheet or "ODS")
    document = next((kind for name, kind in DOCUMENTS.items() if name in names), None)
    if document or b"opendocument" in declared:
        raise refusal("D06_other_kind", kind=document or "ODT")
    return "xl/workbook.xml" not in names


def read_file(
    file: BinaryIO, name: str, container: Container, encoding: str | None, sheet: str | None
) -> Iterator[Row | Problem]:
    """The rows of one file that is no archive.

    Raises:
        WorkbenchError: D06 where it is of a kind that holds no rows, D37 and D38 where it is a workbook that cannot be
            read, D39 where it is an archive; else as the reader of its kind.
    """
    beginning = _beginning(file)
    kind = next((kind for mark, kind in SIGNATURES.items() if beginning.startswith(mark)), None)
    if kind or beginning.startswith(TAR_MARK[1], TAR_MARK[0]):
        raise refusal("D06_other_kind", kind=kind or "TAR")
    if beginning.startswith(COMPOUND_SIGNATURE):
        raise refusal("D37_password") if _has_password(file) else refusal("D38_other_spreadsheet", kind="XLS")
    if beginning.startswith(ZIP_SIGNATURES):
        if is_archive(file):
            raise refusal("D39_nested")
        from core.data.reading.sheet_rows import read_sheet

        yield from read_sheet(file, container, sheet)
    elif beginning.startswith(b"PAR1"):
        from core.data.reading.parquet_rows import read_parquet

        yield from read_parquet(file, container)
    else:
        yield from _read_text(TextSource(file, encoding), PurePosixPath(name).suffix.lower(), container)


def _read_text(text: TextSource, suffix: str, container: Container) -> Iterator[Row | Problem]:
    if not text.first.strip() and text.whole:
        return
    if suffix in (".json", ".jsonl") or looks_like_json(text.first, prose=suffix in (".txt", ".md")):
        items: Iterator[Row | Problem] = read_json(text, container)
    elif suffix in (".csv", ".tsv") or looks_like_table(text.first):
        items = read_table(text, container)
    else:
        items = read_document(text, container)
    for item in items:
        container.encoding = text.encoding
        yield from text.take_notes()
        yield item
    container.encoding = text.encoding
    yield from text.take_notes()


def _has_password(file: BinaryIO) -> bool:
    """Whether a compound file is a workbook with a password; its directory may be anywhere in it."""
    tail = b""
    while block := file.read(2**20):
        if PASSWORD_MARK in tail + block:
            return True
        tail = block[-len(PASSWORD_MARK) :]
    return False


def _beginning(file: BinaryIO) -> bytes:
    beginning = file.read(512)
    file.seek(0)
    return beginning
