"""Texts as measures see them: cut into units, normalised, and taken for Chinese or not.

A unit is a word where words are written apart, and a single character where they are not (Chinese, Japanese, Thai …),
so that mixed text is counted the same way wherever it changes language, and no word list decides a score. Punctuation
is no unit.
"""

from __future__ import annotations

import unicodedata

import regex

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"  # scripts without spaces
UNIT = regex.compile(
    rf"[{UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}]--[{UNSPACED}]]+|\p{{So}}\p{{M}}*", flags=regex.VERSION1
)
IDLE_SPACE = regex.compile(rf"(?<![\w--[{UNSPACED}]])\s+|\s+(?![\w--[{UNSPACED}]])", flags=regex.VERSION1)
HAN = regex.compile(r"\p{Han}")
# What NFKC leaves of the punctuation that both scripts have in forms of their own.
HALF_WIDTH = str.maketrans("。、「」『』“”„«»‘’‚【】〔〕—–―−", ".," + '"' * 9 + "'" * 3 + "[][]" + "-" * 4)


def units(text: str) -> list[str]:
    """The words and unspaced characters of a text, in order, case and width aside; emoji and other signs count too."""
    return list(UNIT.findall(_folded(text)))


def normalised(text: str) -> str:
    """The text without differences that don't matter to a reader.

    Unicode form (NFKC), case, full or half width, idle blanks (all but one between two words), a closing full stop.
    Digits, signs and all other punctuation stay, so −3.5 is neither 3.5 nor 35.
    """
    plain = _folded(text).translate(HALF_WIDTH)
    return str(IDLE_SPACE.sub("", " ".join(plain.split()))).rstrip(".")


def is_chinese(text: str) -> bool:
    """Whether a text is to be cut as Chinese: it has at least one Chinese character."""
    return HAN.search(text) is not None


def _folded(text: str) -> str:
    """Unicode's compatibility form without case (https://www.unicode.org/reports/tr15, toNFKC_Casefold)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
