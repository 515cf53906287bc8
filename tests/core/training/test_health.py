"""Hints from the curves of a run: none on healthy ones, the right one on each kind of sick one."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.i18n import LANGUAGES, has_text
from core.training.health import Hint, hints
from core.training.progress import Progress, Snapshot, Status, fold
from tests.core.training.conftest import Outcome, spec_of
from tests.core.training.test_plan import planned
from webui.health_views import action_label, hint_cards

Curve = Callable[[int], float]
STEPS = 120


def noisy(curve: Curve, noise: float, seed: int = 0, steps: int = STEPS) -> list[tuple[int, float]]:
    draw = random.Random(seed)
    return [(step, curve(step) * (1 + draw.gauss(0, noise))) for step in range(1, steps + 1)]


def falling(step: int) -> float:
    return 0.8 + 1.7 * math.exp(-step / 30)


def snapshot(losses: list[tuple[int, float]], optimizer: str = "adamw", **changes: Any) -> Snapshot:
    rate = changes.pop("rate", 2e-4)
    made = planned(64, learning_rate=rate, epochs=15.0, optimizer=optimizer)  # 120 steps, 6 of them warm-up
    lowest = min(changes.get("evals", ()), key=lambda point: point[1], default=(None, None))
    changes.setdefault("best_step", lowest[0])
    return Snapshot(status=Status.RUNNING, method="lora", plan=made, losses=tuple(losses), **changes)


def keys(found: tuple[Hint, ...]) -> list[str]:
    return [hint.key.removeprefix("health.") for hint in found]


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2, 0.4])
@pytest.mark.parametrize("seed", range(8))
def test_a_healthy_run_gets_no_hint_at_any_step(noise: float, seed: int) -> None:
    losses = noisy(falling, noise, seed)
    norms = [(step, abs(value) + 0.1) for step, value in noisy(lambda step: 1.0, max(noise, 0.3), seed + 100)]
    evals = [(step, value) for step, value in noisy(falling, 0.005, seed) if step % 20 == 0]
    for end in range(5, STEPS, 5):
        seen = snapshot(losses[:end], grad_norms=tuple(norms[:end]), evals=tuple(e for e in evals if e[0] <= end))
        assert hints(seen) == (), f"at step {end}"


@pytest.mark.parametrize("seed", range(4))
def test_a_loss_that_rises_for_good_is_noticed_and_a_lower_rate_offered(seed: int) -> None:
    losses = noisy(lambda step: falling(step) if step < 60 else 1.1 * 1.04 ** (step - 60), 0.1, seed)
    found = hints(snapshot(losses))
    assert keys(found) == ["diverges"]
    assert found[0].action == "lower_rate" and found[0].action_values == {"learning_rate": 5e-5}


def test_a_run_that_diverges_from_its_first_steps_on_is_noticed() -> None:
    assert keys(hints(snapshot(noisy(lambda step: 2.0 + 0.3 * step, 0.1, steps=20)))) == ["diverges"]


def test_one_wild_step_is_no_divergence() -> None:
    losses = noisy(falling, 0.05)
    losses[-2] = (STEPS - 1, 9.0)
    assert hints(snapshot(losses)) == ()


def test_a_validation_loss_that_rises_while_training_falls_offers_the_best_step() -> None:
    evals = ((20, 1.5), (40, 1.2), (60, 1.25), (80, 1.35))
    found = hints(snapshot(noisy(falling, 0.05, steps=80), evals=evals))
    assert keys(found) == ["overfits"]
    assert (found[0].action, found[0].action_values) == ("stop_and_keep", {"step": 40})


@pytest.mark.parametrize(
    "evals",
    [
        ((20, 1.5), (40, 1.2), (60, 1.3)),  # once is not enough
        ((20, 1.5), (40, 1.2), (60, 1.21), (80, 1.215)),  # within noise
        ((20, 1.5), (40, 1.2), (60, 1.4), (80, 1.25)),  # on its way back
    ],
)
def test_a_validation_loss_that_wavers_is_no_hint(evals: tuple[tuple[int, float], ...]) -> None:
    assert hints(snapshot(noisy(falling, 0.05, steps=80), evals=evals)) == ()


def test_a_step_that_stopping_would_not_keep_is_never_offered() -> None:
    evals = ((20, 1.5), (40, 1.2), (60, 1.25), (80, 1.35))
    by_accuracy = snapshot(noisy(falling, 0.05, steps=80), evals=evals, best_by="accuracy", best_step=60)
    assert hints(by_accuracy) == ()
    assert keys(hints(replace(by_accuracy, best_step=40))) == ["overfits"]


def test_a_run_that_has_ended_is_not_asked_to_stop() -> None:
    evals = ((20, 1.5), (40, 1.2), (60, 1.25), (80, 1.35))
    ended = snapshot(noisy(falling, 0.05, steps=80), evals=evals)
    assert hints(replace(ended, status=Status.FINISHED)) == ()


def test_gradients_that_explode_are_noticed() -> None:
    norms = noisy(lambda step: 1.0 if step < 100 else 30.0, 0.2, steps=104)
    found = hints(snapshot(noisy(falling, 0.05, steps=104), grad_norms=tuple(norms)))
    assert keys(found) == ["gradients_explode"] and found[0].values["steps"] == 5
    assert hints(snapshot(noisy(falling, 0.05, steps=104), grad_norms=tuple(norms[:100]))) == ()


@pytest.mark.parametrize(
    ("rate", "key", "action", "better"),
    [
        (1e-7, "rate_too_low", "raise_rate", 2e-4),
        (2e-4, "flat", "raise_rate", 1e-3),
        (1e-2, "flat", "lower_rate", 2e-4),
    ],
)
def test_a_loss_that_does_not_move_gets_another_rate(rate: float, key: str, action: str, better: float) -> None:
    found = hints(snapshot(noisy(lambda step: 2.5, 0.03, steps=60), rate=rate))
    assert keys(found) == [key]
    assert (found[0].action, found[0].action_values) == (action, {"learning_rate": better})


@pytest.mark.parametrize(
    ("rate", "key", "action", "better"),
    [
        (2e-4, "rate_too_low", "raise_rate", 2e-2),
        (2e-2, "flat", "raise_rate", 1e-1),
        (0.5, "flat", "lower_rate", 2e-2),
    ],
)
def test_with_sgd_a_rate_is_judged_as_the_plan_judges_it(rate: float, key: str, action: str, better: float) -> None:
    seen = snapshot(noisy(lambda step: 2.5, 0.03, steps=60), optimizer="sgd", rate=rate)
    [hint] = hints(seen)
    assert (hint.key, hint.action) == (f"health.{key}", action)
    assert hint.action_values == {"learning_rate": pytest.approx(better)}
    again = planned(64, learning_rate=hint.action_values["learning_rate"], epochs=15.0, optimizer="sgd")
    assert not [warning for warning in again.warnings if warning.place.field == "learning_rate"]


def test_warm_up_and_rows_that_are_known_already_are_no_reason_for_a_hint() -> None:
    assert hints(snapshot(noisy(lambda step: 2.5, 0.03, steps=24))) == ()
    assert hints(snapshot(noisy(lambda step: 0.01, 0.03, steps=60))) == ()


def test_a_real_run_that_learns_is_left_alone_and_a_rate_far_too_low_is_named(train: Callable[..., Outcome]) -> None:
    healthy = train(spec_of(training={"epochs": 15, "evaluations": 4}))
    progress = Progress()
    for event in healthy.events:
        progress.add(event)
        assert hints(progress.snapshot()) == ()
    slow = train(spec_of(name="slow", training={"epochs": 15, "learning_rate": 1e-8, "evaluations": 0}))
    assert keys(hints(fold(slow.events))) == ["rate_too_low"]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_hint_has_words_and_one_button(lang: Any) -> None:
    sick = [
        hints(snapshot(noisy(lambda step: 2.0 + 0.3 * step, 0.1, steps=20))),
        hints(snapshot(noisy(falling, 0.05, steps=80), evals=((20, 1.5), (40, 1.2), (60, 1.25), (80, 1.35)))),
        *(hints(snapshot(noisy(lambda step: 2.5, 0.03, steps=60), rate=rate)) for rate in (1e-7, 2e-4, 1e-2)),
    ]
    for found in sick:
        assert len(found) == 1 and has_text(f"{found[0].key}.title")
        assert "{" not in hint_cards(found, lang) + action_label(found[0], lang)
