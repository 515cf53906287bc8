"""The defaults: what automatic values become, why, and what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from core.errors import WorkbenchError
from core.i18n import LANGUAGES, text
from core.training.batch_size import usual_batch_size
from core.training.decisions import Decision, RowCounts
from core.training.estimate import Machine, MicroBatch, ModelShape, estimate
from core.training.plan import Plan, plan, row_limit, validation_share
from core.training.spec import RunSpec

SMALL = ModelShape(hidden_size=576, layers=30, vocab_size=49152, max_length=8192, trainable_parameters=5_000_000)
ROOMY = Machine("cpu", free_memory_gb=32, threads=2, compute_bytes=2)
UNUSED = {"steps", "warmup_steps", "loss_target"}  # None means that they decide nothing


def spec_with(**training: Any) -> RunSpec:
    return RunSpec.checked({"name": "a", "base": "b", "dataset": "d", "training": training})


def rows(count: int, length: int = 100, validation: int = 0) -> RowCounts:
    return RowCounts(Decision(length), Decision(0.0), (length,) * count, (length // 2,) * count, (length,) * validation)


def planned(count: int, machine: Machine = ROOMY, length: int = 100, validation: int = 0, **training: Any) -> Plan:
    return plan(spec_with(**training), rows(count, length, validation), SMALL, machine)


@pytest.mark.parametrize(
    ("count", "batch", "epochs", "steps"),
    [
        (1, 1, 20, 20),
        (3, 1, 13, 39),
        (10, 2, 8, 40),
        (20, 4, 8, 40),
        (54, 8, 6, 42),
        (82, 8, 4, 44),
        (300, 16, 3, 57),
        (1000, 16, 3, 189),
    ],
)
def test_a_person_who_touches_nothing_gets_enough_steps(count: int, batch: int, epochs: int, steps: int) -> None:
    made = planned(count)
    assert (made.batch_size, made.epochs, made.steps) == (batch, epochs, steps)
    assert made.batch_size <= max(1, count)
    reason = made.reason("epochs")
    assert reason is not None
    for lang in LANGUAGES:
        assert str(epochs) in text(reason.key, lang, **reason.values)


def test_every_automatic_value_has_a_reason_in_both_languages_and_no_other_has() -> None:
    spec = spec_with()
    limit = row_limit(spec, [100, 50], SMALL, ROOMY)
    share = validation_share(spec, 60, 6)
    made = plan(spec, RowCounts(limit, share, (100,) * 54, (50,) * 54, (90,) * 6), SMALL, ROOMY)
    automatic = {name for name, value in spec.training.model_dump().items() if value is None} - UNUSED | {"alpha"}
    assert {reason.field for reason in made.reasons} == automatic
    for reason in made.reasons:
        assert all(text(reason.key, lang, **reason.values) for lang in LANGUAGES)
    resolved = made.resolve(spec)
    assert {name for name, value in resolved.training.model_dump().items() if value is None} == UNUSED
    again = plan(
        resolved, RowCounts(Decision(100), Decision(share.value), (100,) * 54, (50,) * 54, (90,) * 6), SMALL, ROOMY
    )
    assert again.reasons == ()
    assert again.resolve(resolved) == resolved


@pytest.mark.parametrize(
    ("epochs", "steps_per_epoch", "reviews"),
    [
        (1.0, 7, (1, 3, 4, 6, 7)),
        (3.0, 10, (5, 10, 15, 20, 25, 30)),
        (6.0, 7, (7, 14, 21, 28, 35, 42)),
        (1.0, 2, (1, 2)),
    ],
)
def test_a_run_is_evaluated_after_each_epoch_and_at_least_five_times(
    epochs: float, steps_per_epoch: int, reviews: tuple[int, ...]
) -> None:
    made = planned(steps_per_epoch * 8, epochs=epochs, micro_batch_size=8, gradient_accumulation_steps=1)
    assert made.review_steps == reviews


def test_no_evaluations_are_made_where_none_are_wanted() -> None:
    assert planned(50, evaluations=0).review_steps == ()


def test_less_memory_means_smaller_micro_batches_of_the_same_batch_then_checkpointing() -> None:
    free_gb = {32.0: (8, False), 10.0: (4, False), 3.0: (1, False), 0.9: (1, True)}
    for free, (micro, checkpointing) in free_gb.items():
        made = planned(100, Machine("cpu", free, 2, 2), length=1000)
        assert (made.micro_batch_size, made.activation_checkpointing) == (micro, checkpointing), free
        assert made.batch_size == 8


def test_a_run_that_cannot_fit_is_warned_of_with_numbers() -> None:
    made = planned(100, Machine("cpu", 0.1, 2, 2), length=1000)
    assert [warning.key for warning in made.warnings] == ["H10_memory"]
    assert made.warnings[0].values["needed_gb"] > made.warnings[0].values["free_gb"]


@pytest.mark.parametrize(
    ("asked", "micro", "accumulation"),
    [
        ({"micro_batch_size": 2}, 2, 4),
        ({"gradient_accumulation_steps": 4}, 2, 4),
        ({"micro_batch_size": 3, "gradient_accumulation_steps": 5}, 3, 5),
        ({"micro_batch_size": 16}, 16, 1),
    ],
)
def test_what_a_person_sets_stays_and_the_rest_follows(asked: dict[str, int], micro: int, accumulation: int) -> None:
    made = planned(100, **asked)
    assert (made.micro_batch_size, made.gradient_accumulation_steps) == (micro, accumulation)


def test_a_batch_over_the_rows_trains_and_says_how_many_steps_an_epoch_has() -> None:
    made = planned(5, micro_batch_size=16, epochs=2.0)
    assert (made.steps_per_epoch, made.steps) == (1, 2)
    assert [warning.key for warning in made.warnings] == ["H03_batch_over_rows", "H07_few_steps"]


def test_the_longest_row_decides_the_maximum_length_until_model_or_memory_do() -> None:
    assert row_limit(spec_with(), [30, 700], SMALL, ROOMY).value == 700
    over = row_limit(spec_with(), [30, 9000], SMALL, ROOMY)
    assert over.value == 8192 and over.reason is not None and over.reason.values["rows"] == 1
    tight = row_limit(spec_with(), [30, 9000], SMALL, Machine("cpu", 1.0, 2, 2))
    assert 100 < tight.value < 8192
    assert tight.reason is not None and tight.reason.key.endswith("memory")
    assert row_limit(spec_with(max_length=64), [700], SMALL, ROOMY) == Decision(64)


@pytest.mark.parametrize(
    ("training", "count", "key"),
    [
        ({"epochs": 0.0001}, 100, "H07_no_steps"),
        ({"epochs": 3.0}, 0, "D30_no_rows_to_train"),
    ],
)
def test_a_run_without_a_step_is_refused(training: dict[str, Any], count: int, key: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        planned(count, **training)
    assert caught.value.key == key
    assert all(caught.value.describe(lang) for lang in LANGUAGES)


def test_the_least_epochs_that_are_named_make_a_step() -> None:
    with pytest.raises(WorkbenchError) as caught:
        planned(1000, epochs=0.0001)
    assert planned(1000, epochs=caught.value.problems[0].values["least"]).steps >= 1


def test_a_length_over_the_models_limit_is_refused_with_the_limit() -> None:
    with pytest.raises(WorkbenchError, match="8192"):
        row_limit(spec_with(max_length=9000), [100], SMALL, ROOMY)


@pytest.mark.parametrize(("count", "asked"), [(5, {"validation_share": 0.05}), (1, {"validation_rows": 3})])
def test_rows_for_validation_that_come_to_none_are_warned_of(count: int, asked: dict[str, Any]) -> None:
    (warning,) = [each for each in planned(count, **asked).warnings if each.code == "D34"]
    assert [warning.place.field] == [*asked]
    for lang in LANGUAGES:
        assert str(*asked.values()) in warning.describe(lang).why and "None" not in str(warning.describe(lang))


def test_warm_up_never_takes_the_whole_run() -> None:
    assert planned(3, epochs=1.0, warmup_share=1.0).warmup_steps == 2
    assert planned(1000).warmup_steps == round(0.05 * 189)


def test_a_plan_survives_json() -> None:
    made = planned(5, Machine("cpu", 0.01, 2, 2), micro_batch_size=16)
    assert made.warnings and made.reasons
    assert Plan.from_dict(json.loads(json.dumps(asdict(made)))) == made


def test_batches_grow_with_the_rows_between_one_and_sixteen() -> None:
    sizes = [usual_batch_size(count) for count in range(1, 1000)]
    assert sizes == sorted(sizes)
    assert {sizes[0], sizes[-1]} == {1, 16}


def test_checkpointing_saves_memory_and_more_tokens_cost_more() -> None:
    batch = MicroBatch(4, 512, 1024)
    assert estimate(SMALL, batch, ROOMY, True).total_gb < estimate(SMALL, batch, ROOMY).total_gb
    assert estimate(SMALL, MicroBatch(8, 512, 2048), ROOMY).total_gb > estimate(SMALL, batch, ROOMY).total_gb
