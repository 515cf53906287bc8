"""Law 5: a run that ended at any moment goes on to the very adapter it would have made, and says what has changed."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from core.adapters.card import read_card
from core.errors import WorkbenchError
from core.i18n import LANGUAGES, text
from core.models.catalog import find_model
from core.models.loader import load
from core.settings import LoadSettings
from core.training.checkpoints import Checkpoint, Manifest, list_checkpoints, read_manifest
from core.training.desk import RunDesk
from core.training.events import (
    EvalDone,
    Event,
    Logged,
    PhaseStarted,
    Resumed,
    SampleDone,
    Saved,
    StepDone,
    read_events,
)
from core.training.progress import Snapshot, Status
from core.training.runner import Runner
from core.training.spec import RunSpec, read_spec, write_spec
from core.training.trainer import AdapterTrainer
from core.workspace import Workspace
from tests.core.training.conftest import adapter_hash, is_free, spec_of, write_rows

WAIT_S = 60.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Workspace:
    """One data directory for all tests of this file: each has runs and adapters of its own name."""
    made = Workspace(tmp_path_factory.mktemp("resume"))
    made.create()
    shutil.copytree(tiny_model_dir, made.models / "tiny")
    write_rows(made, 20)
    return made


@pytest.fixture(scope="module")
def loaded(place: Workspace) -> Any:
    return load(find_model(place, "tiny"), LoadSettings(precision="fp32"))


@pytest.fixture
def runner(place: Workspace) -> Iterator[Runner]:
    made = Runner(place)
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(place: Workspace, loaded: Any) -> Snapshot:
    """The run that nobody stops."""
    runner = Runner(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.training.samples.SAMPLE_TOKENS", 4)
        run_id = runner.start(eight_steps("whole"), loaded)
        assert runner.wait(WAIT_S)
    return runner.snapshot(run_id)


def eight_steps(name: str, **changes: Any) -> RunSpec:
    training = {"epochs": 4, "evaluations": 3, **changes.pop("training", {})}
    return spec_of(name=name, training=training, **changes)


# ---- stop and resume ----


def run_to(runner: Runner, loaded: Any, spec: RunSpec, last: type[Event], step: int, keep: bool = True) -> str:
    """Start a run and stop it at the first event of a kind at a step (or later); wait for its end."""
    with stopped_at(runner, last, step, keep):
        run_id = runner.start(spec, loaded)
        assert runner.wait(WAIT_S)
    return run_id


@contextmanager
def stopped_at(runner: Runner, last: type[Event], step: int = 0, keep: bool = True) -> Iterator[None]:
    emit = runner._emit

    def stopping(active: Any, event: Any) -> None:
        emit(active, event)
        if isinstance(event, last) and getattr(event, "step", 0) >= step:
            runner.stop(active.run_id, keep)

    runner._emit = stopping  # type: ignore[method-assign]
    try:
        yield
    finally:
        runner._emit = emit  # type: ignore[method-assign]


def resumed(runner: Runner, loaded: Any, run_id: str, accept_changes: bool = False) -> Snapshot:
    runner.resume(run_id, loaded, accept_changes)
    assert runner.wait(WAIT_S)
    return runner.snapshot(run_id)


def events_of(place: Workspace, run_id: str) -> list[Event]:
    return list(read_events(place.runs / run_id / "events.jsonl").events)


@pytest.mark.parametrize(("last", "step"), [(StepDone, 3), (EvalDone, 3), (SampleDone, 3)])
def test_a_stopped_run_goes_on_to_the_adapter_it_would_have_made(
    runner: Runner, place: Workspace, loaded: Any, whole: Snapshot, last: type[Event], step: int
) -> None:
    name = f"stopped-{last.__name__}"
    run_id = run_to(runner, loaded, eight_steps(name), last, step)
    stopped = runner.snapshot(run_id)
    assert (stopped.status, stopped.adapter, stopped.kept_step) == (Status.STOPPED, name, 3)
    assert adapter_hash(place, name) != adapter_hash(place, "whole")
    end = resumed(Runner(place), loaded, run_id)  # as another process would find it
    assert (end.status, end.adapter, end.name, end.stop_reason) == (Status.FINISHED, name, name, None)
    assert adapter_hash(place, name) == adapter_hash(place, "whole")
    assert (end.losses, end.evals) == (whole.losses, whole.evals)
    assert [sample.step for sample in end.samples] == [sample.step for sample in whole.samples]
    elapsed = [event.elapsed_s for event in events_of(place, run_id)[1:]]  # type: ignore[union-attr]
    assert elapsed == sorted(elapsed), "time goes on from where it was"
    card, expected = read_card(place.adapters / name), read_card(place.adapters / "whole")
    assert card and expected and card.metrics == expected.metrics and card.run_id == run_id


@pytest.fixture
def loss_scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp16's loss scaling, on a CPU: it overflows at the first step, is halved, and grows back after two good ones."""
    prepared = AdapterTrainer.create_accelerator_and_postprocess

    def with_scaler(trainer: Any) -> None:
        prepared(trainer)
        trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126, growth_interval=2)

    def unscale(accelerator: Any, optimizer: Any = None) -> None:
        for each in accelerator._optimizers:
            accelerator.scaler.unscale_(each.optimizer)

    monkeypatch.setattr(AdapterTrainer, "create_accelerator_and_postprocess", with_scaler)
    monkeypatch.setattr(Accelerator, "unscale_gradients", unscale)


