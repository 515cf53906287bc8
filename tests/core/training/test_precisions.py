"""Training on bases in other formats: 16-bit, 8-bit, 4-bit; and a few real steps on the starter model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from core.models.catalog import find_model
from core.models.loader import load
from core.models.precision import LoadedPrecision
from core.settings import LoadSettings
from core.training.endings import StopSignal
from core.training.events import EvalDone, Event, Finished, SampleDone, StepDone
from core.training.run import RunContext, run_training
from core.workspace import Workspace
from tests.core.training.conftest import spec_of, write_rows

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11]])


def carried_out(place: Workspace, loaded: Any, **changes: Any) -> list[Event]:
    events: list[Event] = []
    folder = place.runs / loaded.precision.precision
    folder.mkdir()
    spec = spec_of(base=loaded.info.name, **changes)
    run_training(spec, RunContext(place, loaded, folder.name, folder), events.append, StopSignal())
    return events


@pytest.mark.parametrize("precision", ["bf16", "int8", "nf4"])
def test_a_base_in_few_bits_is_trained_on_and_stays_as_it_was(place: Workspace, precision: LoadedPrecision) -> None:
    loaded = load(find_model(place, "tiny"), LoadSettings(precision=precision))
    with torch.no_grad():
        before = loaded.model(input_ids=IDS).logits.clone()
    weights = {name: (each.dtype, each.requires_grad) for name, each in loaded.model.named_parameters()}
    events = carried_out(place, loaded, training={"epochs": 4})
    assert isinstance(events[-1], Finished)
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    assert losses[-1] < losses[0] - 0.05
    with torch.no_grad():
        assert torch.equal(loaded.model(input_ids=IDS).logits, before)
    assert {name: (each.dtype, each.requires_grad) for name, each in loaded.model.named_parameters()} == weights


@pytest.mark.parametrize("precision", ["bf16", "nf4"])
def test_the_adapter_is_kept_in_fp32_whatever_the_base_is(place: Workspace, precision: LoadedPrecision) -> None:
    from safetensors.torch import load_file

    loaded = load(find_model(place, "tiny"), LoadSettings(precision=precision))
    carried_out(place, loaded, training={"epochs": 1, "evaluations": 0})
    tensors = load_file(place.adapters / "colors" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_an_evaluation_does_not_change_the_gradients_after_it(
    place: Workspace, precision: LoadedPrecision, request: pytest.FixtureRequest
) -> None:
    loaded = load(find_model(place, "tiny"), LoadSettings(precision=precision))
    steps = {"epochs": 2, "gradient_accumulation_steps": 1}
    watched = carried_out(place, loaded, training={**steps, "evaluations": 8})
    shutil.rmtree(place.runs / precision)
    alone = carried_out(place, loaded, name="alone", training={**steps, "evaluations": 0})
    assert [event for event in watched if isinstance(event, EvalDone)]
    norms = [[event.grad_norm for event in events if isinstance(event, StepDone)] for events in (watched, alone)]
    assert norms[0] == norms[1]


@pytest.mark.starter
def test_the_starter_learns_in_a_few_steps(workspace: Workspace, starter_dir: Path) -> None:
    place = Workspace(workspace.root, extra_models=(starter_dir.parent,))
    write_rows(place, 8)
    loaded = load(find_model(place, starter_dir.name), LoadSettings())
    training = {"epochs": 3, "learning_rate": 1e-3, "evaluations": 1, "validation_share": 0.25}
    events = carried_out(place, loaded, training=training, method={"dropout": 0.0})
    assert isinstance(events[-1], Finished)
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    assert losses[-1] < losses[0]
    answers = [event for event in events if isinstance(event, SampleDone)]
    assert {answer.step for answer in answers} == {0, 3}
