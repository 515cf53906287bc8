"""The directory of a zip archive, judged before anything in it is inflated.

Owns what makes an archive dangerous or unreadable as a whole; zip files are also what XLSX workbooks are. Nothing is
ever extracted to a path, so a member's name can do no harm; one that tries to shows what the archive is for.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import BinaryIO

from core.errors import Place, WorkbenchError, excerpt, refusal

MAX_MEMBERS = 2000
MAX_DIRECTORY_BYTES = 2**20
MAX_RATIO = 100
HARMLESS_BYTES = 2**20  # a member of this size may be packed as tightly as it can
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)
ARCHIVE_SUFFIXES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"})
_END = b"PK\x05\x06"
_END_64 = b"PK\x06\x06"
_LOCATOR_64 = b"PK\x06\x07"
_UTF8_NAME = 0x800
_ENCRYPTED = 0x1


def opened_zip(file: BinaryIO) -> zipfile.ZipFile:
    """The archive, whose directory is of a size that can be read at once.

    Raises:
        WorkbenchError: D39 where it has too many members, D40 where it is damaged.
    """
    try:
        members, directory_bytes = _announced(file)
        if members > MAX_MEMBERS or directory_bytes > MAX_DIRECTORY_BYTES:
            raise refusal("D39_too_many_members", limit=MAX_MEMBERS)
        archive = zipfile.ZipFile(file)
    except WorkbenchError:
        raise
    except ZIP_ERRORS as error:
        raise refusal("D40_damaged", reason=excerpt(error)) from error
    if len(archive.infolist()) > MAX_MEMBERS:
        raise refusal("D39_too_many_members", limit=MAX_MEMBERS)
    return archive


def refuse_bomb(archive: zipfile.ZipFile, max_bytes: int) -> None:
    """Raises D39 where the members are too much together, or one of them is packed tighter than data can be."""
    for info in archive.infolist():
        if info.file_size > max(HARMLESS_BYTES, MAX_RATIO * info.compress_size):
            raise refusal("D39_ratio", _place(info), limit=MAX_RATIO)
    if sum(info.file_size for info in archive.infolist()) > max_bytes:
        raise refusal("D39_inflates", megabytes=max_bytes // 2**20)


def refuse_tricks(archive: zipfile.ZipFile) -> None:
    """Raises D39 and D40 naming a member that an archive of data has no reason to hold."""
    seen: set[str] = set()
    for info in archive.infolist():
        parts = re.split(r"[/\\]", info.orig_filename)
        mode = stat.S_IFMT(info.external_attr >> 16)
        nameless = not parts[0] or "\0" in info.orig_filename
        if nameless or ".." in parts or re.match(r"[A-Za-z]:", info.orig_filename):
            raise refusal("D40_unsafe_name", _place(info))
        if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refusal("D40_link", _place(info))
        if info.flag_bits & _ENCRYPTED:
            raise refusal("D40_encrypted", _place(info))
        if member_name(info) in seen:
            raise refusal("D40_twice", _place(info))
        if PurePosixPath(info.filename).suffix.lower() in ARCHIVE_SUFFIXES:
            raise refusal("D39_nested", _place(info))
        seen.add(member_name(info))


def member_name(info: zipfile.ZipInfo) -> str:
    """The name as it was meant: Windows in Chinese writes GBK where the format knows an old American code page only."""
    if info.flag_bits & _UTF8_NAME or info.filename.isascii():
        return info.filename
    for encoding in ("utf-8", "gb18030"):
        try:
            return info.filename.encode("cp437").decode(encoding)
        except UnicodeError:
            continue
    return info.filename


def _place(info: zipfile.ZipInfo) -> Place:
    return Place(file=excerpt(info.orig_filename))


def _announced(file: BinaryIO) -> tuple[int, int]:
    """How many members the directory says it has, and its bytes, without reading it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 2**16 - 22))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0:
        raise zipfile.BadZipFile("no directory")
    members, directory_bytes = struct.unpack_from("<HI", tail, at + 10)
    if tail[max(0, at - 20) : at].startswith(_LOCATOR_64):
        (offset,) = struct.unpack_from("<Q", tail, at - 12)
        file.seek(min(offset, size))
        record = file.read(56)
        if record.startswith(_END_64):
            members, directory_bytes = struct.unpack_from("<QQ", record, 32)
    return int(members), int(directory_bytes)
