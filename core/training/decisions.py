"""What a plan is made of: values with the reason they are what they are, and the rows of a run in numbers.

Owns these records alone; `plan` and `batch_size` fill them, the page shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any


@dataclass(frozen=True)
class Reason:
    """Why an automatic value is what it is: the setting, a key of the catalogue, and the values its text names."""

    field: str
    key: str
    values: dict[str, Any] = dataclass_field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """A value, and why it is that one; no reason where the spec itself names it."""

    value: float
    reason: Reason | None = None


@dataclass(frozen=True)
class RowCounts:
    """The rows of a run as they were chosen: tokens and trained tokens of training rows, tokens of validation rows."""

    max_length: Decision
    validation_share: Decision
    train_lengths: tuple[int, ...]
    train_trained: tuple[int, ...]
    validation_lengths: tuple[int, ...] = ()
    left_out: int = 0  # rows over the maximum length that are skipped
    cut: int = 0
    rendered: int | None = None  # of a sample that stands for all of them; None where every row was rendered
    longest: int = 0  # tokens of the longest row before any was left out or cut
    trained_lost: float = 0.0  # share of the trained tokens that leaving out and cutting rows loses
    prompt_share: float = 0.0  # of the trained tokens, those that are no answer
