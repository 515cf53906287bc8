"""Where the answers to one message differ: in words where words are written apart, in characters where they are not.

Pure. The first answer is the one that the others are compared with. How a difference is shown is the page's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\U00020000-\U0003ffff"  # scripts without spaces
_UNIT = re.compile(rf"(?:[{UNSPACED}]|(?:(?![{UNSPACED}])\w)+|\W)\s*|\s+")
_WORD = re.compile(r"\w")
_SIGN = re.compile(rf"[{UNSPACED}]?\s*\Z")
THOROUGH_UNITS = 1500  # in longer answers, frequent words are not where a common stretch begins: it takes too long


@dataclass(frozen=True)
class Piece:
    """A stretch of an answer; `differs` where it is not in the answer that it is compared with."""

    text: str
    differs: bool


@dataclass(frozen=True)
class Compared:
    """An answer in pieces, which joined are the answer, and which share of its words the first one has too (0 to 1)."""

    pieces: tuple[Piece, ...]
    shared: float


def compared(answers: Sequence[str]) -> tuple[Compared, ...]:
    """Each answer beside the first; of the first itself, what none of the others has differs."""
    units = [_UNIT.findall(answer) for answer in answers]
    keys = [[unit.rstrip() for unit in each] for each in units]
    own = [len(keys) > 1] * len(keys[0]) if keys else []  # of the first: nobody else has it
    found: list[Compared] = []
    for mine, key in zip(units[1:], keys[1:], strict=True):
        differs = [True] * len(mine)
        matcher = SequenceMatcher(None, keys[0], key, autojunk=max(len(keys[0]), len(key)) > THOROUGH_UNITS)
        for theirs_at, mine_at, size in matcher.get_matching_blocks():
            own[theirs_at : theirs_at + size] = [False] * size
            differs[mine_at : mine_at + size] = [False] * size
        found.append(_compared(mine, differs))
    return (_compared(units[0], own), *found) if units else ()


def _compared(units: Sequence[str], differs: Sequence[bool]) -> Compared:
    words = [not new for unit, new in zip(units, differs, strict=True) if _WORD.match(unit)]
    stretches = _joined(zip(units, differs, strict=True))
    slight = {at for at in range(1, len(stretches) - 1) if _is_slight(stretches[at].text)}
    calmed = ((each.text, each.differs or at in slight) for at, each in enumerate(stretches))
    return Compared(_joined(calmed), sum(words) / len(words) if words else 1.0)


def _joined(parts: Iterable[tuple[str, bool]]) -> tuple[Piece, ...]:
    """Neighbours that are alike, each as one piece."""
    runs = groupby(parts, key=lambda part: part[1])
    return tuple(Piece("".join(text for text, _ in run), differs) for differs, run in runs)


def _is_slight(text: str) -> bool:
    """Whether a common stretch between two differences is but a sign or two: marked with them, it reads better."""
    return not _WORD.search(text) or _SIGN.match(text) is not None
