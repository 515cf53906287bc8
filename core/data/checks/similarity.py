"""Nearly equal texts: those that differ in a few words, found by MinHash over their four-character shingles.

Owns what "nearly equal" means. Question and answer are compared each for itself, and at most `COMPARED` different
examples are, chosen by their fingerprint, so that the choice depends on neither order nor repetition. Long texts are
compared by their two ends. What many rows share word for word (an instruction, a rubric) says nothing about whether two
of them are equal and is taken out first. Texts with different numbers are different.

https://ekzhu.com/datasketch/lsh.html explains bands; `rensa` computes the signatures.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import rensa  # type: ignore[import-untyped]
import xxhash
from numpy.typing import NDArray

COMPARED = 20_000
SHORT = 20  # characters, below which texts are equal or they are not
SHARED_BY = 10  # rows; what more than these have in common is their template
THRESHOLD = 0.75  # of the shingles of both that either has

_KEPT_END = 750
_SHINGLE = 4
_PHRASE = 12
_COUNTERS = 2**22  # for phrases, by hash; that two share one now and then cuts a few characters too many
_PERMUTATIONS, _BANDS = 128, 32
_AT_ONCE = 500
_BASE = 0x9E3779B97F4A7C15
_GAP = re.compile(r"[\W_]+")
_NUMBER = re.compile(r"\d+")

Pair = tuple[str, str]  # question, answer
Hashes = NDArray[np.uint64]


class Similarity:
    """Takes fingerprints and texts one by one; `pairs` is asked once, after the last."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._kept: list[tuple[int, int, int, str, str]] = []  # a heap, the highest rank first: its negative
        self._known: set[int] = set()

    def add(self, index: int, fingerprint: int, question: str, answer: str) -> None:
        rank = xxhash.xxh3_64_intdigest(fingerprint.to_bytes(8), self._seed)
        full = len(self._kept) >= COMPARED
        if (full and -rank <= self._kept[0][0]) or fingerprint in self._known:
            return
        if len(question) + len(answer) < SHORT:
            return
        entry = (-rank, index, fingerprint, _ends(question), _ends(answer))
        self._known.add(fingerprint)
        if full:
            self._known.discard(heapq.heapreplace(self._kept, entry)[2])
        else:
            heapq.heappush(self._kept, entry)

    def __len__(self) -> int:
        return len(self._kept)

    def pairs(self) -> list[tuple[int, int]]:
        """Indices of nearly equal examples, the earlier first, ascending."""
        entries = sorted((index, question, answer) for _, index, _, question, answer in self._kept)
        texts = [(_plain(question), _plain(answer)) for _, question, answer in entries]
        own = _without_templates(texts)
        known = [row for row, (question, answer) in enumerate(own) if len(question) + len(answer) >= SHORT]
        alike = lru_cache(maxsize=1000)(_alike)
        return [
            (entries[known[one]][0], entries[known[other]][0])
            for one, other in _candidates([own[row] for row in known])
            if all(map(alike, own[known[one]], own[known[other]]))
            and _numbers(texts[known[one]]) == _numbers(texts[known[other]])
        ]


def _candidates(texts: Sequence[Pair]) -> list[tuple[int, int]]:
    """Pairs that agree in at least one band of their signatures: those that are alike, and a few more."""
    found: set[tuple[int, int]] = set()
    bands = np.concatenate([np.empty((0, _BANDS), np.uint64), *_signatures(texts)])
    for band in bands.T:
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=~band[order[:1]]))
        for start, end in pairwise([*starts.tolist(), len(order)]):
            if end - start > 1:
                rows = order[start:end].tolist()
                found.update(pairwise(rows))
                found.update((rows[0], row) for row in rows[2:])
    return sorted(found)


def _signatures(texts: Sequence[Pair]) -> Iterator[Hashes]:
    """The bands of texts, each as one number: (rows, bands)."""
    for some in _batches(texts):
        hashes, rows = _windows(some, _SHINGLE)
        offsets = np.searchsorted(rows, np.arange(len(some) + 1)).astype(np.uint64)
        matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, _PERMUTATIONS, 42)
        signature = np.array(matrix.to_rows(), dtype=np.uint64).reshape(len(some), _BANDS, -1)
        bands = np.zeros(signature.shape[:2], np.uint64)
        for part in range(signature.shape[2]):
            bands = bands * np.uint64(_BASE) + signature[:, :, part]
        yield bands


