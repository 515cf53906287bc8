"""What a result says in short: on how many rows a column beats the reference, and how much it forgot. Pure.

Owns the judgement, not its words: `report_views` says it, `report_figures` draws it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from core.evaluation.results import EvaluationResult, ForgettingResult, RowResult

Forgotten = Literal["nothing", "little", "clearly", "much"]
LOSS = "loss"
# What rows are compared by: the first of these that there is, else their loss. With it how close is equal.
YARDSTICKS = {"fields": 1e-9, "chrf": 0.5, LOSS: 0.01}
# By how much the perplexity of general text rises at most for each of these; beyond the last it is "much".
FORGETTING_LIMITS: dict[Forgotten, float] = {"nothing": 0.02, "little": 0.10, "clearly": 0.50}


@dataclass(frozen=True)
class Tally:
    """Rows on which a column is better than the reference, as good, and worse; and by which measure."""

    yardstick: str
    better: int
    equal: int
    worse: int

    @property
    def rows(self) -> int:
        return self.better + self.equal + self.worse


def gains(result: EvaluationResult, column: int) -> tuple[str, list[float]]:
    """The yardstick, and by how much a column is better than the reference on each row that has both; higher is better.

    A loss counts the other way round: what was saved of it.
    """
    for name in YARDSTICKS:
        pairs = [(value(row, column, name), value(row, 0, name)) for row in result.rows]
        found = [mine - theirs for mine, theirs in pairs if mine is not None and theirs is not None]
        if found:
            return name, found
    return LOSS, []


def tally(result: EvaluationResult, column: int) -> Tally:
    """How a column compares with the reference, row by row."""
    name, differences = gains(result, column)
    better = sum(each > YARDSTICKS[name] for each in differences)
    worse = sum(each < -YARDSTICKS[name] for each in differences)
    return Tally(name, better, len(differences) - better - worse, worse)


def rise(before: ForgettingResult, after: ForgettingResult) -> float | None:
    """By which share the perplexity of the general texts rose, all texts weighing the same; None without a text.

    0.1 = it is 10 % higher than the reference's: exp of the mean difference of the losses, less 1.
    """
    shared = [name for name in before.loss_by_text if name in after.loss_by_text]
    if not shared:
        return None
    mean = sum(after.loss_by_text[name] - before.loss_by_text[name] for name in shared) / len(shared)
    return math.expm1(min(mean, 50.0))  # e to the power of more is no number any more


def forgotten(risen: float) -> Forgotten:
    """A rise of perplexity as a word."""
    return next((word for word, limit in FORGETTING_LIMITS.items() if risen <= limit), "much")


def value(row: RowResult, column: int, name: str) -> float | None:
    """How well a column did on a row by a yardstick, the higher the better; None where that was not measured."""
    if name == LOSS:
        loss = row.losses[column]
        return None if loss is None else -loss
    return row.scores[column].get(name)