def test_the_scale_of_fp16_goes_on_from_where_it_was(
    loss_scaling: None, runner: Runner, place: Workspace, loaded: Any, whole: Snapshot
) -> None:
    run_id = runner.start(eight_steps("scaled-whole"), loaded)
    assert runner.wait(WAIT_S)
    assert runner.snapshot(run_id).losses != whole.losses, "the steps that overflowed were skipped"
    scale = torch.load(list_checkpoints(place.runs / run_id / "checkpoints")[-1].folder / "scaler.pt")
    stopped = run_to(runner, loaded, eight_steps("scaled-stopped"), StepDone, 2)
    end = resumed(runner, loaded, stopped)
    assert end.losses == runner.snapshot(run_id).losses
    assert adapter_hash(place, "scaled-stopped") == adapter_hash(place, "scaled-whole")
    assert torch.load(list_checkpoints(place.runs / stopped / "checkpoints")[-1].folder / "scaler.pt") == scale


def test_a_run_stopped_at_once_after_resuming_keeps_what_it_had(runner: Runner, place: Workspace, loaded: Any) -> None:
    run_id = run_to(runner, loaded, eight_steps("at-once"), StepDone, 3)
    kept = adapter_hash(place, "at-once")
    with stopped_at(runner, PhaseStarted):  # its first word
        runner.resume(run_id, loaded)
        assert runner.wait(WAIT_S)
    stopped = runner.snapshot(run_id)
    assert (stopped.status, stopped.adapter, stopped.kept_step) == (Status.STOPPED, "at-once", 3)
    assert adapter_hash(place, "at-once") == kept
    assert resumed(runner, loaded, run_id).status == Status.FINISHED


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    runner: Runner, place: Workspace, loaded: Any, whole: Snapshot
) -> None:
    run_id = run_to(runner, loaded, eight_steps("damaged"), StepDone, 5)
    checkpoints = list_checkpoints(place.runs / run_id / "checkpoints")
    assert [each.step for each in checkpoints[-2:]] == [4, 5]
    file = checkpoints[-1].folder / "optimizer.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    end = resumed(runner, loaded, run_id)
    (named,) = [event for event in events_of(place, run_id) if isinstance(event, Logged)]
    assert (named.key, named.values) == ("training.log.damaged_checkpoint", {"name": "step-000005"})
    told = events_of(place, run_id)
    (again,) = [number for number, event in enumerate(told) if isinstance(event, Resumed)]
    assert told[again].step == 4  # type: ignore[union-attr]
    assert 5 in [event.step for event in told[again:] if isinstance(event, Saved)], "whole in the damaged one's place"
    assert end.status == Status.FINISHED and end.losses == whole.losses
    assert adapter_hash(place, "damaged") == adapter_hash(place, "whole")


