"""Where people err: settings that are allowed and make a poor run, each with what would happen in numbers.

Owns the thresholds. Pure, called by `plan` with the finished plan. Each warning names its field and, where one value
would mend it, that value as `suggested`, so that the page can offer it. What is automatic is never warned of, because
the plan chose it for the data: a run that nobody touched brings up nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.adapters.method_facts import METHODS, MethodFacts
from core.errors import Place, Problem
from core.settings import MethodSettings, Optimizer, TrainingSettings, fields_of
from core.training.batch_size import usual_batch_size
from core.training.decisions import RowCounts

if TYPE_CHECKING:
    from core.training.estimate import Machine, ModelShape
    from core.training.plan import Plan
    from core.training.spec import RunSpec

LONGEST_WARMUP = 0.2  # of all steps
FEWEST_STEPS = 20
WANTED_STEPS = 40
MOST_EPOCHS = 20  # the most that a plan chooses, for the smallest data sets
FAR = 2.0  # times over or under the range of learning rates that people use
SGD_FACTOR = 100.0  # plain gradient descent needs a rate about so many times AdamW's
LOST_WORTH_SAYING = 0.05  # of the trained tokens, where the maximum length is not a person's
TOKENS_A_RANK = 250  # trained tokens a pass for each unit of a rank over the usual one
TINY_ROWS, TINY_DROPOUT = 100, 0.05


@dataclass(frozen=True)
class RateRange:
    """The learning rate to start with, and the lowest and highest that people use."""

    start: float
    low: float
    high: float


@dataclass(frozen=True)
class _Run:
    """All that the rules look at."""

    spec: RunSpec
    rows: RowCounts
    plan: Plan
    model: ModelShape
    machine: Machine

    @property
    def asked(self) -> TrainingSettings:
        return self.spec.training


def advice(spec: RunSpec, rows: RowCounts, plan: Plan, model: ModelShape, machine: Machine) -> tuple[Problem, ...]:
    """Every warning of a run, in the order in which a person would mend them."""
    run = _Run(spec, rows, plan, model, machine)
    return tuple(problem for rule in _RULES for problem in rule(run))


def usual_rates(facts: MethodFacts, optimizer: Optimizer) -> RateRange:
    """The usual learning rates of a method with an optimizer, none above the highest that is allowed."""
    factor = SGD_FACTOR if optimizer == "sgd" else 1.0
    return RateRange(*(min(1.0, factor * rate) for rate in (facts.learning_rate, *facts.usual_rates)))


def _lost_answers(run: _Run) -> Iterator[Problem]:
    rows, asked = run.rows, run.asked
    lost = rows.left_out + rows.cut
    if not rows.trained_lost or (asked.max_length is None and rows.trained_lost < LOST_WORTH_SAYING):
        return
    whole = min(rows.longest, run.model.max_length or rows.longest)
    values = {"rows": lost, "limit": run.plan.max_length, "percent": _percent(rows.trained_lost)}
    values |= {"longest": rows.longest, "way": asked.long_rows}
    if whole > run.plan.max_length:
        values["suggested"] = whole
    yield _warning("H04_answers_lost", "max_length", values)


def _batch_over_rows(run: _Run) -> Iterator[Problem]:
    rows, batch = run.plan.rows_train, run.plan.micro_batch_size * run.plan.gradient_accumulation_steps
    if batch > rows and not run.plan.blocks:
        suggested = max(1, usual_batch_size(rows) // run.plan.gradient_accumulation_steps)
        values = {"batch": batch, "rows": rows, "per_epoch": run.plan.steps_per_epoch, "suggested": suggested}
        yield _warning("H03_batch_over_rows", "micro_batch_size", values)


def _packed_micro_batch(run: _Run) -> Iterator[Problem]:
    if run.plan.blocks and run.asked.micro_batch_size not in (None, 1):
        values = {"micro": run.asked.micro_batch_size, "blocks": run.plan.blocks, "suggested": 1}
        yield _warning("H12_packed_micro_batch", "micro_batch_size", values)


def _few_steps(run: _Run) -> Iterator[Problem]:
    if run.plan.steps >= FEWEST_STEPS:
        return
    values = {"steps": run.plan.steps, "least": FEWEST_STEPS, "rows": run.plan.rows_train, "batch": run.plan.batch_size}
    if run.asked.steps is not None:
        yield _warning("H07_few_steps", "steps", values | {"suggested": WANTED_STEPS})
    else:
        epochs = float(min(MOST_EPOCHS, math.ceil(WANTED_STEPS / run.plan.steps_per_epoch)))
        yield _warning("H07_few_steps", "epochs", values | {"suggested": epochs})


def _repeated_rows(run: _Run) -> Iterator[Problem]:
    if run.plan.epochs <= MOST_EPOCHS:
        return
    values = {"rows": run.plan.rows_train, "times": round(run.plan.epochs), "most": MOST_EPOCHS}
    usual = max(3, min(MOST_EPOCHS, round(WANTED_STEPS / run.plan.steps_per_epoch)))
    if run.asked.steps is not None:
        yield _warning("H07_rows_repeated", "steps", values | {"suggested": usual * run.plan.steps_per_epoch})
    else:
        yield _warning("H07_rows_repeated", "epochs", values | {"suggested": float(usual)})


def _long_warmup(run: _Run) -> Iterator[Problem]:
    asked, steps = run.asked, run.plan.steps
    warmup = asked.warmup_steps if asked.warmup_steps is not None else run.plan.warmup_steps
    if warmup <= round(LONGEST_WARMUP * steps):
        return
    usual = fields_of(TrainingSettings)["warmup_share"].default
    values = {"warmup": warmup, "steps": steps, "percent": _percent(min(1, warmup / steps))}
    values["left"] = max(1, steps - warmup)
    if asked.warmup_steps is not None:
        yield _warning("H02_warmup_too_long", "warmup_steps", values | {"suggested": round(usual * steps)})
    else:
        yield _warning("H02_warmup_too_long", "warmup_share", values | {"suggested": usual})


def _far_rate(run: _Run) -> Iterator[Problem]:
    rate, usual = run.plan.learning_rate, usual_rates(METHODS[run.spec.method.method], run.asked.optimizer)
    values: dict[str, Any] = {"rate": f"{rate:g}", "low": f"{usual.low:g}", "high": f"{usual.high:g}"}
    values |= {"steps": run.plan.steps, "suggested": usual.start}
    if run.asked.optimizer == "sgd":
        if rate < usual.start / SGD_FACTOR * FAR:
            yield _warning("H02_rate_too_low_for_sgd", "learning_rate", values)
    elif rate > FAR * usual.high:
        yield _warning("H02_rate_far_above", "learning_rate", values | {"times": f"{rate / usual.high:.3g}"})
    elif rate < usual.low / FAR:
        yield _warning("H02_rate_far_below", "learning_rate", values | {"times": f"{usual.low / rate:.3g}"})


def _large_rank(run: _Run) -> Iterator[Problem]:
    usual, rank = fields_of(MethodSettings)["rank"].default, run.spec.method.rank
    trained, tokens = run.model.trainable_parameters, run.plan.trained_tokens_per_epoch
    if "rank" not in METHODS[run.spec.method.method].settings or rank <= usual:
        return
    if tokens < TOKENS_A_RANK * rank:
        enough = (
            1 << max(1, tokens // TOKENS_A_RANK).bit_length() - 1
        )  # the power of two that the tokens are enough for
        values = {"rank": rank, "parameters": f"{trained:,}", "tokens": f"{tokens:,}"}
        values |= {"each": f"{trained / max(1, tokens):,.0f}", "suggested": max(usual, enough)}
        yield _warning("H05_rank_outnumbers_data", "rank", values)


def _dropout_on_little(run: _Run) -> Iterator[Problem]:
    dropout = run.spec.method.dropout
    if "dropout" not in METHODS[run.spec.method.method].settings or dropout < TINY_DROPOUT:
        return
    if run.plan.rows_train < TINY_ROWS:
        values = {"percent": _percent(dropout), "rows": run.plan.rows_train, "steps": run.plan.steps, "suggested": 0.0}
        yield _warning("H05_dropout_on_little_data", "dropout", values)


def _trained_prompts(run: _Run) -> Iterator[Problem]:
    if run.rows.prompt_share:
        values = {"percent": _percent(run.rows.prompt_share), "answers": _percent(1 - run.rows.prompt_share)}
        yield _warning("D27_prompts_trained", "data.train_prompt", values | {"suggested": False})


def _no_validation(run: _Run) -> Iterator[Problem]:
    asked = run.asked
    if (asked.validation_share or asked.validation_rows) and not run.rows.validation_lengths:
        name = "validation_rows" if asked.validation_rows else "validation_share"
        key = "D34_no_validation_rows" if asked.validation_rows else "D34_no_validation_share"
        yield _warning(key, name, {"asked": getattr(asked, name), "rows": run.plan.rows_train})
    elif asked.early_stopping and not (
        run.rows.validation_lengths and len(run.plan.review_steps) > asked.early_stopping
    ):
        reviews = len(run.plan.review_steps) if run.rows.validation_lengths else 0
        yield _warning("H02_stops_never", "early_stopping", {"patience": asked.early_stopping, "evaluations": reviews})


def _sampled_plan(run: _Run) -> Iterator[Problem]:
    if run.rows.rendered is not None:
        values = {"rendered": run.rows.rendered, "rows": run.plan.rows_train + run.plan.rows_validation}
        yield _warning("H10_plan_from_sample", "", values)


def _short_memory(run: _Run) -> Iterator[Problem]:
    needed_gb, free_gb = run.plan.estimate.total_gb, run.machine.free_memory_gb
    if needed_gb > free_gb:
        values = {"needed_gb": round(needed_gb, 1), "free_gb": round(free_gb, 1)}
        yield _warning("H10_memory", "micro_batch_size", values)


_RULES: tuple[Callable[[_Run], Iterator[Problem]], ...] = (
    _lost_answers,
    _trained_prompts,
    _batch_over_rows,
    _packed_micro_batch,
    _few_steps,
    _repeated_rows,
    _long_warmup,
    _far_rate,
    _large_rank,
    _dropout_on_little,
    _no_validation,
    _sampled_plan,
    _short_memory,
)


def _warning(key: str, field: str, values: dict[str, Any]) -> Problem:
    return Problem(key, Place(field=field), values, "warning")


def _percent(share: float) -> str:
    """A share in whole percent; as much as is seen of a small or nearly whole one."""
    return f"{100 * share:.0f}" if 0.01 <= share <= 0.99 or share in (0, 1) else f"{100 * share:.2g}"
