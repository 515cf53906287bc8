"""What a run will take, in memory, time and disk, from what a dry run measured or, until then, from the formula.

Owns what the figures of a few measured micro-batches mean for all of an epoch, whether that fits, and what would fit
better. Pure: it measures nothing. `dry_run` makes a `Measurement`, `forecasts` keeps them.

    Preparation + Measurement (or none) + what is free → `Forecast` with `Proposal`s
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from core.adapters.method_facts import METHODS
from core.data.batching import epoch_order, pack_rows
from core.settings import TrainingSettings
from core.training.batch_size import halvings
from core.training.estimate import (
    DiskEstimate,
    Machine,
    MemoryEstimate,
    MicroBatch,
    ModelShape,
    Verdict,
    estimate,
    verdict,
)
from core.training.plan import Plan

if TYPE_CHECKING:
    from core.training.preparation import Preparation

CHECKPOINTING_TIME = 1.3  # a step with activation checkpointing goes through the forward pass twice
APART = 1.15  # shapes are told apart in time where one has that many times the tokens of the other
SHORTER_SHARES = (0.9, 0.75, 0.5)  # of the rows that a shorter maximum length leaves as they are
FOUR_BIT_SHARE = 0.3  # of the 16-bit weights' memory


@dataclass(frozen=True)
class Timing:
    """Seconds that so many tokens, padding included, took."""

    tokens: int
    seconds: float


@dataclass(frozen=True)
class Measurement:
    """What a dry run found; memory over what was held before.

    `largest` is the heaviest micro-batch that was tried; where steps `accumulated` several, the peak is one with the
    gradients of those before. `timings` are forward and backward passes of micro-batches, `optimizer_s` the step after
    them. `sampling_s` is what the sample answers of one review take at most.
    """

    largest: MicroBatch
    peak_gb: float
    accumulated: bool
    trained_gb: float
    optimizer_gb: float
    timings: tuple[Timing, ...]
    optimizer_s: float
    evaluation: Timing | None
    sampling_s: float | None
    took_s: float

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Measurement:
        """Raises: KeyError, TypeError: the values are no measurement."""
        evaluation = values["evaluation"]
        return cls(
            **{
                **values,
                "largest": MicroBatch(**values["largest"]),
                "timings": tuple(Timing(**timing) for timing in values["timings"]),
                "evaluation": Timing(**evaluation) if evaluation else None,
            }
        )


@dataclass(frozen=True)
class Proposal:
    """Settings with which a run needs less: field → value, of `TrainingSettings` or `LoadSettings`.

    `rows_over` is how many rows are longer than a proposed maximum length; None where none is proposed.
    """

    changes: dict[str, Any]
    needed_gb: float
    free_gb: float
    verdict: Verdict
    epoch_s: float | None
    rows_over: int | None = None


@dataclass(frozen=True)
class Forecast:
    """A run before it starts. Times are None where nothing was measured.

    `weights_gb` is the loaded model, which is in memory already and no part of what is needed. `measured` is the
    heaviest micro-batch that was tried, `largest` that of the run: where they differ, memory was scaled up.
    `tried_in_vain` says that there was no memory for a dry run.
    """

    memory: MemoryEstimate
    weights_gb: float
    free_gb: float
    verdict: Verdict
    largest: MicroBatch
    measured: MicroBatch | None = None
    tried_in_vain: bool = False
    step_s: float | None = None
    epoch_s: float | None = None
    review_s: float | None = None
    run_s: float | None = None
    tokens_per_s: float | None = None
    disk: DiskEstimate | None = None
    free_disk_gb: float | None = None
    proposals: tuple[Proposal, ...] = ()

    @property
    def needed_gb(self) -> float:
        return self.memory.total_gb


@dataclass(frozen=True)
class Setting:
    """What a forecast is made for: a prepared run and the machine it would run on, as they are now."""

    prepared: Preparation
    shape: ModelShape
    machine: Machine
    weights_gb: float
    quantized: bool
    disk: DiskEstimate | None = None
    free_disk_gb: float | None = None

    @property
    def training(self) -> TrainingSettings:
        return self.prepared.spec.training

    @property
    def lengths(self) -> list[int]:
        return [len(row.input_ids) for row in self.prepared.train]


def forecast(setting: Setting, measured: Measurement | None, tried_in_vain: bool = False) -> Forecast:
    """What the run will take; without a measurement by the formula, and then without times."""
    plan, free_gb = setting.prepared.plan, setting.machine.free_memory_gb
    largest = largest_micro_batch(setting, plan)
    memory = _memory(setting, plan, largest, measured)
    judged: Verdict = "does_not_fit" if tried_in_vain else verdict(memory.total_gb, free_gb)
    found = Forecast(
        memory=memory,
        weights_gb=setting.weights_gb,
        free_gb=free_gb,
        verdict=judged,
        largest=largest,
        measured=measured.largest if measured else None,
        tried_in_vain=tried_in_vain,
        disk=setting.disk,
        free_disk_gb=setting.free_disk_gb,
        proposals=() if judged == "fits" else proposals(setting, measured),
    )
    return found if measured is None else _with_times(found, setting, measured)


def seen(setting: Setting, needed_gb: float) -> Measurement:
    """As if it had been measured: a run of this setting that took so much memory when it broke."""
    plan = setting.prepared.plan
    largest = largest_micro_batch(setting, plan)
    formula = _formula(setting, largest, plan.activation_checkpointing)
    return Measurement(
        largest=largest,
        peak_gb=needed_gb,
        accumulated=plan.gradient_accumulation_steps > 1,
        trained_gb=formula.gradients_gb,
        optimizer_gb=formula.optimizer_gb,
        timings=(),
        optimizer_s=0.0,
        evaluation=None,
        sampling_s=None,
        took_s=0.0,
    )


def micro_batches(lengths: Sequence[int], plan: Plan, training: TrainingSettings) -> list[list[int]]:
    """The rows of each micro-batch of the first epoch, as the trainer puts them together."""
    if plan.blocks:
        return pack_rows(lengths, plan.max_length, training.seed)
    size = plan.micro_batch_size
    order = epoch_order(lengths, size, training.seed, 0, training.group_by_length)
    return [order[at : at + size] for at in range(0, len(order), size)]


def padded_tokens(lengths: Sequence[int], packed: bool = False) -> int:
    """Tokens of a micro-batch of rows of these lengths, padding included."""
    return sum(lengths) if packed else len(lengths) * max(lengths, default=0)


def largest_micro_batch(setting: Setting, plan: Plan) -> MicroBatch:
    """The heaviest micro-batch of a run: the longest rows together, or the longest block."""
    rows = setting.prepared.train
    trained = [sum(label != -100 for label in row.labels) for row in rows]
    if plan.blocks:
        blocks = micro_batches(setting.lengths, plan, setting.training)
        tokens = max(sum(setting.lengths[index] for index in block) for block in blocks)
        return MicroBatch(1, tokens, max(sum(trained[index] for index in block) for block in blocks))
    longest = sorted(range(len(rows)), key=lambda index: -setting.lengths[index])[: plan.micro_batch_size]
    return MicroBatch(len(longest), setting.lengths[longest[0]], sum(trained[index] for index in longest))


def _memory(setting: Setting, plan: Plan, batch: MicroBatch, measured: Measurement | None) -> MemoryEstimate:
    """The parts of what a run with this plan and heaviest micro-batch needs.

    Where something was measured, what the batch takes is the measured peak without what is fixed, scaled by the formula
    from the micro-batch and the checkpointing that were tried.
    """
    formula = _formula(setting, batch, plan.activation_checkpointing)
    if measured is None:
        return formula
    tried = _formula(setting, measured.largest, setting.prepared.plan.activation_checkpointing)
    copied_gb = formula.adapter_gb - formula.gradients_gb
    adapter_gb = measured.trained_gb + copied_gb
    gradients_gb = measured.trained_gb if measured.accumulated else 0.0
    batch_gb = max(0.0, measured.peak_gb - adapter_gb - measured.optimizer_gb - gradients_gb)
    scale = (formula.activations_gb + formula.logits_gb) / (tried.activations_gb + tried.logits_gb)
    logits_gb = min(formula.logits_gb, scale * batch_gb)
    return MemoryEstimate(
        adapter_gb=adapter_gb,
        gradients_gb=measured.trained_gb if plan.gradient_accumulation_steps > 1 else 0.0,
        optimizer_gb=measured.optimizer_gb,
        activations_gb=scale * batch_gb - logits_gb,
        logits_gb=logits_gb,
    )


def _formula(setting: Setting, batch: MicroBatch, checkpointing: bool) -> MemoryEstimate:
    return estimate(setting.shape, batch, setting.machine, checkpointing, setting.training.optimizer)


def _with_times(found: Forecast, setting: Setting, measured: Measurement) -> Forecast:
    plan = setting.prepared.plan
    steps = _step_times(setting, plan, measured, setting.lengths)
    # A big data set is planned from a sample of its rows: an epoch is so many times that sample.
    epoch_s = sum(steps) * plan.tokens_per_epoch / sum(setting.lengths)
    evaluation_s = 0.0
    if measured.evaluation:
        evaluation_s = measured.evaluation.seconds * plan.validation_tokens / measured.evaluation.tokens
    review_s = evaluation_s + (measured.sampling_s or 0.0)
    epochs = plan.steps / plan.steps_per_epoch
    return replace(
        found,
        step_s=statistics.median(steps),
        epoch_s=epoch_s,
        review_s=review_s if plan.review_steps else None,
        run_s=epochs * epoch_s + len(plan.review_steps) * review_s + (measured.sampling_s or 0.0),
        tokens_per_s=plan.tokens_per_epoch / epoch_s,
    )


def _step_times(setting: Setting, plan: Plan, measured: Measurement, lengths: Sequence[int]) -> list[float]:
    """Seconds of each optimizer step of the first epoch."""
    batches = micro_batches(lengths, plan, setting.training)
    widths = [padded_tokens([lengths[index] for index in batch], packed=bool(plan.blocks)) for batch in batches]
    times = [micro_batch_s(measured.timings, width) for width in widths]
    steps = range(0, len(times), plan.gradient_accumulation_steps)
    return [sum(times[at : at + plan.gradient_accumulation_steps]) + measured.optimizer_s for at in steps]


def micro_batch_s(timings: Sequence[Timing], tokens: int) -> float:
    """Seconds of a micro-batch of so many tokens: on the line through the usual and the longest that were measured.

    Where those are much alike, or noise makes the line absurd, in proportion to the usual one.
    """
    middle = statistics.median(timing.tokens for timing in timings)
    usual = [timing for timing in timings if timing.tokens <= APART * middle]
    long = [timing for timing in timings if timing.tokens > APART * middle]
    at, seconds = _mean(usual)
    if long:
        at_long, seconds_long = _mean(long)
        slope = (seconds_long - seconds) / (at_long - at)
        if 0 < slope * at <= seconds:
            return seconds + slope * (tokens - at)
    return seconds * tokens / at


def _mean(timings: Sequence[Timing]) -> tuple[float, float]:
    return statistics.fmean(each.tokens for each in timings), statistics.fmean(each.seconds for each in timings)


def proposals(setting: Setting, measured: Measurement | None) -> tuple[Proposal, ...]:
    """Changes with which the run fits, the cheapest first; where none makes it easy, those with which it just fits."""
    found = [*_smaller_batches(setting, measured), *_four_bit(setting, measured), *_shorter(setting, measured)]
    for wanted in ("fits", "tight"):
        good = [proposal for proposal in found if proposal.verdict == wanted]
        if good:
            return tuple(good)
    return ()


def _smaller_batches(setting: Setting, measured: Measurement | None) -> list[Proposal]:
    """The largest smaller micro-batch that fits; checkpointing alone; where neither does, both."""
    plan = setting.prepared.plan
    sizes = halvings(plan.micro_batch_size)[1:] if not plan.blocks else []
    smaller = [_change(setting, measured, _of_micro(plan, size)) for size in sizes]
    best = next((proposal for proposal in smaller if proposal.verdict == "fits"), None)
    found = [best] if best else smaller[-1:]
    if plan.activation_checkpointing or not METHODS[setting.prepared.spec.method.method].can_checkpoint:
        return found
    checkpointed = _change(setting, measured, {"activation_checkpointing": True})
    found.append(checkpointed)
    if best is None and checkpointed.verdict != "fits" and sizes:
        both = ({**_of_micro(plan, size), "activation_checkpointing": True} for size in sizes)
        tried = [_change(setting, measured, changes) for changes in both]
        found.append(next((proposal for proposal in tried if proposal.verdict == "fits"), tried[-1]))
    return found


def _of_micro(plan: Plan, size: int) -> dict[str, Any]:
    """A smaller micro-batch and as many more of them, so that a step learns from as many rows as before."""
    accumulation = math.ceil(plan.micro_batch_size * plan.gradient_accumulation_steps / size)
    return {"micro_batch_size": size, "gradient_accumulation_steps": accumulation}


def _four_bit(setting: Setting, measured: Measurement | None) -> list[Proposal]:
    """The base loaded in 4-bit: the run needs as much as before, and more is free."""
    facts = METHODS[setting.prepared.spec.method.method]
    if setting.quantized or "nf4" not in facts.quantised:
        return []
    free_gb = setting.machine.free_memory_gb + (1 - FOUR_BIT_SHARE) * setting.weights_gb
    return [_change(setting, measured, {"precision": "nf4"}, free_gb)]


def _shorter(setting: Setting, measured: Measurement | None) -> list[Proposal]:
    """The largest usual maximum length that fits, with how many rows are longer."""
    lengths = sorted(setting.lengths)
    for share in SHORTER_SHARES:
        length = lengths[max(0, math.ceil(share * len(lengths)) - 1)]
        if length >= setting.prepared.plan.max_length:
            continue
        proposal = _change(setting, measured, {"max_length": length})
        if proposal.verdict == "fits" or share == SHORTER_SHARES[-1]:
            return [replace(proposal, rows_over=sum(each > length for each in lengths))]
    return []


def _change(
    setting: Setting, measured: Measurement | None, changes: dict[str, Any], free_gb: float | None = None
) -> Proposal:
    """What the run would take with these changes."""
    known = {name: value for name, value in changes.items() if name != "precision"}
    plan = replace(setting.prepared.plan, **known)
    limit = plan.max_length
    batch = largest_micro_batch(setting, plan)
    if batch.length > limit:
        batch = replace(batch, length=limit, trained_tokens=batch.trained_tokens * limit // batch.length)
    needed_gb = _memory(setting, plan, batch, measured).total_gb
    free_gb = setting.machine.free_memory_gb if free_gb is None else free_gb
    epoch_s = None
    if measured is not None and measured.timings and "precision" not in changes:
        within = [min(length, limit) for length in setting.lengths]
        if setting.training.long_rows == "skip":
            within = [length for length in setting.lengths if length <= limit]
        slower = CHECKPOINTING_TIME if "activation_checkpointing" in changes else 1.0
        epoch_s = slower * sum(_step_times(setting, plan, measured, within))
    return Proposal(changes, needed_gb, free_gb, verdict(needed_gb, free_gb), epoch_s)
