"""What a run will do, worked out before it starts: every automatic value with its reason, steps, forecast, warnings.

Owns the rules of the defaults; those of the batch are in `batch_size`, warnings in `advice`. Pure: it sees lengths and
numbers, never files, tensors or the clock. It works in two steps, because rows must be left out and set aside for
validation in between:

    rows' lengths → `row_limit`, `validation_share` → rows left out, split → `plan` → `Plan.resolve(spec)`
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.adapters.method_facts import METHODS
from core.errors import Place, Problem, refusal
from core.settings import Metric, Optimizer, TrainingSettings
from core.training.advice import advice
from core.training.batch_size import SHORTEST_ROW, USUAL_BLOCK, Batch, longest_in_memory, usual_block
from core.training.decisions import Decision, Reason, RowCounts
from core.training.estimate import Machine, MemoryEstimate, ModelShape
from core.training.spec import RunSpec

WANTED_STEPS = 40
MIN_EPOCHS = 3
MAX_EPOCHS = 20
MIN_EVALUATIONS = 5


@dataclass(frozen=True)
class Plan:
    """A run in numbers. `review_steps` are the steps after which it is evaluated and sample answers are made.

    `blocks` is how many blocks the rows of an epoch are packed into, each a micro-batch; 0 where they are not packed.
    `best_by` and `optimizer` are those of the spec: whoever reads the curves of a run has to know them.
    """

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
    learning_rate: float
    checkpoint_every_s: float
    activation_checkpointing: bool
    threads: int
    estimate: MemoryEstimate
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Problem, ...] = ()
    blocks: int = 0
    best_by: Metric = "loss"
    optimizer: Optimizer = "adamw"

    @property
    def batch_size(self) -> int:
        """Rows an optimizer step learns from; on average, where they are packed."""
        if self.blocks:
            return max(1, round(self.rows_train / self.blocks * self.gradient_accumulation_steps))
        return self.micro_batch_size * self.gradient_accumulation_steps

    @property
    def total_tokens(self) -> int:
        return round(self.tokens_per_epoch * self.steps / self.steps_per_epoch)

    def reason(self, name: str) -> Reason | None:
        return next((reason for reason in self.reasons if reason.field == name), None)

    def resolve(self, spec: RunSpec) -> RunSpec:
        """The spec with every automatic value filled in; epochs are left as they are where steps decide."""
        training = spec.training.model_copy(
            update={
                "epochs": spec.training.epochs if spec.training.steps else float(self.epochs),
                "learning_rate": self.learning_rate,
                "checkpoint_every_s": self.checkpoint_every_s,
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
    fits_memory = longest_in_memory(spec, model, machine)
    if documents:
        limit = min(max(longest, SHORTEST_ROW), USUAL_BLOCK, model.max_length or USUAL_BLOCK, fits_memory)
        return Decision(limit, Reason("max_length", "training.reason.max_length.blocks", {"tokens": limit}))
    limit = min(longest, model.max_length or longest, fits_memory)
    if spec.training.packing and limit == longest:
        block = min(usual_block(lengths), model.max_length or USUAL_BLOCK, fits_memory)
        return Decision(block, Reason("max_length", "training.reason.max_length.packed", {"tokens": block}))
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
    batch = Batch.choose(spec, rows, model, machine)
    steps_per_epoch = math.ceil((batch.blocks or math.ceil(count / batch.micro)) / batch.accumulation)
    epochs, epochs_reason = _epochs(spec.training, steps_per_epoch)
    steps = spec.training.steps or _steps(epochs, steps_per_epoch)
    reviews, reviews_reason = _reviews(spec.training, epochs, steps)
    rate, rate_reason = _learning_rate(spec)
    save_every_s, save_reason = _checkpoint_interval_s(spec)
    reasons = [rows.max_length.reason, epochs_reason, rate_reason, rows.validation_share.reason, reviews_reason]
    reasons += [*batch.reasons, save_reason, *_plain_reasons(spec, machine)]
    made = Plan(
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
        warmup_steps=_warmup_steps(spec.training, steps),
        review_steps=reviews,
        tokens_per_epoch=sum(rows.train_lengths),
        trained_tokens_per_epoch=sum(rows.train_trained),
        validation_tokens=sum(rows.validation_lengths),
        validation_share=rows.validation_share.value,
        alpha=spec.method.alpha if spec.method.alpha is not None else 2.0 * spec.method.rank,
        learning_rate=rate,
        checkpoint_every_s=save_every_s,
        activation_checkpointing=batch.checkpointing,
        threads=spec.training.threads or machine.threads,
        estimate=batch.estimate,
        reasons=tuple(reason for reason in reasons if reason is not None),
        blocks=batch.blocks,
        best_by=spec.training.best_by,
        optimizer=spec.training.optimizer,
    )
    return replace(made, warnings=advice(spec, rows, made, model, machine))


def _plain_reasons(spec: RunSpec, machine: Machine) -> list[Reason]:
    """Those of values that follow from one other."""
    reasons = []
    if spec.method.alpha is None:
        reasons.append(Reason("alpha", "training.reason.alpha", {"rank": spec.method.rank}))
    if spec.training.threads is None:
        reasons.append(Reason("threads", "training.reason.threads", {"threads": machine.threads}))
    return reasons


def _checkpoint_interval_s(spec: RunSpec) -> tuple[float, Reason | None]:
    """Seconds of training between checkpoints: adapters are small; trained weights of the base are not."""
    if spec.training.checkpoint_every_s is not None:
        return spec.training.checkpoint_every_s, None
    large = METHODS[spec.method.method].trains_base
    seconds, why = (600.0, "large") if large else (60.0, "small")
    values = {"seconds": round(seconds)}
    return seconds, Reason("checkpoint_every_s", f"training.reason.checkpoint_every_s.{why}", values)


def _learning_rate(spec: RunSpec) -> tuple[float, Reason | None]:
    if spec.training.learning_rate is not None:
        return spec.training.learning_rate, None
    facts = METHODS[spec.method.method]
    low, high = facts.usual_rates
    values = {"rate": f"{facts.learning_rate:g}", "method": facts.name, "low": f"{low:g}", "high": f"{high:g}"}
    return facts.learning_rate, Reason("learning_rate", "training.reason.learning_rate", values)


def _warmup_steps(asked: TrainingSettings, steps: int) -> int:
    """Steps of warm-up; the last step always has the whole rate."""
    wished = asked.warmup_steps if asked.warmup_steps is not None else round(asked.warmup_share * steps)
    return min(wished, steps - 1)


def _epochs(asked: TrainingSettings, steps_per_epoch: int) -> tuple[float, Reason | None]:
    if asked.steps is not None:
        epochs = asked.steps / steps_per_epoch
        return epochs, Reason("epochs", "training.reason.epochs.steps", {"epochs": f"{epochs:g}", "steps": asked.steps})
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
