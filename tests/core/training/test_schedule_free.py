"""Schedule-free AdamW: what is evaluated, sampled and kept is the average; what is trained never notices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.settings import TrainingSettings
from core.training.endings import StopSignal
from core.training.events import EvalDone, Event, Finished, SampleDone, StepDone, Stopped
from core.training.lineage import further
from core.training.optimizers import averaged, make_optimizer, schedule_free_problems
from core.training.spec import RunSpec, read_spec
from core.workspace import Workspace
from tests.core.training.conftest import Outcome, adapter_hash, spec_of
from tests.core.training.test_trainer import go_on

Train = Callable[..., Outcome]
ASKED: dict[str, Any] = {
    **{"optimizer": "adamw_schedule_free", "scheduler": "constant", "learning_rate": 0.03},
    **{"steps": 6, "evaluations": 3, "warmup_steps": 1, "gradient_accumulation_steps": 1},
}


def spec_free(name: str = "colors", method: dict[str, Any] | None = None, **training: Any) -> RunSpec:
    return spec_of(name=name, method=method or {}, training={**ASKED, **training})


def states(run: Path, step: int) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """Of a checkpoint: what was trained, the average worked out from it as the paper writes it, what is kept."""
    folder = run / "checkpoints" / f"step-{step:06d}"
    trained = torch.load(folder / "learner.pt", weights_only=True)["trained"]
    state = torch.load(folder / "optimizer.pt", weights_only=True)["state"]
    kept = load_file(folder / "adapter" / "adapter_model.safetensors")
    names = [name.replace(".adapter.", ".") for name in trained]
    assert set(names) == set(kept)
    beta = 0.9  # y = (1 − β)·z + β·x
    average = [(y - (1 - beta) * state[at]["z"]) / beta for at, y in enumerate(trained.values())]
    return list(trained.values()), average, [kept[name] for name in names]


def test_the_loss_falls_at_a_constant_rate(train: Train) -> None:
    outcome = train(spec_free(steps=16, learning_rate=0.01))
    assert isinstance(outcome.end, Finished), (outcome.folder / "log.txt").read_text()
    assert max(outcome.losses[-3:]) < min(outcome.losses[:3]) - 0.3
    evaluated = [event.loss for event in outcome.of(EvalDone)]
    assert evaluated == sorted(evaluated, reverse=True) and len(evaluated) == 3
    assert [event.learning_rate for event in outcome.of(StepDone)] == [0.0] + [0.01] * 15


def test_the_average_is_kept_and_not_what_is_trained(train: Train) -> None:
    outcome = train(spec_free())
    trained, average, kept = states(outcome.folder, 6)
    for y, x, found in zip(trained, average, kept, strict=True):
        assert torch.allclose(found, x, atol=1e-6)
        assert not torch.allclose(found, y, atol=1e-4)


def test_the_kept_adapter_has_the_loss_that_was_measured(train: Train, place: Workspace) -> None:
    """Trained further at no rate worth the name, it is evaluated as it was when it was kept."""
    outcome = train(spec_free(method={"dropout": 0.0}))
    (last,) = [event for event in outcome.of(EvalDone) if event.step == 6]
    spec = further(read_spec(outcome.folder / "spec.yaml"), "colors", "further", place)
    settings = {"steps": 1, "evaluations": 1, "learning_rate": 1e-12, "optimizer": "adamw"}
    second = train(spec.model_copy(update={"training": spec.training.model_copy(update=settings)}))
    assert second.of(EvalDone)[0].loss == pytest.approx(last.loss, rel=1e-5)


def test_sample_answers_are_given_by_the_average(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.training import run

    seen: dict[str, torch.Tensor] = {}
    answer_all = run.answer_all

    def look(tree: Any, *rest: Any) -> Any:
        seen.update((name, tensor.detach().clone()) for name, tensor in tree.named_parameters() if ".lora_" in name)
        return answer_all(tree, *rest)

    monkeypatch.setattr(run, "answer_all", look)
    outcome = train(spec_free())
    kept = load_file(outcome.folder / "checkpoints" / "step-000006" / "adapter" / "adapter_model.safetensors")
    assert {f"base_model.model.{name.replace('.adapter.', '.')}" for name in seen} == set(kept)
    for name, tensor in seen.items():
        assert torch.equal(tensor, kept[f"base_model.model.{name.replace('.adapter.', '.')}"])


@pytest.mark.parametrize("asked", ["step", "review"])
def test_a_stopped_run_goes_on_bit_by_bit_with_evaluations_in_between(
    train: Train, place: Workspace, loaded: Any, asked: str
) -> None:
    def stop_at(event: Event, stop: StopSignal) -> None:
        kind = StepDone if asked == "step" else SampleDone  # after an evaluation, or in the midst of its answers
        if isinstance(event, kind) and event.step == (3 if asked == "step" else 4):
            stop.ask()

    whole = train(spec_free("whole"))
    stopped = train(spec_free("parts"), stop_at)
    assert isinstance(stopped.end, Stopped) and 0 < len(stopped.losses) < 6
    rest = go_on(place, loaded, stopped)
    assert [*stopped.losses, *rest.losses] == whole.losses
    evaluated = {event.step: event.loss for event in (*stopped.of(EvalDone), *rest.of(EvalDone))}
    assert evaluated == {event.step: event.loss for event in whole.of(EvalDone)}
    assert adapter_hash(place, "parts") == adapter_hash(place, "whole")


@pytest.mark.parametrize("method", ["lora", "prefix", "full"])
def test_evaluations_do_not_change_what_is_trained(train: Train, method: str) -> None:
    sized = {"method": method, "virtual_tokens": 4}
    watched = train(spec_free("watched", sized, evaluations=6))
    alone = train(spec_free("alone", sized, evaluations=0, validation_share=0.2))
    assert watched.losses == alone.losses and len(watched.of(EvalDone)) == 6 and not alone.of(EvalDone)
    for name in ("learner.pt", "optimizer.pt"):
        files = [each.folder / "checkpoints" / "step-000006" / name for each in (watched, alone)]
        assert same(*(torch.load(file, weights_only=True) for file in files))


def test_the_best_weights_come_back_as_the_average_that_was_evaluated(
    train: Train, place: Workspace, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.training.trainer import AdapterTrainer

    monkeypatch.setattr(AdapterTrainer, "validation", lambda trainer: (float(trainer.step), 0.5))
    outcome = train(spec_free())
    assert outcome.end.step == 2
    best = (outcome.folder / "checkpoints" / "step-000002" / "adapter" / "adapter_model.safetensors").read_bytes()
    kept = place.adapters / "colors" / "adapter_model.safetensors"
    assert kept.read_bytes() == best
    kept.unlink()  # as where a run is killed before its result is kept: it has only that left to do
    again = go_on(place, loaded, outcome)
    assert again.end.step == 2 and not again.losses
    assert kept.read_bytes() == best


def test_a_run_that_is_resumed_after_its_last_step_keeps_the_average(
    train: Train, place: Workspace, loaded: Any
) -> None:
    outcome = train(spec_free())
    made = adapter_hash(place, "colors")
    again = go_on(place, loaded, outcome)
    assert isinstance(again.end, Finished) and again.end.step == 6 and not again.losses
    assert adapter_hash(place, "colors") == made


def test_weights_are_bit_by_bit_as_before_also_after_an_error() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 64)
    asked = TrainingSettings.checked({"optimizer": "adamw_schedule_free", "scheduler": "constant"})
    optimizer: Any = make_optimizer(asked, [{"params": list(layer.parameters()), "weight_decay": 0.0}], 0.01)
    optimizer.train()
    for _ in range(5):
        layer(torch.randn(8, 64)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    before = layer.weight.detach().clone()
    with pytest.raises(RuntimeError, match="broken"), averaged(optimizer):
        assert not torch.equal(layer.weight, before)
        raise RuntimeError("broken")
    assert torch.equal(layer.weight, before)
    optimizer.step()  # which it refuses unless it is back at training


@pytest.mark.parametrize(
    ("training", "method", "key", "field", "suggested"),
    [
        ({"scheduler": "cosine"}, "lora", "H12_schedule_free_with_schedule", "scheduler", "constant"),
        ({"adam_beta1": 0.0}, "lora", "H12_schedule_free_with_beta", "adam_beta1", 0.9),
        ({}, "adalora", "H12_schedule_free_with_adalora", "optimizer", "adamw"),
    ],
)
def test_what_does_not_go_with_it_is_refused_with_what_would(
    train: Train, training: dict[str, Any], method: Any, key: str, field: str, suggested: object
) -> None:
    outcome = train(spec_free(method={"method": method}, **training))
    (problem,) = outcome.end.problems
    assert (problem.key, problem.place.field, problem.values["suggested"]) == (key, field, suggested)
    asked = spec_free(**training).training
    assert not schedule_free_problems(asked.model_copy(update={"optimizer": "adamw"}), method)


def test_a_spec_with_it_is_read_back(train: Train) -> None:
    outcome = train(spec_free(steps=1, evaluations=0))
    spec = read_spec(outcome.folder / "spec.yaml")
    assert (spec.training.optimizer, spec.training.scheduler) == ("adamw_schedule_free", "constant")


def same(first: Any, second: Any) -> bool:
    """Whether two saved states are equal bit by bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)
