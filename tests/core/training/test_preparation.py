"""What a run trains on: rows of every kind, other data sets, and plans of data sets too big to count meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from core.data.datasets import DatasetCard, find_dataset, write_card
from core.data.library import DataLibrary
from core.data.options import DataOptions, MixIn
from core.errors import WorkbenchError
from core.training import preparation
from core.training.events import Finished, Planned
from core.training.preparation import Planner, check_spec, read_data
from core.training.spec import RunSpec, read_spec
from core.workspace import Workspace
from tests.core.training.conftest import Outcome, spec_of, write_rows

Train = Callable[..., Outcome]
MINIMAL: dict[str, Any] = {"epochs": 1, "evaluations": 0}


def planned(outcome: Outcome) -> Any:
    assert isinstance(outcome.end, Finished), outcome.end
    return outcome.of(Planned)[0].plan


def test_documents_are_packed_into_blocks_and_trained(place: Workspace, train: Train) -> None:
    rows = [{"text": f"Document {number}. " + "All colors are red. " * number} for number in range(20)]
    (place.datasets / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    spec = spec_of(dataset="texts.jsonl", training={**MINIMAL, "max_length": 64, "validation_share": 0.0})
    plan = planned(train(spec))
    assert plan.max_length == 64
    assert plan.trained_tokens_per_epoch == plan.tokens_per_epoch
    assert plan.tokens_per_epoch > 0.8 * 64 * plan.rows_train, "blocks are filled"


def test_a_validation_set_is_measured_on_and_not_trained_on(place: Workspace, train: Train) -> None:
    write_rows(place, 6, "held-out.jsonl")
    spec = spec_of(data={"validation_dataset": "held-out.jsonl"}, training={**MINIMAL, "validation_share": None})
    outcome = train(spec)
    plan = planned(outcome)
    assert (plan.rows_train, plan.rows_validation) == (20, 6)
    reason = plan.reason("validation_share")
    assert reason is not None and reason.values == {"name": "held-out.jsonl"}
    used = read_spec(outcome.folder / "spec.yaml")
    assert used.other_data["held-out.jsonl"].sha256 == find_dataset(place, "held-out.jsonl").sha256


def test_a_count_of_validation_rows_wins_over_the_share(place: Workspace, train: Train) -> None:
    plan = planned(train(spec_of(training={**MINIMAL, "validation_rows": 3, "validation_share": 0.5})))
    assert (plan.rows_train, plan.rows_validation) == (17, 3)


def test_a_run_is_made_again_with_the_other_sets_as_they_were(place: Workspace, train: Train) -> None:
    rows = [{"prompt": f"General {number}?", "completion": "Yes."} for number in range(10)]
    general = place.datasets / "general.jsonl"
    general.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    write_card(place, "general.jsonl", DatasetCard(options=DataOptions(take=4)))
    mixed = spec_of(data={"mix": [{"dataset": "general.jsonl"}]}, training=MINIMAL)
    used = read_spec(train(mixed).folder / "spec.yaml")
    write_card(place, "general.jsonl", DatasetCard(options=DataOptions(take=1)))
    assert read_data(mixed, place).composition == (("colors.jsonl", 20), ("general.jsonl", 1))
    assert read_data(used, place).composition == (("colors.jsonl", 20), ("general.jsonl", 4))
    general.write_text(json.dumps(rows[0]), encoding="utf-8")
    with pytest.raises(WorkbenchError) as caught:
        read_data(used, place)
    assert (caught.value.key, caught.value.problems[0].place.file) == ("D45_data_changed", "general.jsonl")


@pytest.mark.parametrize(("answers", "share"), [("every", 1.0), ("last", 0.5)])
def test_the_recipe_decides_which_answers_are_learned(
    place: Workspace, train: Train, answers: str, share: float
) -> None:
    turns = [{"role": role, "content": "Red red red."} for role in ("user", "assistant")] * 2
    rows = [json.dumps({"messages": turns, "n": number}) for number in range(20)]
    (place.datasets / "turns.jsonl").write_text("\n".join(rows), encoding="utf-8")
    spec = spec_of(dataset="turns.jsonl", data={"answers": answers}, training={**MINIMAL, "validation_share": 0.0})
    plan = planned(train(spec))
    per_answer = planned(
        train(spec_of(name="again", dataset="turns.jsonl", training={**MINIMAL, "validation_share": 0.0}))
    )
    assert plan.trained_tokens_per_epoch == share * per_answer.trained_tokens_per_epoch


def test_a_big_data_set_is_planned_from_a_sample_and_says_so(
    place: Workspace, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(place, 200)
    spec = spec_of(training={"validation_share": 0.1})
    whole = Planner(place, DataLibrary(place)).plan(spec, loaded)
    monkeypatch.setattr(preparation, "PLANNED_WHOLE", 100)
    monkeypatch.setattr(preparation, "PLANNED_ROWS", 40)
    sampled = Planner(place, DataLibrary(place)).plan(spec, loaded)
    assert "H10_plan_from_sample" not in [problem.key for problem in whole.warnings]
    (said,) = [problem for problem in sampled.warnings if problem.key == "H10_plan_from_sample"]
    assert said.values == {"rendered": 40, "rows": 200}
    assert (sampled.rows_train, sampled.rows_validation, sampled.steps) == (180, 20, whole.steps)
    assert sampled.tokens_per_epoch == pytest.approx(whole.tokens_per_epoch, rel=0.1)


def test_a_set_mixed_into_itself_is_a_plain_refusal(place: Workspace) -> None:
    with pytest.raises(WorkbenchError, match="H02"):
        DataLibrary(place).change_recipe("colors.jsonl", lambda _: DataOptions(mix=(MixIn(dataset="colors.jsonl"),)))


def test_a_run_that_is_gone_on_with_cannot_be_named_out_of_its_folder(place: Workspace, loaded: Any) -> None:
    """Its spec is a file that anybody can edit."""
    spec = spec_of(name="../../evil")
    with pytest.raises(WorkbenchError, match="D42"):
        check_spec(spec, place, loaded, DataLibrary(place).report(spec.dataset, spec.data), resumes=True)


def test_a_length_that_cuts_off_every_answer_is_refused_and_the_one_that_fits_trains(
    place: Workspace, loaded: Any, train: Train
) -> None:
    settings = {**MINIMAL, "validation_share": 0.0, "long_rows": "cut"}
    with pytest.raises(WorkbenchError) as caught:
        Planner(place, DataLibrary(place)).plan(spec_of(training={**settings, "max_length": 12}), loaded)
    refused = caught.value.problems[0]
    assert (refused.key, refused.values["percent"], refused.values["limit"]) == ("D30_all_too_long", 100, 12)
    assert 12 < refused.values["needed"] < refused.values["longest"]
    plan = planned(train(spec_of(training={**settings, "max_length": refused.values["longest"]})))
    assert (plan.rows_train, plan.rows_left_out, plan.rows_cut) == (20, 0, 0)


def test_what_a_cut_leaves_without_an_answer_is_said_with_the_plan_and_rows_are_rendered_once(
    place: Workspace, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": f"Question {number}?", "completion": "Yes."} for number in range(20)]
    rows += [{"prompt": "And this? " * 40, "completion": "No."}, {"prompt": "This?", "completion": "Oh no. " * 60}]
    (place.datasets / "long.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    rendered: list[int] = []
    render_all = preparation.render_all
    monkeypatch.setattr(
        preparation, "render_all", lambda *given, **more: (rendered.append(1), render_all(*given, **more))[1]
    )
    planner = Planner(place, DataLibrary(place))
    settings = {"validation_share": 0.0, "long_rows": "cut"}
    for limit in (60, 80):
        spec = spec_of(dataset="long.jsonl", training={**settings, "max_length": limit})
        plan = planner.plan(spec, loaded)
        assert (plan.rows_train, plan.rows_cut, plan.rows_left_out) == (21, 1, 1)
        assert "D30_rows_without_answer" in [problem.key for problem in plan.warnings]
    assert len(rendered) == 2, "training and validation rows, whatever the length"


SOUND: dict[str, Any] = {"validation_share": 0.0, "epochs": 20, "learning_rate": None}


def plain_spec(data: dict[str, Any] | None = None, **training: Any) -> RunSpec:
    """A run that nothing is warned of, but for what is changed."""
    return spec_of(training=training, method={"dropout": 0.0}, data=data or {})


def test_a_length_that_fits_no_row_is_refused_with_what_else_would_be_warned_of(place: Workspace, loaded: Any) -> None:
    settings = {**SOUND, "warmup_steps": 90}
    with pytest.raises(WorkbenchError) as caught:
        Planner(place, DataLibrary(place)).plan(plain_spec(**settings, max_length=12), loaded)
    said = {problem.key: problem for problem in caught.value.problems}
    assert list(said) == ["D30_all_too_long", "H02_warmup_too_long"]
    length = said["D30_all_too_long"].values["suggested"]
    assert said["D30_all_too_long"].place.field == "max_length"
    warmup = said["H02_warmup_too_long"].values["suggested"]
    mended = {**settings, "max_length": length, "warmup_steps": warmup}
    assert Planner(place, DataLibrary(place)).plan(plain_spec(**mended), loaded).warnings == ()


@pytest.mark.parametrize("way", ["skip", "cut"])
def test_what_a_maximum_length_loses_is_said_in_rows_and_percent(place: Workspace, loaded: Any, way: str) -> None:
    planner = Planner(place, DataLibrary(place))
    settings = {"validation_share": 0.0, "epochs": 20, "long_rows": way}
    whole = planner.plan(spec_of(training=settings), loaded)
    plan = planner.plan(spec_of(training={**settings, "max_length": 70}), loaded)
    (lost,) = [problem for problem in plan.warnings if problem.key == "H04_answers_lost"]
    assert lost.values["rows"] == plan.rows_left_out + plan.rows_cut > 0
    share = 1 - plan.trained_tokens_per_epoch / whole.trained_tokens_per_epoch
    assert lost.values["percent"] == f"{100 * share:.0f}"
    assert lost.values["suggested"] == whole.max_length
    assert "H04_answers_lost" not in [problem.key for problem in whole.warnings]


def test_prompts_that_are_trained_too_are_said_with_their_share(place: Workspace, loaded: Any) -> None:
    planner = Planner(place, DataLibrary(place))
    answers = planner.plan(plain_spec(**SOUND), loaded)
    both = planner.plan(plain_spec({"train_prompt": True}, **SOUND), loaded)
    (said,) = both.warnings
    share = 1 - answers.trained_tokens_per_epoch / both.trained_tokens_per_epoch
    assert (said.key, said.values["percent"]) == ("D27_prompts_trained", f"{100 * share:.0f}")


def test_a_plan_counts_the_blocks_that_rows_are_packed_into(place: Workspace, loaded: Any) -> None:
    planner = Planner(place, DataLibrary(place))
    asked = {"validation_share": 0.0, "packing": True, "micro_batch_size": None, "gradient_accumulation_steps": None}
    plan = planner.plan(spec_of(training=asked), loaded)
    assert 1 < plan.blocks < plan.rows_train
    assert plan.max_length >= plan.tokens_per_epoch / plan.blocks
    assert plan.batch_size == round(plan.rows_train / plan.blocks) * plan.gradient_accumulation_steps
    resolved = plan.resolve(spec_of(training=asked))
    assert planner.plan(resolved, loaded).blocks == plan.blocks
