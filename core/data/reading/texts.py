"""Bytes become text, chunk by chunk: which encoding a file is in, and where it is not.

Owns encodings. A file is UTF-8 unless it says otherwise or shows it; nothing is guessed silently and no byte is ever
replaced. Memory holds one chunk, and one line where lines are asked for.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, BinaryIO

from core.errors import Place, Problem, WorkbenchError, excerpt, refusal

ENCODINGS = (
    *("utf-8", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr", "windows-1252", "windows-1251", "iso-8859-1"),
    *("utf-16", "utf-16-le", "utf-16-be", "utf-32"),
)
CHUNK_BYTES = 2**20
_MARKS = (  # UTF-32 before UTF-16: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FOREIGN = re.compile(r"[^\x00-\x7f]")
_MARK_AT_LINE = re.compile(r"(?<=\n)\ufeff+")
# Half of all characters in Chinese texts are one of some hundred and fifty. Read as if they were GB18030, Korean and
# Japanese files consist of everyday characters too, but of other ones.
_FREQUENT = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事"
    "成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心本前开但因只从想实日军者意无力它与长把机十民第公此已工"
    "使情明性知全三又关点正业外将两高间由问很最重并物手应请什问题答案，。、？：；！（）"
)
_JUDGED_CHARACTERS = 5000
_USUAL = (  # an encoding, the characters of what is written in it, and their least share
    ("shift_jis", "[\u3040-\u30ff]+", 0.3),
    ("euc-jp", "[\u3040-\u30ff]+", 0.3),
    ("euc-kr", "[\uac00-\ud7a3]+", 0.8),
    ("windows-1251", "[\u0410-\u044f]{3,}", 0.8),
    ("big5", "[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]+", 0.9),
    ("gb18030", "[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]+", 0.9),
)


class TextSource:
    """The text of a file as it is read, without byte-order marks. It can be read once.

    `first` is its first chunk, `whole` whether that is all of it. `encoding` may still change while the text is read,
    as long as all of it was ASCII.
    """

    def __init__(self, file: BinaryIO, encoding: str | None = None) -> None:
        """Read the first chunk.

        Raises:
            WorkbenchError: D04 where the encoding is not known; else as `chunks`.
        """
        self._file = file
        self._notes: list[Problem] = []
        self._chosen = _known(encoding) if encoding else None
        data = file.read(CHUNK_BYTES)
        mark, marked = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", ""))
        self.encoding = self._chosen or marked or _wide(data) or "utf-8"
        if self.encoding in ("utf-16", "utf-32"):  # whose decoders want a mark
            self.encoding = marked or (_wide(data) if self.encoding == "utf-16" else None) or f"{self.encoding}-le"
        if not self._chosen and self.encoding != "utf-8":
            self._notes.append(_warning("D03_decoded", Place(), encoding=self.encoding.upper()))
        self._decoder = codecs.getincrementaldecoder(self.encoding)()
        self._read = len(mark) if marked == self.encoding else 0
        self._lines = 0
        self._returned = ""
        self._ascii = self._at_line_start = self._markless = True
        self.first = self._decoded(data[self._read :])
        self.whole = len(data) < CHUNK_BYTES

    def chunks(self) -> Iterator[str]:
        """The whole text in pieces, `first` included; every line ends in `\\n`, whatever it ends in in the file.

        Raises:
            WorkbenchError: D04 and D05 at a byte that is not of the encoding, D06 at a zero byte.
        """
        if self.first:
            yield self.first
        data = b"unread"
        while data:
            data = self._file.read(CHUNK_BYTES)
            chunk = self._decoded(data)
            if chunk:
                yield chunk

    def lines(self, limit: int) -> Iterator[str]:
        """The lines without their ends.

        A line of more than `limit` characters is cut soon behind the limit, so that its length tells; the rest of it
        is passed over.
        """
        rest = ""
        passing = False
        for chunk in self.chunks():
            *whole, rest = (rest + chunk).split("\n")
            for line in whole:
                if not passing:
                    yield line
                passing = False
            if len(rest) > limit:
                if not passing:
                    yield rest
                rest, passing = "", True
        if rest and not passing:
            yield rest

    def take_notes(self) -> list[Problem]:
        """What is to be said about the text read so far; said once."""
        notes, self._notes = self._notes, []
        return notes

    def _decoded(self, data: bytes) -> str:
        before = self._read - len(self._decoder.getstate()[0])
        self._read += len(data)
        try:
            text = self._decoder.decode(data, not data)
        except UnicodeDecodeError as error:
            text = self._decoded_otherwise(error)
        if "\0" in text:
            position = text.index("\0")
            byte = before + len(text[:position].encode(self.encoding))
            raise refusal("D06_nul_byte", Place(line=self._lines + text.count("\n", 0, position) + 1), byte=byte)
        self._ascii = self._ascii and text.isascii()
        text = self._returned + text
        self._returned = "\r" if data and text.endswith("\r") else ""  # a line feed may follow in the next chunk
        if "\r" in text:
            text = text.removesuffix(self._returned).replace("\r\n", "\n").replace("\r", "\n")
        plain = self._without_marks(text) if "\ufeff" in text else text
        self._lines += text.count("\n")
        self._at_line_start = text.endswith("\n") if text else self._at_line_start
        return plain

    def _decoded_otherwise(self, error: UnicodeDecodeError) -> str:
        """The same bytes as GB18030 where they read as Chinese and no line before them says otherwise."""
        data = error.object
        undecided = self._chosen is None and self.encoding == "utf-8" and self._ascii
        if not (undecided and data[: _line_start(data, error.start)].isascii() and _reads_as_chinese(data)):
            raise self._refused(error) from error
        self.encoding = "gb18030"
        self._decoder = codecs.getincrementaldecoder(self.encoding)()
        text = self._decoder.decode(data)
        position = next(index for index, character in enumerate(text) if not character.isascii())
        seen = text[position : position + 100].partition("\n")[0]
        place = Place(line=self._lines + text.count("\n", 0, position) + 1, excerpt=excerpt(seen))
        self._notes.append(_warning("D04_read_as", place, encoding="GB18030"))
        return text

    def _refused(self, error: UnicodeDecodeError) -> WorkbenchError:
        data, bad = error.object, error.start
        before = data[:bad].decode(self.encoding, "ignore")
        line = self._lines + before.count("\n") + 1
        values: dict[str, Any] = {"encoding": self.encoding.upper(), "byte": self._read - len(data) + bad}
        if error.reason == "unexpected end of data" or "incomplete" in error.reason:
            return refusal("D07_inside_character", Place(line=line), **values)
        begin = max(_line_start(data, bad), bad - 60)
        guess = _guess(data[begin : begin + 4000])
        seen = data[begin : begin + 400].decode(guess, "replace").partition("\n")[0]
        mixed = self.encoding == "utf-8" and not (self._ascii and before.isascii())
        key = "D05_mixed_encodings" if mixed else "D04_not_utf8"
        return refusal(key, Place(line=line, excerpt=excerpt(seen)), guess=guess.upper(), **values)

    def _without_marks(self, text: str) -> str:
        """The text without the marks that begin a line; others are the person's own."""
        mark = _MARK_AT_LINE.search(text)
        at = 0 if self._at_line_start and text.startswith("\ufeff") else mark.start() if mark else None
        if at is None:
            return text
        if self._markless:
            self._markless = False
            line = self._lines + text.count("\n", 0, at) + 1
            self._notes.append(_warning("D02_mark_inside", Place(line=line)))
        return _MARK_AT_LINE.sub("", text.lstrip("\ufeff") if at == 0 else text)