def test_a_run_cut_off_after_its_last_step_still_makes_its_adapter(
    runner: Runner, place: Workspace, loaded: Any, whole: Snapshot
) -> None:
    cut_off = shutil.copytree(place.runs / whole.run_id, place.runs / "20000101-000000-000")
    told = (cut_off / "events.jsonl").read_text().splitlines(keepends=True)
    (cut_off / "events.jsonl").write_text("".join(told[:-1]))
    assert runner.snapshot(cut_off.name).status == Status.INTERRUPTED
    end = resumed(runner, loaded, cut_off.name)
    assert (end.status, end.adapter, end.kept_step, end.losses) == (Status.FINISHED, "whole-2", 8, whole.losses)
    assert adapter_hash(place, "whole-2") == adapter_hash(place, "whole")


def test_a_discarded_run_starts_again_from_its_start_and_says_so(
    runner: Runner, place: Workspace, loaded: Any, whole: Snapshot
) -> None:
    run_id = run_to(runner, loaded, eight_steps("discarded"), StepDone, 5, keep=False)
    assert runner.snapshot(run_id).checkpoint_step is None
    end = resumed(runner, loaded, run_id)
    assert end.status == Status.FINISHED and end.losses == whole.losses
    assert adapter_hash(place, "discarded") == adapter_hash(place, "whole")
    (line,) = [line for line in end.log if line.key.startswith("training.log.resumed")]
    assert line.key == "training.log.resumed_at_start"
    assert all(text(line.key, lang, **line.values) for lang in LANGUAGES)


def test_an_adapter_of_somebody_else_that_took_the_name_is_left_alone(
    runner: Runner, place: Workspace, loaded: Any, whole: Snapshot
) -> None:
    run_id = run_to(runner, loaded, eight_steps("taken"), StepDone, 3, keep=False)
    shutil.copytree(place.adapters / "whole", place.adapters / "taken")
    assert resumed(runner, loaded, run_id).adapter == "taken-2"
    card = read_card(place.adapters / "taken")
    assert card and card.run_id == whole.run_id


# ---- what has changed ----


def rewrite(place: Workspace, run_id: str, part: str, **changes: Any) -> None:
    """Edit the spec in a run's folder by hand."""
    file = place.runs / run_id / "spec.yaml"
    spec = read_spec(file)
    write_spec(file, spec.model_copy(update={part: getattr(spec, part).model_copy(update=changes)}))


def refused(runner: Runner, loaded: Any, run_id: str, accept_changes: bool = False) -> list[str]:
    with pytest.raises(WorkbenchError) as caught:
        runner.resume(run_id, loaded, accept_changes)
    assert all(caught.value.describe(lang) for lang in LANGUAGES)
    assert runner.active() is None
    return [problem.key for problem in caught.value.problems]


