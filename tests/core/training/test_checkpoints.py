"""Checkpoints: whole or not there, verified, rotated, and holding what a resumed run will need."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.training.checkpoints import (
    Checkpoint,
    latest_checkpoint,
    list_checkpoints,
    read_manifest,
    rng_state,
    write_checkpoint,
)
from tests.core.training.conftest import Outcome, spec_of


@pytest.fixture
def folder(train: Callable[..., Outcome]) -> Path:
    outcome = train(spec_of(training={"evaluations": 4}))
    return outcome.folder / "checkpoints"


def test_a_checkpoint_holds_adapter_optimizer_schedule_random_state_and_a_manifest_of_all(folder: Path) -> None:
    checkpoint = latest_checkpoint(folder)
    assert checkpoint is not None and checkpoint.step == 4
    manifest = read_manifest(checkpoint)
    assert manifest is not None
    assert set(manifest.files) == {
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/workbench.json",
        "learner.pt",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "spec.yaml",
        "trainer_state.json",
    }
    assert manifest.dataset_sha256 and manifest.base_fingerprint and manifest.versions["peft"]
    for name in ("learner.pt", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        assert torch.load(checkpoint.folder / name, weights_only=True)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(folder: Path, tmp_path: Path) -> None:
    for file in ("adapter/adapter_model.safetensors", "optimizer.pt", "manifest.json"):
        for damage in ("flipped", "cut", "gone"):
            copy = shutil.copytree(folder, tmp_path / file.replace("/", "-") / damage)
            harm(list_checkpoints(copy)[-1].folder / file, damage)
            found = latest_checkpoint(copy)
            assert found is not None and found.step == 3, (file, damage)


def harm(file: Path, damage: str) -> None:
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[0] ^= 0x5F
        file.write_bytes(content)


def test_a_save_that_fails_leaves_nothing_behind(folder: Path) -> None:
    class Learner:
        def save(self, folder: Path, card: Any) -> None:
            raise OSError(28, "full")

    before = sorted(entry.name for entry in folder.iterdir())
    job = SimpleNamespace(spec=spec_of())
    trainer = SimpleNamespace(step=99, job=job, learner=Learner(), finished_weights=nullcontext)
    with pytest.raises(OSError, match="full"):
        write_checkpoint(folder, trainer, None, None)  # type: ignore[arg-type]
    assert sorted(entry.name for entry in folder.iterdir()) == before


def test_only_whole_folders_of_steps_are_checkpoints(tmp_path: Path) -> None:
    for step in (6, 2, 5):
        made = tmp_path / f"step-{step:06d}"
        made.mkdir()
        (made / "manifest.json").write_text("{}")
    for other in ("damaged-step-000009", "step-9 copy", ".step-000009.tmp"):
        (tmp_path / other).mkdir()
    assert list_checkpoints(tmp_path) == [Checkpoint(step, tmp_path / f"step-{step:06d}") for step in (2, 5, 6)]
    assert latest_checkpoint(tmp_path) is None  # manifests that name no file are no proof
    assert list_checkpoints(tmp_path / "none") == []


def test_looking_at_the_random_state_does_not_move_it() -> None:
    before = torch.random.get_rng_state()
    first, second = rng_state(), rng_state()
    assert torch.equal(before, torch.random.get_rng_state())
    assert first["python"] == second["python"] and first["numpy"] == second["numpy"]