def _line_start(data: bytes, position: int) -> int:
    return data.rfind(b"\n", 0, position) + 1


def _warning(key: str, place: Place, **values: str) -> Problem:
    return Problem(key, place, dict(values), severity="warning")


def _known(encoding: str) -> str:
    names = {codecs.lookup(name).name: name for name in ENCODINGS}
    try:
        return names[codecs.lookup(encoding).name]
    except LookupError as error:
        known = ", ".join(ENCODINGS)
        raise refusal("D04_unknown_encoding", name=excerpt(encoding), known=known) from error


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark, told by its zero bytes: the upper halves of its ASCII characters."""
    sample = data[:4096]
    upper, lower = sample[1::2].count(0), sample[::2].count(0)
    if max(upper, lower) < len(sample) / 20 or max(upper, lower) < 8 * min(upper, lower):
        return None
    name = "utf-16-le" if upper > lower else "utf-16-be"
    try:
        text = codecs.getincrementaldecoder(name)().decode(sample)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else name


def _reads_as_chinese(data: bytes) -> bool:
    """Whether bytes are GB18030 to the last one, and what they say are the characters that Chinese texts consist of."""
    judged = _FOREIGN.findall(_text_of(data, "gb18030"))[:_JUDGED_CHARACTERS]
    common = sum(character in _everyday_characters() for character in judged)
    frequent = sum(character in _FREQUENT for character in judged)
    return common >= 0.85 * len(judged) > 0 and (len(judged) < 100 or frequent >= 0.1 * len(judged))


def _guess(data: bytes) -> str:
    """The encoding in which bytes say what people write in it, of those that are known; a guess to be shown only."""
    for encoding, usual, share in _USUAL:
        text = _text_of(data, encoding)
        if sum(map(len, re.findall(usual, text))) >= share * len(_FOREIGN.findall(text)) > 0:
            return encoding
    return "windows-1252" if _text_of(data, "windows-1252") else "iso-8859-1"


def _text_of(data: bytes, encoding: str) -> str:
    """What bytes say in an encoding, "" where they are not of it; the last character may be cut off."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return ""


@cache
def _everyday_characters() -> frozenset[str]:
    """Level one of GB 2312, its 3,755 most common characters, with the punctuation of its first and third row."""
    rows = (0xA1, 0xA3, *range(0xB0, 0xD8))
    table = b"".join(bytes((row, cell)) for row in rows for cell in range(0xA1, 0xFF))
    return frozenset(table.decode("gb2312", "ignore"))
