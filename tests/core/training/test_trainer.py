"""Every optimizer, schedule and option of the loop: it steps, it resumes bit by bit, and it does what its name says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from transformers import get_scheduler

from core.errors import WorkbenchError
from core.settings import Optimizer, Scheduler
from core.training.endings import StopSignal
from core.training.events import EvalDone, Event, Finished, Planned, SampleDone, StepDone, Stopped
from core.training.optimizers import optimizer_problems, schedule
from core.training.progress import fold
from core.training.resume import find_resumption
from core.training.run import RunContext, run_training
from core.training.spec import RunSpec, read_spec
from core.workspace import Workspace
from tests.core.training.conftest import Outcome, adapter_hash, spec_of

Train = Callable[..., Outcome]
COMBINED: list[dict[str, Any]] = [
    {"optimizer": "adamw", "scheduler": "cosine", "warmup_steps": 1},
    {"optimizer": "adamw_fused", "scheduler": "linear", "packing": True, "learning_rate": 1e-3},
    {"optimizer": "adamw_8bit", "scheduler": "cosine_restarts", "neftune_alpha": 5.0},
    {"optimizer": "adamw_schedule_free", "scheduler": "constant", "weight_decay": 0.1, "learning_rate": 0.03},
    {"optimizer": "adafactor", "scheduler": "polynomial", "group_by_length": False, "learning_rate": 1e-3},
    {"optimizer": "sgd", "scheduler": "inverse_sqrt", "label_smoothing": 0.1, "learning_rate": 0.5},
    {"optimizer": "lion", "scheduler": "constant", "learning_rate": 1e-3, "trackers": ["tensorboard"]},
]


def stop_after(step: int) -> Callable[[Event, StopSignal], None]:
    def look(event: Event, stop: StopSignal) -> None:
        if isinstance(event, StepDone) and event.step == step:
            stop.ask()

    return look


def go_on(place: Workspace, loaded: Any, stopped: Outcome) -> Outcome:
    """The rest of a stopped run."""
    spec = read_spec(stopped.folder / "spec.yaml")
    found = find_resumption(stopped.folder / "checkpoints", spec, fold(stopped.events), place, loaded)
    events: list[Event] = []
    context = RunContext(place, loaded, stopped.folder.name, stopped.folder, "test")
    end = run_training(found.spec, context, events.append, StopSignal(), found)
    return Outcome(events, stopped.folder, end)


def test_every_optimizer_and_schedule_is_among_those_that_are_tried() -> None:
    assert {each["optimizer"] for each in COMBINED} == set(get_args(Optimizer))
    assert {each["scheduler"] for each in COMBINED} == set(get_args(Scheduler))


@pytest.mark.parametrize("settings", COMBINED, ids=lambda each: f"{each['optimizer']}-{each['scheduler']}")
def test_a_stopped_run_goes_on_bit_by_bit_with_every_optimizer_and_schedule(
    train: Train, place: Workspace, loaded: Any, settings: dict[str, Any]
) -> None:
    rank = {"rank": 64}  # so that tensors are large enough to be kept in 8 bits
    whole = train(spec_of(name="whole", training={"steps": 4, **settings}, method=rank))
    assert isinstance(whole.end, Finished) and len(whole.losses) == 4, (whole.folder / "log.txt").read_text()
    assert whole.losses[-1] < whole.losses[0]
    stopped = train(spec_of(name="parts", training={"steps": 4, **settings}, method=rank), stop_after(2))
    assert isinstance(stopped.end, Stopped) and stopped.end.step == 2
    rest = go_on(place, loaded, stopped)
    assert [*stopped.losses[:2], *rest.losses] == whole.losses
    assert adapter_hash(place, "parts") == adapter_hash(place, "whole")


def rates(scheduler: Scheduler, warmup_steps: int, steps: int = 6) -> list[float]:
    """The rate of each step, of a whole rate of 1."""
    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=1.0)
    name, values = schedule(scheduler, warmup_steps, steps)
    made = get_scheduler(name, optimizer, warmup_steps, steps, scheduler_specific_kwargs=values)
    found = []
    for _ in range(steps):
        found += made.get_last_lr()
        optimizer.step()
        made.step()
    return found


RATES: dict[Scheduler, list[float]] = {
    "constant": [1, 1, 1, 1, 1, 1],
    "linear": [1, 0.833, 0.667, 0.5, 0.333, 0.167],
    "cosine": [1, 0.933, 0.75, 0.5, 0.25, 0.067],
    "cosine_restarts": [1, 0.5, 1, 0.5, 1, 0.5],
    "polynomial": [1, 0.694, 0.444, 0.25, 0.111, 0.028],
    "inverse_sqrt": [1, 0.707, 0.577, 0.5, 0.447, 0.408],
}


@pytest.mark.parametrize("scheduler", get_args(Scheduler))
def test_a_schedule_gives_these_rates_after_its_warm_up(scheduler: Scheduler) -> None:
    assert rates(scheduler, 0) == pytest.approx(RATES[scheduler], abs=1e-3)
    assert rates(scheduler, 2)[:3] == [0, 0.5, 1]


def test_the_rates_of_a_run_are_those_of_its_schedule(train: Train) -> None:
    size = {"steps": 6, "evaluations": 0, "gradient_accumulation_steps": 1, "warmup_share": 0.0}
    outcome = train(spec_of(training={**size, "scheduler": "cosine_restarts", "learning_rate": 1.0}))
    found = [event.learning_rate for event in outcome.of(StepDone)]
    assert found == pytest.approx(RATES["cosine_restarts"])


def test_steps_decide_instead_of_epochs(train: Train) -> None:
    outcome = train(spec_of(training={"steps": 3, "epochs": 20, "evaluations": 1}))
    assert len(outcome.losses) == 3
    assert outcome.of(Planned)[0].plan.epochs == 1.5
    resolved = read_spec(outcome.folder / "spec.yaml")
    assert (resolved.training.steps, resolved.training.epochs) == (3, 20)


def test_noise_and_smoothing_change_training_but_no_evaluation(train: Train) -> None:
    def first(**training: Any) -> tuple[float, float]:
        still = {"learning_rate": 1e-12, "steps": 1, "evaluations": 1, **training}
        outcome = train(spec_of(name=f"run-{len(training)}-{sum(map(len, training))}", training=still))
        return outcome.losses[0], outcome.of(EvalDone)[0].loss

    plain, noisy, smooth = first(), first(neftune_alpha=50.0), first(label_smoothing=0.5)
    assert len({plain[0], noisy[0], smooth[0]}) == 3
    assert plain[1] == noisy[1] == smooth[1]


def test_rows_come_in_another_order_where_they_are_not_grouped(train: Train) -> None:
    grouped = train(spec_of(name="grouped", training={"steps": 2, "evaluations": 0}))
    plain = train(spec_of(name="plain", training={"steps": 2, "evaluations": 0, "group_by_length": False}))
    assert grouped.losses[0] != plain.losses[0]


def test_packed_rows_are_all_trained_in_the_blocks_that_were_planned(train: Train) -> None:
    padded = train(spec_of(name="padded", training={"epochs": 1, "gradient_accumulation_steps": 100}))
    packed = train(spec_of(name="packed", training={"epochs": 1, "gradient_accumulation_steps": 100, "packing": True}))
    plan = packed.of(Planned)[0].plan
    assert 1 < plan.blocks < plan.rows_train
    assert (plan.steps, plan.micro_batch_size) == (1, 1)
    assert packed.of(StepDone)[0].tokens == padded.of(StepDone)[0].tokens == plan.tokens_per_epoch


def test_a_gradient_that_is_not_finite_names_the_rows_of_a_packed_step(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.training.trainer import AdapterTrainer

    compute_loss = AdapterTrainer.compute_loss
    monkeypatch.setattr(
        AdapterTrainer, "compute_loss", lambda *args, **named: compute_loss(*args, **named) * float("inf")
    )
    outcome = train(spec_of(training={"packing": True, "gradient_accumulation_steps": 100}))
    problem = outcome.end.problems[0]
    assert problem.key == "H02_not_finite_at_once"
    assert len(problem.values["lines"].split(",")) == 10
    assert problem.values["lines"].endswith(" … (+6)"), "of 16"


def test_the_run_ends_when_the_smoothed_loss_has_reached_its_target(
    train: Train, place: Workspace, loaded: Any
) -> None:
    size = {"steps": 16, "evaluations": 1, "gradient_accumulation_steps": 1, "scheduler": "constant"}
    whole = train(spec_of(name="whole", training=size))
    target = whole.losses[5]  # a single step is that low before the smoothed curve
    early = spec_of(name="early", training={**size, "loss_target": target})
    outcome = train(early)
    assert isinstance(outcome.end, Finished) and outcome.end.reason == "loss_target"
    assert 6 < len(outcome.losses) < 16
    assert outcome.losses == whole.losses[: len(outcome.losses)]
    assert outcome.of(EvalDone)[-1].step == len(outcome.losses), "the last weights are evaluated too"
    stopped = train(early.model_copy(update={"name": "parts"}), stop_after(len(outcome.losses) - 2))
    rest = go_on(place, loaded, stopped)
    assert rest.end.reason == "loss_target"
    assert adapter_hash(place, "parts") == adapter_hash(place, "early")


def test_a_run_resumed_where_it_had_done_enough_trains_no_more(train: Train, place: Workspace, loaded: Any) -> None:
    early = spec_of(training={"epochs": 20, "evaluations": 2, "loss_target": 100.0})
    outcome = train(early, lambda event, stop: stop.ask() if isinstance(event, SampleDone) and event.step else None)
    assert (outcome.end.step, outcome.end.reason) == (5, "loss_target")
    made = adapter_hash(place, "colors")
    rest = go_on(place, loaded, outcome)
    assert not rest.losses and isinstance(rest.end, Finished) and rest.end.reason == "loss_target"
    assert adapter_hash(place, "colors") == made


def test_early_stopping_waits_its_patience_and_keeps_the_best(
    train: Train, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.training.trainer import AdapterTrainer

    def evaluated(figures: list[tuple[float, float]], name: str, **training: Any) -> Outcome:
        rest = iter(figures)
        monkeypatch.setattr(AdapterTrainer, "validation", lambda trainer: next(rest))
        size = {"steps": 8, "evaluations": 8, "gradient_accumulation_steps": 1, "micro_batch_size": 1, **training}
        return train(spec_of(name=name, training=size))

    figures = [(3.0, 0.1), (2.0, 0.2), (2.5, 0.3), (2.4, 0.3), (2.3, 0.2), (2.2, 0.2), (2.1, 0.2), (2.05, 0.2)]
    by_loss = evaluated(figures, "by-loss", early_stopping=3)
    assert (by_loss.end.reason, by_loss.end.step, len(by_loss.losses)) == ("early_stopping", 2, 5)
    by_accuracy = evaluated(figures, "by-accuracy", early_stopping=3, best_by="accuracy")
    assert (by_accuracy.end.reason, by_accuracy.end.step, len(by_accuracy.losses)) == ("early_stopping", 4, 7)
    said = [line.key.rpartition(".")[2] for line in fold(by_accuracy.events).log]
    assert said.count("evaluated_best_by_accuracy") == 4 and "best_restored_by_accuracy" in said
    patient = evaluated(figures, "patient", early_stopping=7)
    assert (patient.end.reason, patient.end.step, len(patient.losses)) == ("all_steps", 2, 8)


def test_the_accuracy_is_the_share_of_validation_tokens_that_the_model_would_choose(train: Train) -> None:
    learned = train(spec_of(training={"steps": 16, "evaluations": 2, "learning_rate": 0.03, "warmup_share": 0.0}))
    first, last = learned.of(EvalDone)[0], learned.of(EvalDone)[-1]
    assert 0 <= first.accuracy < last.accuracy <= 1


def test_tensorboard_has_every_step_and_evaluation_and_nothing_else_is_written(train: Train) -> None:
    outcome = train(spec_of(training={"trackers": ["tensorboard"]}))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(outcome.folder / "tensorboard"))
    read.Reload()
    assert [each.value for each in read.Scalars("train/loss")] == pytest.approx(outcome.losses)
    assert [each.step for each in read.Scalars("validation/accuracy")] == [2, 4]
    untracked = train(spec_of(name="untracked"))
    assert not (untracked.folder / "tensorboard").exists()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"training": {"trackers": ["spy"]}}, "H14_tracker_missing"),
        ({"training": {"packing": True}, "method": {"method": "prompt"}}, "H12_packing_with_virtual_tokens"),
    ],
)
def test_what_cannot_be_done_is_refused_before_with_what_would_do(train: Train, changes: Any, key: str) -> None:
    outcome = train(spec_of(**changes))
    (problem,) = outcome.end.problems
    assert problem.key == key and "suggested" in problem.values


def test_packing_is_refused_on_a_model_that_would_let_rows_see_each_other(loaded: Any, train: Train) -> None:
    assert loaded.keeps_rows_apart
    loaded.keeps_rows_apart = False
    outcome = train(spec_of(training={"packing": True}))
    assert [problem.key for problem in outcome.end.problems] == ["H12_packing_not_on_model"]


def test_a_state_space_model_is_found_to_mix_packed_rows() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    from core.models.packing import keeps_rows_apart

    torch.manual_seed(0)
    config = MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, state_size=4, use_cache=False)
    assert not keeps_rows_apart(MambaForCausalLM(config).eval())


def test_an_optimizer_of_bitsandbytes_is_refused_where_it_does_not_run() -> None:
    assert [problem.key for problem in optimizer_problems("adamw_8bit", "mps")] == ["H13_optimizer_missing"]
    assert not optimizer_problems("adamw_8bit", "cuda:0")
    assert not optimizer_problems("adamw", "mps")


def test_a_spec_of_a_run_by_steps_is_read_back(train: Train) -> None:
    outcome = train(spec_of(training={"steps": 2, "epochs": None, "evaluations": 0}))
    assert isinstance(outcome.end, Finished)
    try:
        spec: RunSpec = read_spec(outcome.folder / "spec.yaml")
    except WorkbenchError as error:
        pytest.fail(str(error))
    assert spec.training.epochs is None


def test_on_a_cpu_the_heap_is_tidied_after_every_micro_batch(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step freed lies in pieces that the next one cannot use, and the process would grow."""
    tidied: list[None] = []
    monkeypatch.setattr("core.training.trainer.trim_heap", lambda: tidied.append(None))
    outcome = train(spec_of(training={"epochs": 1, "evaluations": 0, "gradient_accumulation_steps": 2}))
    steps = len(outcome.of(StepDone))
    assert steps and steps < len(tidied) <= 2 * steps
