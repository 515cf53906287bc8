"""What a run will do, worked out before it starts: every automatic value with its reason, steps, forecast, warnings.

Owns the rules of the defaults. Pure: it sees lengths and numbers, never files, tensors or the clock. It works in two
steps, because rows must be left out and set aside for validation in between:

    rows' lengths → `row_limit`, `validation_share` → rows left out, split → `plan` → `Plan.resolve(spec)`
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from core.errors import Place, Problem, refusal
from core.settings import TrainingSettings
from core.training.estimate import Machine, MemoryEstimate, MicroBatch, ModelShape, estimate
from core.training.spec import RunSpec

WANTED_STEPS = 40
MIN_EPOCHS = 3
MAX_EPOCHS = 20
MIN_EVALUATIONS = 5
MEMORY_SHARE = 0.7  # of the free memory; chat's key-value caches and the rest of the machine need some too
SHORTEST_ROW = 8
USUAL_BLOCK = 1024  # tokens of a block of documents where nobody chose


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


@dataclass(frozen=True)
class Plan:
    """A run in numbers. `review_steps` are the steps after which it is evaluated and sample answers are made."""

    rows_train: int
    rows_validation: int
    rows_left_out: int
    rows_cut: int
    max_length: int
    epochs: float
    steps: int
    steps_per_epoch: int
    micro_batch_size: int
    gradient_accumulation_steps: int
    warmup_steps: int
    review_steps: tuple[int, ...]
    tokens_per_epoch: int
    trained_tokens_per_epoch: int
    validation_tokens: int
    validation_share: float
    alpha: float
    activation_checkpointing: bool
    threads: int
    estimate: MemoryEstimate
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Problem, ...] = ()

    @property
    def batch_size(self) -> int:
        """Rows an optimizer step learns from."""
        return self.micro_batch_size * self.gradient_accumulation_steps

    @property
    def total_tokens(self) -> int:
        return round(self.tokens_per_epoch * self.steps / self.steps_per_epoch)

    def reason(self, name: str) -> Reason | None:
        return next((reason for reason in self.reasons if reason.field == name), None)

    def resolve(self, spec: RunSpec) -> RunSpec:
        """The spec with every automatic value filled in."""
        training = spec.training.model_copy(
            update={
                "epochs": float(self.epochs),
                "max_length": self.max_length,
                "micro_batch_size": self.micro_batch_size,
                "gradient_accumulation_steps": self.gradient_accumulation_steps,
                "validation_share": self.validation_share,
                "evaluations": len(self.review_steps),
                "activation_checkpointing": self.activation_checkpointing,
                "threads": self.threads,
            }
        )
        method = spec.method.model_copy(update={"alpha": float(self.alpha)})
        return spec.model_copy(update={"training": training, "method": method})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        return cls(
            **{
                **values,
                "review_steps": tuple(values["review_steps"]),
                "estimate": MemoryEstimate(**values["estimate"]),
                "reasons": tuple(Reason(**reason) for reason in values["reasons"]),
                "warnings": tuple(
                    Problem(**{**problem, "place": Place(**problem["place"])}) for problem in values["warnings"]
                ),
            }
        )


def row_limit(
    spec: RunSpec, lengths: Sequence[int], model: ModelShape, machine: Machine, documents: bool = False
) -> Decision:
    """The maximum length of a row in tokens; of a block that is filled, where the rows are documents.

    Raises:
        WorkbenchError: H04 where the spec names more than the model can read.
    """
    wished = spec.training.max_length
    if wished is not None and model.max_length is not None and wished > model.max_length:
        raise refusal("H04_over_model_limit", Place(field="max_length"), seen=wished, limit=model.max_length)
    if wished is not None:
        return Decision(wished)
    longest = max(lengths, default=SHORTEST_ROW)
    fits_memory = _longest_in_memory(spec, model, machine)
    if documents:
        limit = min(max(longest, SHORTEST_ROW), USUAL_BLOCK, model.max_length or USUAL_BLOCK, fits_memory)
        return Decision(limit, Reason("max_length", "training.reason.max_length.blocks", {"tokens": limit}))
    limit = min(longest, model.max_length or longest, fits_memory)
    if limit == longest:
        return Decision(limit, Reason("max_length", "training.reason.max_length.longest_row", {"tokens": limit}))
    over = sum(length > limit for length in lengths)
    why = "model" if limit == model.max_length else "memory"
    values = {"tokens": limit, "longest": longest, "rows": over, "free_gb": round(machine.free_memory_gb, 1)}
    return Decision(limit, Reason("max_length", f"training.reason.max_length.{why}", values))


def validation_share(spec: RunSpec, examples: int, usual_rows: int) -> Decision:
    """The share of the examples that is set aside; `usual_rows` is how many that should be of so many."""
    asked = spec.training
    if spec.data.validation_dataset:
        values: dict[str, Any] = {"name": spec.data.validation_dataset}
        return Decision(0.0, Reason("validation_share", "training.reason.validation_share.other_set", values))
    if asked.validation_rows and examples:
        return Decision(min(0.5, asked.validation_rows / examples))
    if asked.validation_share is not None:
        return Decision(asked.validation_share)
    why = "some" if usual_rows else "too_few"
    share = usual_rows / examples if examples else 0.0
    values = {"rows": usual_rows, "total": examples, "percent": round(100 * share)}
    return Decision(share, Reason("validation_share", f"training.reason.validation_share.{why}", values))


def plan(spec: RunSpec, rows: RowCounts, model: ModelShape, machine: Machine) -> Plan:
    """Everything a run will do.

    Raises:
        WorkbenchError: D30 where there is no row to train on; H07 where the epochs make less than one step.
    """
    count = len(rows.train_lengths)
    if not count:
        raise refusal("D30_no_rows_to_train")
    batch = _Batch.choose(spec, rows, model, machine)
    steps_per_epoch = math.ceil(math.ceil(count / batch.micro) / batch.accumulation)
    epochs, epochs_reason = _epochs(spec.training, steps_per_epoch)
    steps = _steps(epochs, steps_per_epoch)
    reviews, reviews_reason = _reviews(spec.training, epochs, steps)
    alpha_reason = Reason("alpha", "training.reason.alpha", {"rank": spec.method.rank})
    threads_reason = Reason("threads", "training.reason.threads", {"threads": machine.threads})
    reasons = [rows.max_length.reason, epochs_reason, rows.validation_share.reason, reviews_reason, *batch.reasons]
    reasons += [alpha_reason if spec.method.alpha is None else None]
    reasons += [threads_reason if spec.training.threads is None else None]
    return Plan(
        rows_train=count,
        rows_validation=len(rows.validation_lengths),
        rows_left_out=rows.left_out,
        rows_cut=rows.cut,
        max_length=int(rows.max_length.value),
        epochs=epochs,
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        micro_batch_size=batch.micro,
        gradient_accumulation_steps=batch.accumulation,
        warmup_steps=min(round(spec.training.warmup_share * steps), steps - 1),
        review_steps=reviews,
        tokens_per_epoch=sum(rows.train_lengths),
        trained_tokens_per_epoch=sum(rows.train_trained),
        validation_tokens=sum(rows.validation_lengths),
        validation_share=rows.validation_share.value,
        alpha=spec.method.alpha if spec.method.alpha is not None else 2.0 * spec.method.rank,
        activation_checkpointing=batch.checkpointing,
        threads=spec.training.threads or machine.threads,
        estimate=batch.estimate,
        reasons=tuple(reason for reason in reasons if reason is not None),
        warnings=tuple(_warnings(spec, rows, batch, machine, steps_per_epoch)),
    )


def usual_batch_size(rows: int) -> int:
    """Rows an optimizer step learns from: 8 to 16, fewer where a pass over the rows would be less than four steps."""
    if rows >= 32:
        return 16 if rows >= 256 else 8
    return 1 << (max(1, rows // 4).bit_length() - 1)


@dataclass(frozen=True)
class _Batch:
    """The batch of a run and how it was found."""

    micro: int
    accumulation: int
    checkpointing: bool
    estimate: MemoryEstimate
    reasons: tuple[Reason, ...]

    @classmethod
    def choose(cls, spec: RunSpec, rows: RowCounts, model: ModelShape, machine: Machine) -> _Batch:
        asked = spec.training
        wanted = usual_batch_size(len(rows.train_lengths))
        if asked.gradient_accumulation_steps is not None:
            wanted = max(1, wanted // asked.gradient_accumulation_steps)
        candidates = [asked.micro_batch_size] if asked.micro_batch_size is not None else _halvings(wanted)
        switches = [asked.activation_checkpointing] if asked.activation_checkpointing is not None else [False, True]
        room_gb = MEMORY_SHARE * machine.free_memory_gb
        micro, switch, forecast = candidates[-1], switches[-1], None
        for switch in switches:
            for micro in candidates:
                forecast = estimate(model, _largest(rows, micro), machine, switch)
                if forecast.total_gb <= room_gb:
                    break
            else:
                continue
            break
        assert forecast is not None, "there is at least one candidate"
        accumulation = asked.gradient_accumulation_steps or max(1, math.ceil(wanted / micro))
        reasons = _batch_reasons(asked, micro, accumulation, (switch, forecast, machine))
        return cls(micro, accumulation, switch, forecast, reasons)


def _halvings(size: int) -> list[int]:
    """16 → 16, 8, 4, 2, 1."""
    return [size] if size == 1 else [size, *_halvings(size // 2)]


def _largest(rows: RowCounts, micro: int) -> MicroBatch:
    """The heaviest micro-batch there can be: the longest rows together, as length grouping puts them."""
    longest = sorted(zip(rows.train_lengths, rows.train_trained, strict=True), reverse=True)[:micro]
    return MicroBatch(len(longest), longest[0][0], sum(trained for _, trained in longest))


def _batch_reasons(
    asked: TrainingSettings, micro: int, accumulation: int, found: tuple[bool, MemoryEstimate, Machine]
) -> tuple[Reason, ...]:
    checkpointing, forecast, machine = found
    values = {
        "micro": micro,
        "accumulation": accumulation,
        "batch": micro * accumulation,
        "needed_gb": round(forecast.total_gb, 2),
        "free_gb": round(machine.free_memory_gb, 1),
    }
    reasons = []
    if asked.micro_batch_size is None:
        reasons.append(Reason("micro_batch_size", "training.reason.micro_batch_size", values))
    if asked.gradient_accumulation_steps is None:
        reasons.append(Reason("gradient_accumulation_steps", "training.reason.gradient_accumulation_steps", values))
    if asked.activation_checkpointing is None:
        needed = "needed" if checkpointing else "not_needed"
        reasons.append(Reason("activation_checkpointing", f"training.reason.activation_checkpointing.{needed}", values))
    return tuple(reasons)


def _longest_in_memory(spec: RunSpec, model: ModelShape, machine: Machine) -> int:
    """Tokens of the longest row that can be trained alone, in steps of a power of two."""
    checkpointing = spec.training.activation_checkpointing is not False
    length = 1 << 20
    while length > SHORTEST_ROW:
        forecast = estimate(model, MicroBatch(1, length, length), machine, checkpointing)
        if forecast.total_gb <= MEMORY_SHARE * machine.free_memory_gb:
            break
        length //= 2
    return length


def _epochs(asked: TrainingSettings, steps_per_epoch: int) -> tuple[float, Reason | None]:
    if asked.epochs is not None:
        return asked.epochs, None
    wanted = round(WANTED_STEPS / steps_per_epoch)
    epochs = min(MAX_EPOCHS, max(MIN_EPOCHS, wanted))
    why = "usual" if epochs == MIN_EPOCHS else "capped" if epochs < wanted else "few_rows"
    values = {"epochs": epochs, "steps": epochs * steps_per_epoch, "per_epoch": steps_per_epoch}
    return epochs, Reason("epochs", f"training.reason.epochs.{why}", values)


def _steps(epochs: float, steps_per_epoch: int) -> int:
    steps = round(epochs * steps_per_epoch)
    if steps < 1:
        least = math.ceil(1000 / steps_per_epoch) / 1000
        raise refusal("H07_no_steps", Place(field="epochs"), seen=epochs, least=least, per_epoch=steps_per_epoch)
    return steps


def _reviews(asked: TrainingSettings, epochs: float, steps: int) -> tuple[tuple[int, ...], Reason | None]:
    """Evenly spaced steps that end with the last one; the end of every whole epoch is among them."""
    count = asked.evaluations
    if count is None:
        whole = max(1, math.ceil(epochs))
        count = whole * math.ceil(MIN_EVALUATIONS / whole)
    count = min(count, steps)
    reviews = tuple(sorted({max(1, round(number * steps / count)) for number in range(1, count + 1)}))
    if asked.evaluations is not None:
        return reviews, None
    return reviews, Reason("evaluations", "training.reason.evaluations", {"count": len(reviews)})


def _warnings(spec: RunSpec, rows: RowCounts, batch: _Batch, machine: Machine, steps_per_epoch: int) -> list[Problem]:
    count = len(rows.train_lengths)
    warnings = []
    if batch.micro * batch.accumulation > count:
        values: dict[str, Any] = {
            "batch": batch.micro * batch.accumulation,
            "rows": count,
            "per_epoch": steps_per_epoch,
        }
        warnings.append(Problem("H03_batch_over_rows", Place(field="micro_batch_size"), values, "warning"))
    if (spec.training.validation_share or spec.training.validation_rows) and not rows.validation_lengths:
        values = {"share": spec.training.validation_share, "rows": count}
        warnings.append(Problem("D34_no_validation_rows", Place(field="validation_share"), values, "warning"))
    if rows.rendered is not None:
        values = {"rendered": rows.rendered, "rows": count + len(rows.validation_lengths)}
        warnings.append(Problem("H10_plan_from_sample", values=values, severity="warning"))
    if batch.estimate.total_gb > machine.free_memory_gb:
        values = {"needed_gb": round(batch.estimate.total_gb, 1), "free_gb": round(machine.free_memory_gb, 1)}
        warnings.append(Problem("H10_memory", Place(field="micro_batch_size"), values, "warning"))
    return warnings
