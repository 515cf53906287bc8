"""A run from its spec to its adapter, on the tiny model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.adapters.card import read_card
from core.errors import WorkbenchError
from core.i18n import LANGUAGES, has_text, text
from core.training.checkpoints import list_checkpoints, read_manifest
from core.training.endings import StopSignal
from core.training.events import (
    EvalDone,
    Event,
    Failed,
    Finished,
    Logged,
    PhaseStarted,
    Planned,
    SampleDone,
    Saved,
    StepDone,
    Stopped,
)
from core.training.progress import Status, fold
from core.training.spec import read_spec
from core.workspace import Workspace
from tests.core.training.conftest import Outcome, adapter_hash, spec_of, write_rows

Train = Callable[..., Outcome]
UNUSED = {"steps", "warmup_steps", "loss_target"}  # None means that they decide nothing
IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11]])


@torch.no_grad()
def base_logits(loaded: Any) -> torch.Tensor:
    logits: torch.Tensor = loaded.model(input_ids=IDS).logits.clone()
    return logits


def test_a_run_learns_and_leaves_an_adapter_a_resolved_spec_and_a_whole_history(
    train: Train, place: Workspace, loaded: Any
) -> None:
    outcome = train()
    assert isinstance(outcome.end, Finished)
    assert len(outcome.losses) == 4 and outcome.losses[-1] < outcome.losses[0]
    card = read_card(place.adapters / "colors")
    assert card is not None and card.base_fingerprint == loaded.fingerprint
    assert (card.run_id, card.dataset, card.rank) == (outcome.folder.name, "colors.jsonl", 4)
    assert card.metrics.steps == 4 and card.metrics.eval_loss == outcome.of(EvalDone)[-1].loss
    resolved = read_spec(outcome.folder / "spec.yaml")
    assert {name for name, value in resolved.training.model_dump().items() if value is None} == UNUSED
    assert resolved.dataset_sha256 == hashlib.sha256((place.datasets / "colors.jsonl").read_bytes()).hexdigest()
    assert resolved.versions["torch"]
    snapshot = fold(outcome.events)
    assert snapshot.status == Status.FINISHED and snapshot.plan is not None
    assert all(has_text(f"training.phase.{event.phase}") for event in outcome.of(PhaseStarted))
    assert [event.phase for event in outcome.of(PhaseStarted)][:6] == [
        "reading",
        "checking",
        "rendering",
        "planning",
        "preparing",
        "sampling",
    ]


def test_the_resolved_spec_of_a_run_gives_the_same_run_again(train: Train, place: Workspace) -> None:
    first = train(spec_of(training={"epochs": None, "micro_batch_size": None, "evaluations": None}))
    resolved = read_spec(first.folder / "spec.yaml")
    second = train(resolved.model_copy(update={"name": "again"}))
    assert second.losses == first.losses
    assert adapter_hash(place, "again") == adapter_hash(place, "colors")


def test_the_base_answers_the_same_before_during_and_after_a_run(train: Train, loaded: Any) -> None:
    """Law 3: bit by bit; and nothing of the pristine tree becomes trainable or is wrapped."""
    before, modules = base_logits(loaded), [type(module) for module in loaded.model.modules()]
    during: list[torch.Tensor] = []

    def look(event: Event, stop: StopSignal) -> None:
        if isinstance(event, StepDone):
            during.append(base_logits(loaded))

    train(on_event=look)
    assert len(during) == 4
    assert all(torch.equal(before, logits) for logits in [*during, base_logits(loaded)])
    assert [type(module) for module in loaded.model.modules()] == modules
    assert not loaded.model.training and not any(each.requires_grad for each in loaded.model.parameters())


def test_only_dropout_draws_from_the_process_wide_generator(train: Train) -> None:
    """Order of rows, loading, evaluation, sample answers and saving leave it alone."""
    states: list[torch.Tensor] = []

    def look(event: Event, stop: StopSignal) -> None:
        if isinstance(event, StepDone | Saved) or (isinstance(event, PhaseStarted) and event.phase == "training"):
            states.append(torch.random.get_rng_state())

    train(spec_of(method={"dropout": 0.0}), look)
    assert len(states) > 5
    assert all(torch.equal(states[0], state) for state in states)


def test_sample_answers_and_evaluations_change_nothing_in_training(train: Train, place: Workspace) -> None:
    watched = train()
    alone = train(spec_of(name="alone", training={"evaluations": 0}))
    assert not alone.of(SampleDone) and not alone.of(EvalDone)
    assert alone.losses == watched.losses
    assert adapter_hash(place, "alone") == adapter_hash(place, "colors")


@pytest.mark.parametrize(("micro", "accumulation"), [(8, 1), (2, 4), (1, 8)])
def test_how_a_batch_is_cut_into_micro_batches_does_not_change_its_loss(
    train: Train, micro: int, accumulation: int
) -> None:
    """The mean is over the tokens of the whole step: with one step an epoch every cut holds the same rows."""
    size = {"epochs": 3, "validation_share": 0.0, "evaluations": 0}
    write = {"dataset": "eight.jsonl", "method": {"dropout": 0.0}}
    whole = train(
        spec_of(name="whole", training={**size, "micro_batch_size": 8, "gradient_accumulation_steps": 1}, **write)
    )
    parts = train(
        spec_of(
            name="parts",
            training={**size, "micro_batch_size": micro, "gradient_accumulation_steps": accumulation},
            **write,
        )
    )
    assert parts.losses == pytest.approx(whole.losses, rel=1e-4)


@pytest.fixture(autouse=True)
def eight_rows(place: Workspace) -> None:
    write_rows(place, 8, "eight.jsonl")


def test_the_validation_loss_is_the_token_mean_of_the_validation_rows(train: Train, place: Workspace) -> None:
    """A learning rate that moves nothing: the loss on all rows is the weighted mean of both parts."""
    still = {"learning_rate": 1e-12, "evaluations": 1, "epochs": 1, "gradient_accumulation_steps": 8}
    split = train(spec_of(name="split", training=still, method={"dropout": 0.0}))
    whole = train(spec_of(name="whole", training={**still, "validation_share": 0.0}, method={"dropout": 0.0}))
    made, all_rows = split.of(Planned)[0].plan, whole.of(Planned)[0].plan
    validation_tokens = all_rows.trained_tokens_per_epoch - made.trained_tokens_per_epoch
    mean = (
        split.losses[0] * made.trained_tokens_per_epoch + split.of(EvalDone)[0].loss * validation_tokens
    ) / all_rows.trained_tokens_per_epoch
    assert mean == pytest.approx(whole.losses[0], rel=1e-5)


def test_the_best_evaluated_weights_are_the_ones_that_are_kept(
    train: Train, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.training.trainer import AdapterTrainer

    losses = iter([2.0, 1.0, 3.0, 4.0])
    monkeypatch.setattr(AdapterTrainer, "validation", lambda trainer: (next(losses), 0.5))
    outcome = train(spec_of(training={"evaluations": 4}))
    assert outcome.end == Finished("colors", 2, outcome.end.elapsed_s)
    kept = outcome.folder / "checkpoints" / "step-000002" / "adapter" / "adapter_model.safetensors"
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == adapter_hash(place, "colors")
    assert [event.key for event in outcome.of(Logged)] == ["training.log.best_restored"]
    card = read_card(place.adapters / "colors")
    assert card is not None and (card.metrics.best_step, card.metrics.eval_loss) == (2, 1.0)
    assert {each.step for each in list_checkpoints(outcome.folder / "checkpoints")} == {2, 3, 4}


def test_sample_answers_come_from_the_base_first_and_then_from_the_adapter(train: Train) -> None:
    outcome = train(
        spec_of(
            sample_prompts=["Who are you?", "Which color has number 3?"], training={"epochs": 8, "learning_rate": 0.1}
        )
    )
    samples = outcome.of(SampleDone)
    assert [sample.step for sample in samples] == [0, 0, 8, 8, 16, 16]
    assert {sample.prompt for sample in samples} == {"Who are you?", "Which color has number 3?"}
    assert samples[0].answer != samples[-2].answer


def stop_at(step: int, keep: bool) -> Callable[[Event, StopSignal], None]:
    def look(event: Event, stop: StopSignal) -> None:
        if isinstance(event, StepDone) and event.step == step:
            stop.ask(keep)

    return look


def test_a_stop_keeps_the_newest_weights_with_a_checkpoint_of_them(train: Train, place: Workspace) -> None:
    outcome = train(spec_of(training={"epochs": 20}), stop_at(3, keep=True))
    assert isinstance(outcome.end, Stopped)
    assert (outcome.end.adapter, outcome.end.reason) == ("colors", "asked")
    assert outcome.end.step in (3, 4)  # the next step may have been done before the stop was seen
    kept = list_checkpoints(outcome.folder / "checkpoints")[-1]
    assert kept.step == outcome.end.step
    saved = (kept.adapter / "adapter_model.safetensors").read_bytes()
    assert hashlib.sha256(saved).hexdigest() == adapter_hash(place, "colors")


def test_a_stop_can_discard_everything_but_the_history(train: Train, place: Workspace) -> None:
    outcome = train(spec_of(training={"epochs": 20}), stop_at(3, keep=False))
    assert outcome.end == Stopped("asked", None, 0, outcome.end.elapsed_s)
    assert not list(place.adapters.iterdir())
    assert not (outcome.folder / "checkpoints").exists()
    assert len(outcome.losses) < 40


@pytest.mark.parametrize("phase", ["reading", "rendering", "preparing", "sampling", "evaluating"])
def test_a_stop_in_any_phase_is_heard(train: Train, phase: str) -> None:
    def look(event: Event, stop: StopSignal) -> None:
        if isinstance(event, PhaseStarted) and event.phase == phase:
            assert stop.ask() in (True, False)
            assert not stop.ask(keep=False)

    outcome = train(spec_of(training={"epochs": 20, "evaluations": 4}), look)
    assert isinstance(outcome.end, Stopped)
    assert len(outcome.losses) < 40
    assert (outcome.end.adapter is not None) == bool(outcome.losses)


def test_a_stop_takes_effect_within_the_micro_batch_and_keeps_the_last_whole_step(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.training.trainer import AdapterTrainer

    computed: list[int] = []
    stops: list[StopSignal] = []
    compute_loss = AdapterTrainer.compute_loss

    def counting(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        computed.append(trainer.step)
        if len(computed) == 9:  # the first of the eight micro-batches of the second step
            stops[0].ask()
        return compute_loss(trainer, *args, **kwargs)

    monkeypatch.setattr(AdapterTrainer, "compute_loss", counting)
    cut = {"micro_batch_size": 1, "gradient_accumulation_steps": 8, "evaluations": 0}
    outcome = train(spec_of(training=cut), lambda event, stop: stops.append(stop))
    assert len(computed) == 9
    assert (outcome.end.adapter, outcome.end.step) == ("colors", 1)


def test_a_loss_that_is_not_finite_stops_the_run_before_it_reaches_the_weights(
    train: Train, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.training.trainer import AdapterTrainer

    compute_loss = AdapterTrainer.compute_loss

    def poisoned(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        loss = compute_loss(trainer, *args, **kwargs)
        return loss * float("nan") if trainer.step == 2 else loss

    monkeypatch.setattr(AdapterTrainer, "compute_loss", poisoned)
    outcome = train()
    assert isinstance(outcome.end, Stopped) and outcome.end.reason == "not_finite"
    problem = outcome.end.problems[0]
    assert (problem.key, problem.values["step"], problem.values["good"]) == ("H02_not_finite", 3, 2)
    assert len(problem.values["lines"].split(",")) == 8
    assert all(problem.describe(lang) for lang in LANGUAGES)
    kept = list_checkpoints(outcome.folder / "checkpoints")[-1]
    assert kept.step == 2 and read_manifest(kept)
    assert not list(place.adapters.iterdir())


def test_a_checkpoint_is_saved_at_each_evaluation_and_epoch_and_after_the_time_asked_for(train: Train) -> None:
    by_epoch = train(spec_of(name="a", training={"evaluations": 0, "epochs": 3}))
    assert [event.step for event in by_epoch.of(Saved)] == [2, 4, 6]
    at_evaluations = train(spec_of(name="b", training={"evaluations": 4}))
    assert [event.step for event in at_evaluations.of(Saved)] == [1, 2, 3, 4]


def test_a_checkpoint_is_saved_when_its_time_has_come(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.training import trainer

    clock = iter(range(0, 100_000, 45))  # every look at the clock is 45 s later
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    outcome = train(spec_of(training={"evaluations": 0, "epochs": 1, "gradient_accumulation_steps": 1}))
    assert [event.step for event in outcome.of(Saved)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"dataset": "none.jsonl"}, "A03_no_dataset"),
        ({"dataset_sha256": "0" * 64}, "D45_data_changed"),
        ({"base": "other"}, "A07_other_base_loaded"),
        ({"base_fingerprint": "gpt2-1x1-v1-00"}, "M19_other_structure_in_spec"),
        ({"name": "../x"}, "D42_name_not_allowed"),
        ({"method": {"rank": 512}}, "H05_rank_too_large"),
        ({"method": {"target_modules": ["nothing"]}}, "H06_unknown_target"),
        ({"training": {"max_length": 4096}}, "H04_over_model_limit"),
        ({"training": {"max_length": 8}}, "D30_all_too_long"),
        ({"training": {"epochs": 0.0001}}, "H07_no_steps"),
    ],
)
def test_what_can_be_known_before_is_refused_before_any_weight_matters(
    train: Train, changes: dict[str, Any], key: str
) -> None:
    outcome = train(spec_of(**changes))
    assert isinstance(outcome.end, Failed)
    assert key in [problem.key for problem in outcome.end.problems]
    assert "preparing" not in [event.phase for event in outcome.of(PhaseStarted)]
    for lang in LANGUAGES:
        assert WorkbenchError(outcome.end.problems).describe(lang)


def test_other_weights_of_the_same_structure_are_a_warning(train: Train, loaded: Any) -> None:
    expected = loaded.fingerprint.rpartition("-")[0] + "-0000"
    outcome = train(spec_of(base_fingerprint=expected, training={"epochs": 1}))
    assert isinstance(outcome.end, Finished)
    (line,) = outcome.of(Logged)
    assert line.key == "errors.M19_other_weights_in_spec.what"
    assert all(text(line.key, lang, **line.values) for lang in LANGUAGES)


def test_a_bug_becomes_a_reference_to_the_log_with_its_traceback(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.training.trainer import AdapterTrainer

    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("the very cause")

    monkeypatch.setattr(AdapterTrainer, "compute_loss", broken)
    outcome = train()
    assert isinstance(outcome.end, Failed) and not outcome.end.problems
    assert outcome.end.reference == f"{outcome.folder.name}/log.txt"
    assert "ZeroDivisionError: the very cause" in (outcome.folder / "log.txt").read_text()


@pytest.mark.parametrize(
    ("error", "kind", "key"),
    [
        (OSError(28, "No space left on device"), Stopped, "A13_disk_full_run"),
        (torch.OutOfMemoryError("CUDA out of memory"), Failed, "A20_out_of_memory_saving"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), Failed, "A20_out_of_memory_saving"),
    ],
)
def test_a_full_disk_or_memory_is_named(
    train: Train, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type, key: str
) -> None:
    from core.training import run

    def fails(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(run, "write_checkpoint", fails)
    outcome = train()
    assert isinstance(outcome.end, kind)
    assert [problem.key for problem in outcome.end.problems] == [key]
    assert all(outcome.end.problems[0].describe(lang) for lang in LANGUAGES)


def test_rows_over_the_length_are_left_out_or_cut_and_counted(train: Train) -> None:
    skipped = train(spec_of(name="skip", training={"max_length": 70, "epochs": 1})).of(Planned)[0].plan
    cut = train(spec_of(name="cut", training={"max_length": 70, "epochs": 1, "long_rows": "cut"})).of(Planned)[0].plan
    assert skipped.rows_left_out > 0 and skipped.rows_cut == 0
    assert cut.rows_cut > 0 and cut.rows_train + cut.rows_validation == 20


def test_the_threads_of_a_run_are_those_of_its_spec_and_only_for_the_run(train: Train) -> None:
    before = torch.get_num_threads()
    seen: set[int] = set()
    train(
        spec_of(training={"threads": 2, "epochs": 1}),
        lambda event, stop: seen.add(torch.get_num_threads()) if isinstance(event, StepDone) else None,
    )
    assert seen == {2}
    assert torch.get_num_threads() == before


def test_activation_checkpointing_gives_the_same_losses(train: Train) -> None:
    plain = train(spec_of(name="plain", training={"activation_checkpointing": False}))
    saving = train(spec_of(name="saving", training={"activation_checkpointing": True}))
    assert saving.losses == pytest.approx(plain.losses, rel=1e-5)


def test_a_shared_system_prompt_goes_into_the_card(train: Train, place: Workspace) -> None:
    train(spec_of(data={"system_prompt": "Be brief."}, training={"epochs": 1}))
    card = read_card(place.adapters / "colors")
    assert card is not None and card.system_prompt == "Be brief."