def _without_templates(texts: Sequence[Pair]) -> list[Pair]:
    """The texts without the phrases that more than `SHARED_BY` of them have."""
    if len(texts) <= SHARED_BY:
        return list(texts)
    counts = np.zeros(_COUNTERS, dtype=np.int32)
    for some in _batches(texts):
        phrases, rows = _windows(some, _PHRASE)
        once = np.unique(rows.astype(np.uint64) * np.uint64(_COUNTERS) + phrases % np.uint64(_COUNTERS))
        np.add.at(counts, (once % np.uint64(_COUNTERS)).astype(np.int64), 1)
    shared = counts > SHARED_BY
    return [pair for some in _batches(texts) for pair in _cut(some, shared)]


def _cut(texts: Sequence[Pair], shared: NDArray[np.bool_]) -> Iterator[Pair]:
    """Texts without the characters that belong to a shared phrase."""
    points, parts = _points(texts)
    starts, hashes = _within_parts(points, parts, _PHRASE)
    begun = np.bincount(starts[shared[(hashes % np.uint64(_COUNTERS)).astype(np.int64)]], minlength=len(points))
    covered = np.cumsum(begun)
    covered[_PHRASE:] -= covered[:-_PHRASE].copy()
    kept = covered == 0
    text = points[kept].astype(np.uint32).tobytes().decode("utf-32-le", "surrogatepass")
    ends = np.cumsum(np.bincount(parts[kept], minlength=2 * len(texts))).tolist()
    pieces = [text[start:end] for start, end in pairwise([0, *ends])]
    return zip(pieces[::2], pieces[1::2], strict=True)


def _windows(texts: Sequence[Pair], width: int) -> tuple[Hashes, NDArray[np.int64]]:
    """The hash of every `width` characters in a row within a question or an answer, and the row of each."""
    points, parts = _points(texts)
    starts, hashes = _within_parts(points, parts, width)
    return hashes, parts[starts] // 2


def _points(texts: Sequence[Pair]) -> tuple[Hashes, NDArray[np.int64]]:
    """All characters one after the other, and the part each is of: 0 and 1 for the first pair, 2 and 3 for the next."""
    flat = [part for pair in texts for part in pair]
    points = np.frombuffer("".join(flat).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    return points, np.repeat(np.arange(len(flat)), [len(part) for part in flat])


def _within_parts(points: Hashes, parts: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], Hashes]:
    """Where windows begin that do not leave their part, and their hashes (a polynomial, modulo 2^64, well mixed)."""
    count = max(0, len(points) - width + 1)
    hashes = np.zeros(count, np.uint64)
    for offset in range(width):
        hashes *= np.uint64(_BASE)
        hashes += points[offset : offset + count]
    hashes ^= hashes >> np.uint64(31)
    hashes *= np.uint64(_BASE)
    hashes ^= hashes >> np.uint64(29)
    starts = np.flatnonzero(parts[:count] == parts[width - 1 :])
    return starts, hashes[starts]


def _alike(one: str, other: str) -> bool:
    if one == other:
        return True
    mine, theirs = (np.unique(_windows([(text, "")], _SHINGLE)[0]) for text in (one, other))
    both = len(np.intersect1d(mine, theirs, assume_unique=True))
    return both >= THRESHOLD * max(1, len(mine) + len(theirs) - both)


def _batches(texts: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    return (texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE))


def _numbers(pair: Pair) -> list[list[str]]:
    return [_NUMBER.findall(part) for part in pair]


def _plain(text: str) -> str:
    """Letters and digits in small letters, single spaces between words."""
    return _GAP.sub(" ", text.casefold()).strip()


def _ends(text: str) -> str:
    return text if len(text) <= 2 * _KEPT_END else text[:_KEPT_END] + text[-_KEPT_END:]