def test_what_has_changed_is_listed_and_only_then_accepted(
    runner: Runner, place: Workspace, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(place, 20, "changing.jsonl")
    run_id = run_to(runner, loaded, eight_steps("changed", dataset="changing.jsonl"), StepDone, 3)
    before = (place.runs / run_id / "events.jsonl").read_bytes()
    write_rows(place, 24, "changing.jsonl")
    rewrite(place, run_id, "training", learning_rate=5e-3)
    versions = {"torch": "9.9", "transformers": "9", "peft": "9", "accelerate": "9"}
    monkeypatch.setattr("core.training.resume.library_versions", lambda: versions)
    monkeypatch.setattr(loaded, "fingerprint", loaded.fingerprint.rpartition("-")[0] + "-0000")
    of_base = ["A22_weights_changed", "A22_tokenizer_changed", "A22_device_changed"]
    keys = ["A22_data_changed", *of_base, "A22_setting_changed", "A22_versions_changed"]
    monkeypatch.setattr(loaded, "precision", replace(loaded.precision, device="cuda"))
    monkeypatch.setattr(loaded, "tokenizer_sha256", "another")
    assert refused(runner, loaded, run_id) == keys
    assert [each.key for each in runner.resumption(run_id, None).differences] == [
        key for key in keys if key not in of_base
    ]
    monkeypatch.setattr(loaded, "precision", replace(loaded.precision, device="cpu"))
    of_base.pop()
    keys.remove("A22_device_changed")
    assert (place.runs / run_id / "events.jsonl").read_bytes() == before
    end = resumed(runner, loaded, run_id, accept_changes=True)
    assert (end.status, end.adapter) == (Status.FINISHED, "changed")
    logged = [event.key for event in events_of(place, run_id) if isinstance(event, Logged)]
    assert [key for key in logged if "A22" in key] == [f"errors.{key}.what" for key in keys]
    card = read_card(place.adapters / "changed")
    assert card and card.dataset_sha256 == hashlib.sha256((place.datasets / "changing.jsonl").read_bytes()).hexdigest()


def test_another_adapter_or_base_cannot_be_accepted(
    runner: Runner, place: Workspace, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(place, 20, "going.jsonl")
    run_id = run_to(runner, loaded, eight_steps("impossible", dataset="going.jsonl"), StepDone, 1)
    with monkeypatch.context() as patch:
        patch.setattr(loaded, "fingerprint", "gpt2-1x1-v1-00")
        assert refused(runner, loaded, run_id, accept_changes=True) == ["M19_other_structure_in_spec"]
    rewrite(place, run_id, "method", rank=2)
    assert refused(runner, loaded, run_id, accept_changes=True) == ["A22_method_changed"]
    (place.datasets / "going.jsonl").unlink()
    assert refused(runner, loaded, run_id, accept_changes=True) == ["A03_no_dataset"]


def test_a_finished_or_unknown_run_is_not_resumed(runner: Runner, loaded: Any, whole: Snapshot) -> None:
    assert refused(runner, loaded, whole.run_id) == ["A23_already_finished"]
    assert refused(runner, loaded, "../x") == ["A30_no_such_run"]


def test_while_a_run_goes_on_neither_it_nor_another_is_resumed(runner: Runner, place: Workspace, loaded: Any) -> None:
    stopped = run_to(runner, loaded, eight_steps("waiting"), StepDone, 1)
    going_on = runner.start(eight_steps("other", training={"epochs": 1000, "evaluations": 0}), loaded)
    for run_id in (stopped, going_on):
        with pytest.raises(WorkbenchError) as caught:
            runner.resume(run_id, loaded)
        assert caught.value.key == "A01_run_going_on"
    runner.stop(going_on, keep=False)
    assert runner.wait(WAIT_S)


# ---- reading gigabytes ----


def test_a_checkpoint_is_read_once_and_nothing_waits_for_it(
    runner: Runner, place: Workspace, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run_to(runner, loaded, eight_steps("read-once"), StepDone, 1)
    desk = RunDesk(place, threading.RLock(), lambda: loaded, lambda *_: None)
    locks, free = (desk._exclusive, desk._runner._lock), []

    def watched(checkpoint: Checkpoint) -> Manifest | None:
        free.append([is_free(lock) for lock in locks])
        return read_manifest(checkpoint)

    monkeypatch.setattr("core.training.resume.read_manifest", watched)
    with stopped_at(desk._runner, PhaseStarted):
        assert desk.resume(run_id) and desk.wait(WAIT_S)
    assert free == [[True, True]]
    with stopped_at(desk._runner, PhaseStarted):
        assert desk.resume(run_id, verified=desk.resumption(run_id)) and desk.wait(WAIT_S)
    assert free == [[True, True]] * 2
    with stopped_at(desk._runner, PhaseStarted):
        desk._runner.resume(run_id, loaded)  # in its turn
        assert desk.wait(WAIT_S)
    assert free == [[True, True]] * 3


def test_what_happened_since_a_checkpoint_was_read_is_not_overlooked(runner: Runner, loaded: Any) -> None:
    run_id = run_to(runner, loaded, eight_steps("since"), StepDone, 1)
    verified = runner.resumption(run_id, loaded)
    with stopped_at(runner, StepDone, 3):
        resumed(runner, loaded, run_id)
    assert (verified.step, runner.resumption(run_id, loaded, verified).step) == (1, 3)
    assert resumed(runner, loaded, run_id).status == Status.FINISHED
    with pytest.raises(WorkbenchError, match="A23"):
        runner.resume(run_id, loaded, verified=verified)
