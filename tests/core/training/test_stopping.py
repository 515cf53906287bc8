"""When a run has done enough, and which of its evaluations is the best: from its figures alone."""

from __future__ import annotations

from typing import Any

import pytest

from core.settings import TrainingSettings
from core.training.stopping import Stopper, best_step


def stopper(**asked: Any) -> Stopper:
    return Stopper(TrainingSettings.checked(asked))


def test_the_loss_target_looks_at_the_smoothed_curve() -> None:
    made = stopper(loss_target=1.0)
    for step, loss in enumerate([3.0, 2.0, 0.1, 2.0, 2.0, 0.5], 1):
        made.add_loss(step, loss)
        assert made.reason is None, "single steps are far below it"
    for step in range(7, 40):
        made.add_loss(step, 0.9)
        if made.reason:
            break
    assert made.reason == "loss_target"
    assert 10 < step < 40


def test_a_constant_loss_is_its_own_smoothed_one_and_few_losses_have_none() -> None:
    made = stopper(loss_target=2.0)
    for step in range(1, 8):
        made.add_loss(step, 2.0)
        assert made.smoothed_loss == (pytest.approx(2.0) if step >= 5 else None)


def test_a_resumed_run_smooths_as_if_it_had_never_ended() -> None:
    losses = {step: 1 / step for step in range(1, 30)}
    whole = stopper()
    for step, loss in losses.items():
        whole.add_loss(step, loss)
    parts = Stopper(TrainingSettings(), {step: losses[step] for step in range(20, 0, -1)})
    for step in range(21, 30):
        parts.add_loss(step, losses[step])
    assert parts.smoothed_loss == whole.smoothed_loss
    assert parts.losses == whole.losses


@pytest.mark.parametrize(
    ("evals", "patience", "stops_at"),
    [
        ([3, 2, 1, 2, 3], 2, 5),
        ([3, 2, 1, 2, 3], 3, None),
        ([1, 1, 1], 2, 3),  # no better is not better
        ([3, 2, 1], 1, None),
        ([1, 2, 3], 0, None),
    ],
)
def test_early_stopping_counts_the_evaluations_since_the_best(
    evals: list[float], patience: int, stops_at: int | None
) -> None:
    made = stopper(early_stopping=patience)
    stopped = None
    for step, loss in enumerate(evals, 1):
        made.add_evaluation(step, loss, 0.5)
        stopped = stopped or (step if made.reason else None)
    assert stopped == stops_at


def test_an_evaluation_is_the_best_when_none_before_was_as_good() -> None:
    made = stopper(best_by="accuracy")
    figures = [(2.0, 0.5), (1.0, 0.4), (1.5, 0.5), (3.0, 0.6)]
    assert [made.add_evaluation(step, *each) for step, each in enumerate(figures, 1)] == [True, False, True, True]


def test_the_best_is_by_loss_where_an_older_run_has_no_accuracies() -> None:
    assert best_step("accuracy", {1: 2.0, 2: 1.0}, {1: 0.9}) == 2
    assert best_step("loss", {1: float("nan"), 2: 1.0, 3: 1.0}, {}) == 2
    assert best_step("loss", {}, {}) is None
