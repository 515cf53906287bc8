"""How much memory a run will take beside the loaded model, from a few numbers of the model and the batch.

Owns the formula, nothing else: `plan` uses it to choose the micro-batch. The base weights are shared with chat and are
loaded already, so they are not counted. A forecast, not a promise: measured peaks are named beside the constants.

    adapter        rank · (inputs + outputs) of every adapted layer, in fp32
    gradients      as many bytes again
    optimizer      Adam keeps two numbers a weight: twice as many
    activations    what the backward pass needs of every token and layer (or of every layer's input and one whole layer
                   where activations are checkpointed)
    logits         one row of the vocabulary for every *trained* token, in the model's format and in fp32
"""

from __future__ import annotations

from dataclasses import dataclass

GB = 1e9
FP32_BYTES = 4
# Floats a layer keeps of a token, in units of the hidden size: inputs and outputs of norms, attention and the gated
# feed-forward; and the fp32 copies that fp32 adapters on a 16-bit base read. Measured on the starter with all linear
# layers adapted: 65 bytes in bf16, 70 in fp32.
ACTIVATION_FLOATS = 18
ADAPTER_COPY_FLOATS = 8
LOGIT_COPIES_FP32 = 3  # fp32 logits, their softmax, their gradient


@dataclass(frozen=True)
class ModelShape:
    """What the forecast needs to know about a base model and the adapter on it."""

    hidden_size: int
    layers: int
    vocab_size: int
    max_length: int | None
    trainable_parameters: int


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


@dataclass(frozen=True)
class MemoryEstimate:
    adapter_gb: float
    gradients_gb: float
    optimizer_gb: float
    activations_gb: float
    logits_gb: float

    @property
    def total_gb(self) -> float:
        return self.adapter_gb + self.gradients_gb + self.optimizer_gb + self.activations_gb + self.logits_gb


def estimate(model: ModelShape, batch: MicroBatch, machine: Machine, checkpointing: bool = False) -> MemoryEstimate:
    """The forecast for training with this micro-batch."""
    adapter_bytes = FP32_BYTES * model.trainable_parameters
    copies = ADAPTER_COPY_FLOATS * FP32_BYTES if machine.compute_bytes < FP32_BYTES else 0
    token_layer_bytes = model.hidden_size * (ACTIVATION_FLOATS * machine.compute_bytes + copies)
    whole_layers = 1 if checkpointing else model.layers
    inputs_bytes = model.layers * model.hidden_size * machine.compute_bytes if checkpointing else 0
    tokens = batch.rows * batch.length
    logit_bytes = batch.trained_tokens * model.vocab_size * (machine.compute_bytes + LOGIT_COPIES_FP32 * FP32_BYTES)
    return MemoryEstimate(
        adapter_gb=adapter_bytes / GB,
        gradients_gb=adapter_bytes / GB,
        optimizer_gb=2 * adapter_bytes / GB,
        activations_gb=tokens * (whole_layers * token_layer_bytes + inputs_bytes) / GB,
        logits_gb=logit_bytes / GB,
    )
