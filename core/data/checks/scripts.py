"""Which scripts a text is written in: the plainest sign of a row in another language.

Owns the alphabets, and what a set says about them. Two languages of one script are not told apart.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

NAMES = ("ABC", "ΑΒΓ", "АБВ", "אבג", "ابج", "अआइ", "กขค", "かな", "中文", "한글")  # each shown by its own letters
LATIN, KANA, HAN = NAMES.index("ABC"), NAMES.index("かな"), NAMES.index("中文")
READ = 1000  # characters of a text that are looked at
FEW_LETTERS = 4
SHARE = 0.05  # of the letters, from which on a script counts as used

_RANGES = (
    (0x41, 0x5A, LATIN), (0x61, 0x7A, LATIN), (0xC0, 0x24F, LATIN), (0x370, 0x3FF, 1), (0x400, 0x52F, 2),
    (0x590, 0x5FF, 3), (0x600, 0x6FF, 4), (0x750, 0x77F, 4), (0x900, 0x97F, 5), (0xE00, 0xE7F, 6),
    (0x1E00, 0x1EFF, LATIN), (0x3041, 0x30FF, KANA), (0x3400, 0x9FFF, HAN), (0xAC00, 0xD7AF, 9), (0xF900, 0xFAFF, HAN),
)  # fmt: skip
_TABLE = np.full(0x10000, len(NAMES), dtype=np.uint8)
for _first, _last, _script in _RANGES:
    _TABLE[_first : _last + 1] = _script
_LETTERS = re.compile(rf"[A-Za-z](?:[^A-Za-z]*[A-Za-z]){{{FEW_LETTERS - 1}}}")


def scripts_of(text: str) -> tuple[int, int]:
    """The script a text is mostly in, and all it uses as bits; `len(NAMES)` and 0 where there are few letters.

    Japanese is what has kana: its Chinese characters do not count.
    """
    words = text[:READ]
    if words.isascii():
        return (LATIN, 1 << LATIN) if _LETTERS.search(words) else (len(NAMES), 0)
    points = np.frombuffer(words.encode("utf-16-le", "surrogatepass"), dtype=np.uint16)
    counts = np.bincount(_TABLE[points], minlength=len(NAMES) + 1)[: len(NAMES)].astype(np.float64)
    letters = counts.sum()
    if letters < FEW_LETTERS:
        return len(NAMES), 0
    if counts[KANA] > 0.1 * (counts[HAN] + counts[KANA]):
        counts[KANA] += counts[HAN]
        counts[HAN] = 0
    used = np.flatnonzero(counts >= SHARE * letters)
    return int(counts.argmax()), int((1 << used).sum())


def strangers(main_scripts: NDArray[np.uint8], used: NDArray[np.uint16]) -> tuple[int, NDArray[np.int64]]:
    """The script most texts are in, and which texts have nothing of it."""
    known = used > 0
    main = int(np.bincount(main_scripts[main_scripts < len(NAMES)], minlength=1).argmax())
    return main, np.flatnonzero(known & ((used >> np.uint16(main)) & 1 == 0))
