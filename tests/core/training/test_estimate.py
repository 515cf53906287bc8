"""The formulas of memory and disk: which part grows with what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.settings import Optimizer
from core.training.estimate import Machine, MicroBatch, ModelShape, disk_estimate, estimate

SMALL = ModelShape(hidden_size=576, layers=30, vocab_size=49152, max_length=8192, trainable_parameters=5_000_000)
MACHINE = Machine("cpu", free_memory_gb=8, threads=2, compute_bytes=2)
BATCH = MicroBatch(4, 256, 400)


@pytest.mark.parametrize(
    ("optimizer", "gb"),
    [
        *(("adamw", 0.04), ("adamw_fused", 0.04), ("adamw_8bit", 0.01), ("adamw_schedule_free", 0.04)),
        *(("lion", 0.02), ("sgd", 0)),
    ],
)
def test_an_optimizer_keeps_its_own_number_of_bytes_of_each_weight(optimizer: Optimizer, gb: float) -> None:
    found = estimate(SMALL, BATCH, MACHINE, optimizer=optimizer)
    assert found.optimizer_gb == pytest.approx(gb)
    assert (found.adapter_gb, found.gradients_gb) == (0.02, 0.02)


def test_trained_base_weights_are_cast_at_each_step_and_rewritten_matrices_are_copied() -> None:
    plain = estimate(SMALL, BATCH, MACHINE)
    full = estimate(replace(SMALL, trained_base_parameters=5_000_000), MicroBatch(0, 0, 0), MACHINE)
    assert full.activations_gb == pytest.approx(0.01)
    copied = estimate(replace(SMALL, copied_bytes=200_000_000), BATCH, MACHINE)
    assert copied.adapter_gb == pytest.approx(plain.adapter_gb + 0.2)
    assert copied.gradients_gb == plain.gradients_gb


def test_checkpointing_takes_activations_and_nothing_else() -> None:
    plain, checkpointed = estimate(SMALL, BATCH, MACHINE), estimate(SMALL, BATCH, MACHINE, checkpointing=True)
    assert checkpointed.activations_gb < plain.activations_gb / 8
    assert replace(checkpointed, activations_gb=plain.activations_gb) == plain


def test_only_trained_tokens_have_logits() -> None:
    found = estimate(SMALL, BATCH, MACHINE)
    assert found.logits_gb == pytest.approx(400 * 49152 * 14 / 1e9)
    assert estimate(SMALL, replace(BATCH, rows=8), MACHINE).logits_gb == found.logits_gb


def test_the_disk_holds_several_checkpoints_and_the_result() -> None:
    adapter = disk_estimate(SMALL, "adamw")
    assert (adapter.checkpoint_gb, adapter.result_gb) == (pytest.approx(0.08), pytest.approx(0.02))
    assert adapter.total_gb == pytest.approx(0.34) and adapter.least_gb == pytest.approx(0.1)
    with_snapshots = disk_estimate(SMALL, "adamw", snapshots=5)
    assert (with_snapshots.snapshots_gb, with_snapshots.total_gb) == (pytest.approx(0.1), pytest.approx(0.44))
    assert with_snapshots.least_gb == adapter.least_gb
    model = disk_estimate(SMALL, "sgd", model_bytes=270_000_000, snapshots=5)
    assert model.snapshots_gb == 0
    assert (model.checkpoint_gb, model.result_gb) == (pytest.approx(0.02), pytest.approx(0.27))
