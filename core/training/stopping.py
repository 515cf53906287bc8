"""When a run has done enough: the rules that end it before its last step, and which evaluation is the best.

Owns those rules. They see nothing but the figures that a run's history keeps, so a resumed run decides as it would have
decided without the break. What is done then is the run's business.

    loss target      the smoothed training loss has come down to it
    early stopping   so many evaluations in a row were not better than the best before them
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from core.settings import Metric, TrainingSettings

FinishReason = Literal["all_steps", "loss_target", "early_stopping"]
SMOOTHING = 0.9  # the weight of the past in the smoothed loss
FEWEST_LOSSES = 5  # below which a smoothed loss says little


@dataclass
class Stopper:
    """The figures of a run by step, and what its settings make of them.

    `losses` of every step, `evals` and `accuracies` of the evaluations.
    """

    asked: TrainingSettings
    losses: dict[int, float] = field(default_factory=dict)
    evals: dict[int, float] = field(default_factory=dict)
    accuracies: dict[int, float] = field(default_factory=dict)
    _sum: float = 0.0  # of losses, each weighing `SMOOTHING` times the next
    _weight: float = 0.0

    def __post_init__(self) -> None:
        earlier, self.losses = self.losses, {}
        for step in sorted(earlier):
            self.add_loss(step, earlier[step])

    def add_loss(self, step: int, loss: float) -> None:
        self.losses[step] = loss
        self._sum = SMOOTHING * self._sum + loss
        self._weight = SMOOTHING * self._weight + 1

    def add_evaluation(self, step: int, loss: float, accuracy: float) -> bool:
        """Keep an evaluation; whether none before it was as good."""
        self.evals[step], self.accuracies[step] = loss, accuracy
        return self.best_step == step

    @property
    def smoothed_loss(self) -> float | None:
        """The mean of the losses, each weighing 0.9 times the next; None while there are too few."""
        return self._sum / self._weight if len(self.losses) >= FEWEST_LOSSES else None

    @property
    def best_step(self) -> int | None:
        """The step of the best evaluation so far, the first of equals."""
        return best_step(self.asked.best_by, self.evals, self.accuracies)

    @property
    def reason(self) -> FinishReason | None:
        """Why the run has done enough, or None."""
        target, calm = self.asked.loss_target, self.smoothed_loss
        if target is not None and calm is not None and calm <= target:
            return "loss_target"
        best = self.best_step
        if self.asked.early_stopping and best is not None:
            later = sum(step > best for step in self.evals)
            return "early_stopping" if later >= self.asked.early_stopping else None
        return None


def best_step(best_by: Metric, evals: Mapping[int, float], accuracies: Mapping[int, float]) -> int | None:
    """The step of the best evaluation, the first of equals; by accuracy, the loss decides among equals."""
    losses = {step: loss if math.isfinite(loss) else math.inf for step, loss in evals.items()}
    if best_by == "accuracy" and losses.keys() <= accuracies.keys():
        return min(losses, key=lambda step: (-accuracies[step], losses[step], step), default=None)
    return min(losses, key=lambda step: (losses[step], step), default=None)
