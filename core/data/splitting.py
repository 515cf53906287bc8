"""Setting validation examples apart: by the seed, and so that what is equal or nearly so stays on one side."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.data.conversation import Example
from core.data.selection import Selection

VALIDATION_FROM_ROWS = 40


def split(
    examples: Sequence[Example], groups: NDArray[np.int64], share: float, seed: int
) -> tuple[Selection, Selection]:
    """Training and validation examples, both in their order; a group is always on one side.

    `share` of the examples, rounded, go to validation, fewer where groups do not divide; one group at least stays in
    training. Equal examples are one group whatever `groups` (one number for each example) says: a set that was mixed in
    may hold rows of the first. The choice depends on the examples and the seed alone.
    """
    members: dict[int, list[int]] = {}
    if share:
        for index, group in enumerate(_joined(examples, groups)):
            members.setdefault(group, []).append(index)
    order = list(members)
    random.Random(seed).shuffle(order)  # noqa: S311 - a choice, not a secret
    free = round(share * len(examples))
    held_out = np.zeros(len(examples), dtype=bool)
    for group in order[1:]:
        if len(members[group]) <= free:
            held_out[members[group]] = True
            free -= len(members[group])
    whole = examples if isinstance(examples, Selection) else Selection.of(examples)
    return whole.picked(np.flatnonzero(~held_out)), whole.picked(np.flatnonzero(held_out))


def default_validation_rows(rows: int) -> int:
    """Rows held out where nobody chose: max(5 %, min(10 rows, 10 %)) from 40 rows up, none below."""
    return max(round(0.05 * rows), min(10, round(0.1 * rows))) if rows >= VALIDATION_FROM_ROWS else 0


def _joined(examples: Sequence[Example], groups: NDArray[np.int64]) -> list[int]:
    """The groups with those that share an equal example made one."""
    stands_for: dict[int, int] = {}
    first: dict[int, int] = {}

    def root(group: int) -> int:
        while group in stands_for:
            group = stands_for[group]
        return group

    for example, group in zip(examples, groups, strict=True):
        mine = root(int(group))
        theirs = root(first.setdefault(hash(example.key), mine))
        if mine != theirs:
            stands_for[mine] = theirs
    return [root(int(group)) for group in groups]
