"""How much memory and disk a run will take, at once and from a few numbers of the model, the method and the batch.

Owns the formulas, nothing else: `plan` uses them to choose the micro-batch, and the page shows them until there is a
measured `forecast`. The base weights are shared with chat and are loaded already, so they are not counted. Measured
peaks are named beside the constants.

    trained weights  fp32 whatever the base is; matrices of the base that a method rewrites, as copies
    gradients        as many bytes as the trained weights
    optimizer        what it keeps of each trained number (`STATE_BYTES`)
    activations      what the backward pass needs of every token and layer (or of every layer's input and one whole
                     layer where activations are checkpointed); 16-bit casts of trained base weights
    logits           one row of the vocabulary for every *trained* token, in the model's format and in fp32
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.settings import Optimizer

GB = 1e9
FP32_BYTES = 4
# Floats a layer keeps of a token, in units of the hidden size: inputs and outputs of norms, attention and the gated
# feed-forward; and the fp32 copies that fp32 adapters on a 16-bit base read. Measured on the starter with all linear
# layers adapted: 65 bytes in bf16, 70 in fp32.
ACTIVATION_FLOATS = 18
ADAPTER_COPY_FLOATS = 8
LOGIT_COPIES_FP32 = 3  # fp32 logits, their softmax, their gradient
# Bytes an optimizer keeps of each trained number. Adafactor keeps a row and a column of a matrix: next to nothing.
STATE_BYTES: dict[Optimizer, float] = {
    "adamw": 8,
    "adamw_fused": 8,
    "adamw_8bit": 2,
    "adamw_schedule_free": 8,
    "adafactor": 0.1,
    "sgd": 0,
    "lion": 4,
}
KEPT_CHECKPOINTS = 4  # the two newest, the best, and the one that is being written
EASY_SHARE = 0.8  # of the free memory: chat's answers and other programs need some too

Verdict = Literal["fits", "tight", "does_not_fit"]


@dataclass(frozen=True)
class ModelShape:
    """What the forecast needs to know about a base model and what is trained of it or on it.

    `trained_base_parameters` are those of the trained ones that are the base's own; `copied_bytes` is what the method
    copies of the base without training it.
    """

    hidden_size: int
    layers: int
    vocab_size: int
    max_length: int | None
    trainable_parameters: int
    trained_base_parameters: int = 0
    copied_bytes: int = 0


@dataclass(frozen=True)
class Machine:
    """What a run may use. `compute_bytes` is 4 where activations are fp32, 2 where they are 16-bit."""

    device: str
    free_memory_gb: float
    threads: int
    compute_bytes: int = FP32_BYTES


@dataclass(frozen=True)
class MicroBatch:
    """The largest micro-batch of a run: rows, tokens a row with padding, trained tokens in all."""

    rows: int
    length: int
    trained_tokens: int

    @property
    def tokens(self) -> int:
        return self.rows * self.length


@dataclass(frozen=True)
class MemoryEstimate:
    """The parts of what a run needs beside the loaded model; `adapter_gb` is all that is trained, whatever it is."""

    adapter_gb: float
    gradients_gb: float
    optimizer_gb: float
    activations_gb: float
    logits_gb: float

    @property
    def fixed_gb(self) -> float:
        """What does not depend on the micro-batch."""
        return self.adapter_gb + self.gradients_gb + self.optimizer_gb

    @property
    def total_gb(self) -> float:
        return self.fixed_gb + self.activations_gb + self.logits_gb


def estimate(
    model: ModelShape,
    batch: MicroBatch,
    machine: Machine,
    checkpointing: bool = False,
    optimizer: Optimizer = "adamw",
) -> MemoryEstimate:
    """The forecast for training with this micro-batch."""
    trained_bytes = FP32_BYTES * model.trainable_parameters
    sixteen_bit = machine.compute_bytes < FP32_BYTES
    copies = ADAPTER_COPY_FLOATS * FP32_BYTES if sixteen_bit and not model.trained_base_parameters else 0
    token_layer_bytes = model.hidden_size * (ACTIVATION_FLOATS * machine.compute_bytes + copies)
    whole_layers = 1 if checkpointing else model.layers
    inputs_bytes = model.layers * model.hidden_size * machine.compute_bytes if checkpointing else 0
    cast_bytes = machine.compute_bytes * model.trained_base_parameters if sixteen_bit else 0
    logit_bytes = batch.trained_tokens * model.vocab_size * (machine.compute_bytes + LOGIT_COPIES_FP32 * FP32_BYTES)
    return MemoryEstimate(
        adapter_gb=(trained_bytes + model.copied_bytes) / GB,
        gradients_gb=trained_bytes / GB,
        optimizer_gb=STATE_BYTES[optimizer] * model.trainable_parameters / GB,
        activations_gb=(batch.tokens * (whole_layers * token_layer_bytes + inputs_bytes) + cast_bytes) / GB,
        logits_gb=logit_bytes / GB,
    )


def verdict(needed_gb: float, free_gb: float) -> Verdict:
    """What a need means beside what is free."""
    if needed_gb > free_gb:
        return "does_not_fit"
    return "fits" if needed_gb <= EASY_SHARE * free_gb else "tight"


@dataclass(frozen=True)
class DiskEstimate:
    """What a run writes: one checkpoint, all that are kept at once, the finished adapter or model, the snapshots."""

    checkpoint_gb: float
    checkpoints_gb: float
    result_gb: float
    snapshots_gb: float = 0.0

    @property
    def least_gb(self) -> float:
        """Without so much not even one checkpoint and the result can be kept."""
        return self.checkpoint_gb + self.result_gb

    @property
    def total_gb(self) -> float:
        return self.checkpoints_gb + self.result_gb + self.snapshots_gb


def disk_estimate(
    model: ModelShape, optimizer: Optimizer, model_bytes: int | None = None, snapshots: int = 0
) -> DiskEstimate:
    """The forecast of the disk; `model_bytes` is the result's size where that is no adapter but a whole model.

    A checkpoint holds an adapter twice: as training goes on with it, and as chat applies it. The latter stays of so
    many `snapshots`; a whole model leaves none.
    """
    weights_bytes = FP32_BYTES * model.trainable_parameters
    held = weights_bytes if model_bytes is not None else 2 * weights_bytes
    checkpoint_gb = (held + STATE_BYTES[optimizer] * model.trainable_parameters) / GB
    result_gb = (weights_bytes if model_bytes is None else model_bytes) / GB
    snapshots_gb = snapshots * weights_bytes / GB if model_bytes is None else 0.0
    return DiskEstimate(checkpoint_gb, KEPT_CHECKPOINTS * checkpoint_gb, result_gb, snapshots_gb)
