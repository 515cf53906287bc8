"""Runs beside each other: what differs, and only that."""

from __future__ import annotations

from typing import Any

from core.i18n import LANGUAGES, text
from core.training.comparison import RunRecord, compared, label_key
from core.training.events import EvalDone, Event, Finished, Planned, RunStarted, SampleDone, StepDone
from core.training.history import RunSummary
from core.training.progress import fold
from core.training.spec import RunSpec
from tests.core.training.conftest import spec_of
from tests.core.training.test_plan import planned


def record(spec: RunSpec | None, *events: Event, base: str = "tiny", run_id: str = "run") -> RunRecord:
    started = RunStarted(run_id, "a", base, "colors.jsonl", "", "", 1, 1.0)
    snapshot = fold([started, *events])
    return RunRecord(RunSummary.of(snapshot), snapshot, spec)


def step(number: int, loss: float) -> StepDone:
    return StepDone(number, 0.1 * number, loss, 1.0, 1e-4, 10, 0.1, 1.0, float(number))


def differing(*specs: RunSpec | None) -> dict[str, tuple[Any, ...]]:
    return {each.field: each.values for each in compared([record(spec) for spec in specs]).settings}


def test_only_settings_that_differ_are_named_in_the_specs_order() -> None:
    specs = [
        spec_of(name="first", method={"rank": 4}, training={"epochs": 2}, versions={"torch": "1"}),
        spec_of(name="second", method={"rank": 8}, training={"epochs": 3}, dataset="other.jsonl"),
        spec_of(name="third", method={"rank": 4}, training={"epochs": 2}, start_from={"adapter": "poet"}),
    ]
    found = differing(*specs)
    assert list(found.items()) == [
        ("dataset", ("colors.jsonl", "other.jsonl", "colors.jsonl")),
        ("method.rank", (4, 8, 4)),
        ("training.epochs", (2.0, 3.0, 2.0)),
        ("start_from", (None, None, "poet")),
    ]
    assert differing(specs[0], specs[0]) == {}


def test_a_setting_that_a_method_does_not_use_is_none_of_its_settings() -> None:
    prompt = {"method": "prompt", "virtual_tokens": 8}
    assert differing(spec_of(method={**prompt, "rank": 4}), spec_of(method={**prompt, "rank": 8})) == {}
    found = differing(spec_of(method=prompt), spec_of())
    assert found["method.virtual_tokens"] == (8, None)
    assert found["method.rank"] == (None, 4)


def test_a_run_without_a_spec_is_compared_by_its_curves() -> None:
    assert differing(spec_of(), None)["base"] == ("tiny", None)
    curve = compared([record(None, step(1, 2.0)), record(spec_of())]).curves[0]
    assert (curve.train, curve.steps_per_epoch) == (((1, 2.0),), None)


def test_every_setting_that_can_differ_has_a_name_in_each_language() -> None:
    fields = differing(spec_of(sample_prompts=["Why?"], load={"precision": "fp32"}), None)
    for field in fields:
        if not field.startswith("data."):
            assert all(text(label_key(field), lang) for lang in LANGUAGES)
    assert {"base", "method.rank", "training.seed", "load.precision", "sample_prompts"} <= fields.keys()


def test_curves_know_their_epochs_and_their_best_step() -> None:
    plan = planned(54, validation=6)
    events = [Planned(plan, 0.1), step(1, 3.0), EvalDone(1, 2.5, True, 0.1, 1.0), step(2, 2.0)]
    events += [EvalDone(2, 2.7, False, 0.1, 2.0), Finished("a", 1, 3.0)]
    found = compared([record(spec_of(), *events, run_id="one"), record(spec_of(), step(1, 9.0))])
    curve = found.curves[0]
    assert (curve.run_id, curve.train, curve.evals) == ("one", ((1, 3.0), (2, 2.0)), ((1, 2.5), (2, 2.7)))
    assert (curve.best_step, curve.steps_per_epoch) == (1, plan.steps_per_epoch)
    assert (found.runs[0].train_loss, found.runs[0].eval_loss, found.runs[0].adapter) == (2.5, 2.5, "a")


def test_the_newest_answers_to_the_same_prompt_stand_beside_each_other() -> None:
    def said(step: int, prompt: str, answer: str) -> SampleDone:
        return SampleDone(step, prompt, answer, "stop", 1.0)

    one = record(None, said(0, "Who?", "base"), said(1, "Who?", "old"), said(2, "Who?", "new"))
    two = record(None, said(0, "Who?", "base"), said(0, "Why?", "?"), said(5, "Why?", "so"))
    found = {each.prompt: each for each in compared([one, two]).answers}
    assert list(found) == ["Who?", "Why?"]
    assert [each and each.answer for each in found["Who?"].answers] == ["new", None]
    assert [each and (each.step, each.answer) for each in found["Why?"].answers] == [None, (5, "so")]
    assert found["Who?"].base and found["Who?"].base.answer == "base"
    elsewhere = record(None, said(0, "Who?", "another base"), base="other")
    assert [each.base for each in compared([one, elsewhere]).answers] == [None]
