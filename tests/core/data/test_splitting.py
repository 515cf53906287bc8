from __future__ import annotations

import numpy as np
import pytest

from core.data.conversation import Example, Message
from core.data.splitting import default_validation_rows, split


def alone(everything: list[Example]) -> np.ndarray:
    """Groups of one each."""
    return np.arange(len(everything))


def examples(count: int, different: int) -> list[Example]:
    """`count` examples of which `different` differ."""
    return [
        Example(
            (
                Message(role="user", content=f"q{number % different}"),
                Message(role="assistant", content="a"),
            ),
            number + 1,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("count", "different", "share", "held_out"),
    [
        (100, 100, 0.1, 10),
        (60, 60, 0.1, 6),
        (200, 50, 0.1, 20),
        (100, 100, 0, 0),
        (3, 3, 0.34, 1),
        (10, 1, 0.2, 0),
        (2, 2, 1.0, 1),
    ],
)
def test_a_split_holds_out_its_share_and_loses_nothing(count: int, different: int, share: float, held_out: int) -> None:
    everything = examples(count, different)
    training, validation = split(everything, alone(everything), share, seed=42)
    assert len(validation) == held_out
    assert sorted([*training, *validation], key=lambda example: example.line) == everything
    assert [example.line for example in training] == sorted(example.line for example in training)


@pytest.mark.parametrize("seed", range(10))
def test_equal_rows_are_never_on_both_sides(seed: int) -> None:
    training, validation = split(examples(90, 37), np.arange(90), 0.3, seed)
    assert validation
    assert not {example.key for example in training} & {example.key for example in validation}


@pytest.mark.parametrize("seed", range(5))
def test_a_group_of_near_duplicates_is_never_on_both_sides(seed: int) -> None:
    everything = examples(60, 60)
    groups = np.arange(60) // 4
    training, validation = split(everything, groups, 0.3, seed)
    assert len(validation) == 16, "18 of 60 are wanted, in groups of 4"
    sides = [{groups[example.line - 1] for example in side} for side in (training, validation)]
    assert not sides[0] & sides[1]


def test_groups_that_share_an_equal_row_are_one() -> None:
    everything = [*examples(3, 3), *examples(3, 3)]  # a data set, and the same one mixed in
    groups = np.array([0, 0, 1, 2, 3, 4])
    for seed in range(10):
        training, validation = split(everything, groups, 0.5, seed)
        assert not {example.key for example in training} & {example.key for example in validation}
        assert len(validation) in (0, 2)


def test_a_split_depends_on_the_seed_alone() -> None:
    everything = examples(100, 100)
    first, again, other = (split(everything, alone(everything), 0.1, seed) for seed in (1, 1, 2))
    assert list(first[1]) == list(again[1]) != list(other[1])


@pytest.mark.parametrize(
    ("rows", "expected"), [(0, 0), (39, 0), (40, 4), (60, 6), (100, 10), (200, 10), (201, 10), (1000, 50)]
)
def test_the_default_validation_rows_are_those_of_the_design(rows: int, expected: int) -> None:
    assert default_validation_rows(rows) == expected
