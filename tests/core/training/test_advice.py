"""Where people err: what brings a warning up and what does not, each with numbers and a value that would mend it."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from core.adapters.method_facts import METHODS
from core.errors import Problem
from core.i18n import LANGUAGES
from core.settings import Method
from core.training.decisions import Decision, RowCounts
from core.training.estimate import Machine, ModelShape
from core.training.plan import Plan, plan
from core.training.spec import RunSpec

ROOMY = Machine("cpu", free_memory_gb=64, threads=2, compute_bytes=2)


def planned(
    rows: int = 200, method: dict[str, Any] | None = None, counts: dict[str, Any] | None = None, **training: Any
) -> Plan:
    """The plan of a run on rows of 100 tokens, half of them trained, on a model like the starter."""
    values = {"name": "a", "base": "b", "dataset": "d", "training": training, "method": method or {}}
    spec = RunSpec.checked(values)
    parameters = 305_000 * spec.method.rank
    model = ModelShape(hidden_size=576, layers=30, vocab_size=49152, max_length=8192, trainable_parameters=parameters)
    held = rows // 10
    given = RowCounts(
        max_length=Decision(training.get("max_length") or 100),
        validation_share=Decision(0.1),
        train_lengths=(100,) * (rows - held),
        train_trained=(50,) * (rows - held),
        validation_lengths=(100,) * held,
        longest=100,
        **(counts or {}),
    )
    return plan(spec, given, model, ROOMY)


def keys(made: Plan) -> list[str]:
    return [warning.key for warning in made.warnings]


def one(made: Plan) -> Problem:
    (warning,) = made.warnings
    for lang in LANGUAGES:
        described = str(warning.describe(lang))
        assert "{" not in described
        assert not any(str(value) == "None" for value in warning.values.values())
    assert warning.severity == "warning"
    return warning


@pytest.mark.parametrize("rows", [3, 10, 20, 54, 90, 200, 1000, 20_000])
@pytest.mark.parametrize("packing", [False, True])
def test_a_run_that_nobody_touched_brings_up_nothing(rows: int, packing: bool) -> None:
    assert keys(planned(rows, packing=packing)) == []


@pytest.mark.parametrize("method", get_args(Method))
def test_no_method_warns_of_its_own_defaults(method: Method) -> None:
    assert keys(planned(method={"method": method})) == []


@pytest.mark.parametrize(
    ("asked", "key", "field", "suggested"),
    [
        ({"warmup_steps": 100, "epochs": 7.0}, "H02_warmup_too_long", "warmup_steps", 8),
        ({"warmup_steps": 15}, "H02_warmup_too_long", "warmup_steps", 3),
        ({"warmup_share": 0.5}, "H02_warmup_too_long", "warmup_share", 0.05),
        ({"epochs": 0.5}, "H07_few_steps", "epochs", 2.0),
        ({"steps": 5}, "H07_few_steps", "steps", 40),
        ({"epochs": 50.0}, "H07_rows_repeated", "epochs", 3.0),
        ({"steps": 2000}, "H07_rows_repeated", "steps", 69),
        ({"learning_rate": 0.05}, "H02_rate_far_above", "learning_rate", METHODS["lora"].learning_rate),
        ({"learning_rate": 1e-6}, "H02_rate_far_below", "learning_rate", METHODS["lora"].learning_rate),
        (
            {"learning_rate": 1e-3, "method": {"method": "full"}},
            "H02_rate_far_above",
            "learning_rate",
            METHODS["full"].learning_rate,
        ),
        (
            {"learning_rate": 2e-4, "method": {"method": "ia3"}},
            "H02_rate_far_below",
            "learning_rate",
            METHODS["ia3"].learning_rate,
        ),
        ({"optimizer": "sgd"}, "H02_rate_too_low_for_sgd", "learning_rate", 2e-2),
        ({"method": {"rank": 256}}, "H05_rank_outnumbers_data", "rank", 32),
        ({"rows": 20, "method": {"rank": 17}}, "H05_rank_outnumbers_data", "rank", 16),
        ({"rows": 60, "method": {"dropout": 0.1}}, "H05_dropout_on_little_data", "dropout", 0.0),
        ({"max_length": 60, "counts": {"left_out": 30, "trained_lost": 0.2}}, "H04_answers_lost", "max_length", 100),
        ({"counts": {"prompt_share": 0.7}}, "D27_prompts_trained", "data.train_prompt", False),
        ({"packing": True, "micro_batch_size": 4}, "H12_packed_micro_batch", "micro_batch_size", 1),
    ],
)
def test_a_poor_setting_is_warned_of_with_what_would_mend_it(
    asked: dict[str, Any], key: str, field: str, suggested: Any
) -> None:
    warning = one(planned(**asked))
    assert (warning.key, warning.place.field, warning.values["suggested"]) == (key, field, pytest.approx(suggested))


@pytest.mark.parametrize(
    "asked",
    [
        {"warmup_steps": 14},
        {"warmup_share": 0.2},
        {"steps": 20},
        {"epochs": 20.0},
        {"learning_rate": 5e-4},
        {"learning_rate": 1e-4},
        {"learning_rate": 2e-2, "optimizer": "sgd"},
        {"learning_rate": 3e-2, "method": {"method": "prompt"}},
        {"method": {"rank": 32}},
        {"rows": 20_000, "method": {"rank": 256}},
        {"method": {"dropout": 0.1}},
        {"rows": 60, "method": {"dropout": 0.1, "method": "ia3"}},
        {"max_length": 100},
        {"counts": {"left_out": 1, "trained_lost": 0.01}},
        {"micro_batch_size": 16},
        {"early_stopping": 3, "evaluations": 10},
    ],
)
def test_a_sound_setting_is_not_warned_of(asked: dict[str, Any]) -> None:
    assert keys(planned(**asked)) == []


def test_a_batch_over_the_rows_is_warned_of_with_one_that_is_not() -> None:
    warning = next(each for each in planned(6, micro_batch_size=16).warnings if each.code == "H03")
    assert warning.values["suggested"] == 1


@pytest.mark.parametrize("field", ["epochs", "steps", "warmup_steps", "warmup_share", "learning_rate"])
def test_what_is_suggested_brings_up_nothing(field: str) -> None:
    wrong = {"epochs": 0.1, "steps": 3, "warmup_steps": 90, "warmup_share": 0.9, "learning_rate": 1.0}
    first = next(each for each in planned(**{field: wrong[field]}).warnings if each.place.field == field)
    assert keys(planned(**{field: first.values["suggested"]})) == []


def test_rates_of_methods_are_within_their_own_range() -> None:
    for facts in METHODS.values():
        assert facts.usual_rates[0] <= facts.learning_rate <= facts.usual_rates[1], facts.name


def test_early_stopping_that_cannot_act_is_warned_of() -> None:
    assert keys(planned(early_stopping=10)) == ["H02_stops_never"]
    assert keys(planned(rows=9, early_stopping=1)) == ["H02_stops_never"]
