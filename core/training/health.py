"""What the curves of a run say about it: hints, each with what can be done in one click.

Owns when a curve is called unhealthy. Pure: it sees a snapshot and nothing else. The rules compare medians of several
steps with each other and with the noise of the curve itself, and say nothing where they cannot tell: a hint on a
healthy run does more harm than one that comes ten steps late.

    diverges          the loss has risen well above where it had been
    overfits          the validation loss rises while the training loss falls
    gradients_explode gradients are many times what they were
    rate_too_low      the loss has not moved, and the learning rate is below what the method needs
    flat              the loss has not moved for another reason
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from core.adapters.method_facts import METHODS
from core.training.advice import RateRange, usual_rates
from core.training.progress import Snapshot

Action = Literal["stop_and_keep", "lower_rate", "raise_rate"]
Series = Sequence[tuple[int, float]]

WINDOW = 5  # steps whose median stands for a place on a curve
FEWEST_STEPS = 20  # after warm-up, below which a curve that has not moved says nothing
DIVERGED_FACTOR = 1.3  # of the lowest median there was
DIVERGED_NOISE = 4  # times the noise of the curve
OVERFIT_FACTOR = 1.03  # of the best validation loss
OVERFIT_EVALUATIONS = 2  # in a row after the best
EXPLODED_FACTOR = 10  # times the usual gradient norm
EXPLODED_STEPS = 3  # of the last `RECENT`
RECENT = 10
UNMOVED_SHARE = 0.01  # of the first loss
DOUBTFUL_SHARE = 0.05  # of it: a curve too noisy to tell so little is not called flat
LEARNED_LOSS = 0.05  # a loss that begins below has nothing to learn
SLOWER = 4  # times lower is what a run that diverges should try
FASTER = 5


@dataclass(frozen=True)
class Hint:
    """Something to tell a person about a run: a key of the catalogue with values, and the one action that is offered.

    `action_values` hold what the action needs: `step` to keep, or `learning_rate` of a new run.
    """

    key: str
    values: dict[str, Any] = field(default_factory=dict)
    action: Action = "stop_and_keep"
    action_values: dict[str, Any] = field(default_factory=dict)


def hints(snapshot: Snapshot) -> tuple[Hint, ...]:
    """What is wrong with a run, the worst first; nothing where it is well or nothing can be said yet."""
    if snapshot.plan is None:
        return ()
    facts = METHODS.get(snapshot.method, METHODS["lora"])  # type: ignore[call-overload]
    rate, warmup = snapshot.plan.learning_rate, snapshot.plan.warmup_steps
    found = [_diverges(snapshot.losses, rate), _explodes(snapshot.grad_norms, warmup, rate)]
    if not any(found):
        found = [_flat(snapshot.losses, warmup, rate, usual_rates(facts, snapshot.plan.optimizer))]
    overfits = _overfits(snapshot.losses, snapshot.evals, snapshot.best_step) if snapshot.status.active else None
    return tuple(hint for hint in (*found, overfits) if hint is not None)


def _diverges(losses: Series, rate: float) -> Hint | None:
    if len(losses) < 2 * WINDOW:
        return None
    now = _median(losses[-WINDOW:])
    places = [_median(losses[at : at + WINDOW]) for at in range(len(losses) - 2 * WINDOW + 1)]
    low = min(places)
    if now < DIVERGED_FACTOR * low or now - low < DIVERGED_NOISE * _noise(losses):
        return None
    step = losses[places.index(low) + WINDOW // 2][0]
    values = {"now": _shown(now), "low": _shown(low), "step": step}
    return _lower("health.diverges", values, rate)


def _overfits(losses: Series, evals: Series, kept_step: int | None) -> Hint | None:
    """The validation loss has risen since the step that stopping now would keep; by accuracy that may be another."""
    if len(evals) <= OVERFIT_EVALUATIONS:
        return None
    best_step, best = min(evals, key=lambda point: point[1])
    if best_step != kept_step:
        return None
    since = [loss for step, loss in evals if step > best_step]
    if len(since) < OVERFIT_EVALUATIONS or since[-1] < OVERFIT_FACTOR * best or since[-1] < since[0]:
        return None
    before = [point for point in losses if point[0] <= best_step][-WINDOW:]
    after = [point for point in losses if point[0] > best_step][-WINDOW:]
    if not before or not after or _median(after) >= _median(before):
        return None
    values = {"step": best_step, "best": _shown(best), "now": _shown(since[-1]), "train": _shown(_median(after))}
    return Hint("health.overfits", values, "stop_and_keep", {"step": best_step})


def _explodes(norms: Series, warmup: int, rate: float) -> Hint | None:
    settled = [point for point in norms if point[0] > warmup]
    usual, recent = settled[:-RECENT], settled[-RECENT:]
    if len(usual) < RECENT:
        return None
    normal = _median(usual)
    large = [norm for _, norm in recent if norm > EXPLODED_FACTOR * normal]
    if normal <= 0 or len(large) < EXPLODED_STEPS:
        return None
    values = {"usual": _shown(normal), "now": _shown(max(large)), "steps": len(large)}
    return _lower("health.gradients_explode", values, rate)


def _flat(losses: Series, warmup: int, rate: float, usual: RateRange) -> Hint | None:
    """The loss is where it began, though enough steps were done at the whole rate."""
    settled = sum(step > warmup for step, _ in losses)
    if settled < FEWEST_STEPS:
        return None
    window = max(WINDOW, len(losses) // 4)
    first, now = _median(losses[:window]), _median(losses[-window:])
    doubt = 1.25 * _noise(losses) * (2 / window) ** 0.5  # standard error of the difference of two medians
    if first < LEARNED_LOSS or doubt > DOUBTFUL_SHARE * first or now < (1 - UNMOVED_SHARE) * first - doubt:
        return None
    values = {"steps": losses[-1][0], "first": _shown(first), "now": _shown(now), "rate": f"{rate:g}"}
    if rate < usual.low:
        values |= {"better": f"{usual.start:g}", "low": f"{usual.low:g}", "high": f"{usual.high:g}"}
        return Hint("health.rate_too_low", values, "raise_rate", {"learning_rate": usual.start})
    if rate < usual.high:
        better = min(usual.high, FASTER * rate)
        return Hint("health.flat", values | {"better": f"{better:g}"}, "raise_rate", {"learning_rate": better})
    return _lower("health.flat", values, rate, usual.start)


def _lower(key: str, values: dict[str, Any], rate: float, better: float | None = None) -> Hint:
    """A hint to try a lower learning rate."""
    lower = float(f"{better if better is not None and better < rate else rate / SLOWER:.2g}")
    shown = values | {"rate": f"{rate:g}", "better": f"{lower:g}"}
    return Hint(key, shown, "lower_rate", {"learning_rate": lower})


def _median(points: Series) -> float:
    return statistics.median(value for _, value in points)


def _noise(points: Series) -> float:
    """How much neighbouring steps differ, as a standard deviation: robust, and blind to a slow trend."""
    steps = [abs(after - before) for (_, before), (_, after) in pairwise(points)]
    return 1.4826 * statistics.median(steps) / 2**0.5


def _shown(value: float) -> str:
    return f"{value:.3g}"
