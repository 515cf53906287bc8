"""How many rows go through the model at once, and how many make a step: what fits in memory and learns well.

Owns that choice, with packing too, and the longest row that can be trained at all. Pure, as `plan` is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.adapters.method_facts import METHODS
from core.data.batching import pack_rows
from core.settings import TrainingSettings
from core.training.decisions import Reason, RowCounts
from core.training.estimate import Machine, MemoryEstimate, MicroBatch, ModelShape, estimate
from core.training.spec import RunSpec

MEMORY_SHARE = 0.7  # of the free memory; chat's key-value caches and the rest of the machine need some too
SHORTEST_ROW = 8
USUAL_BLOCK = 1024  # tokens of a block of documents, or of packed rows, where nobody chose


@dataclass(frozen=True)
class Batch:
    """The batch of a run and how it was found; `blocks` as in `Plan`."""

    micro: int
    accumulation: int
    checkpointing: bool
    estimate: MemoryEstimate
    reasons: tuple[Reason, ...]
    blocks: int = 0

    @classmethod
    def choose(cls, spec: RunSpec, rows: RowCounts, model: ModelShape, machine: Machine) -> Batch:
        asked = spec.training
        wanted = usual_batch_size(len(rows.train_lengths))
        packs = _packs(asked, rows)
        if packs:
            wanted = max(1, round(wanted * len(packs) / len(rows.train_lengths)))
        if asked.gradient_accumulation_steps is not None:
            wanted = max(1, wanted // asked.gradient_accumulation_steps)
        candidates = [asked.micro_batch_size] if asked.micro_batch_size is not None else halvings(wanted)
        candidates = [1] if packs else candidates
        usual = [False, True] if METHODS[spec.method.method].can_checkpoint else [False]
        switches = [asked.activation_checkpointing] if asked.activation_checkpointing is not None else usual
        room_gb = MEMORY_SHARE * machine.free_memory_gb
        micro, switch, forecast = candidates[-1], switches[-1], None
        for switch in switches:
            for micro in candidates:
                forecast = estimate(model, _largest(rows, micro, packs), machine, switch, asked.optimizer)
                if forecast.total_gb <= room_gb:
                    break
            else:
                continue
            break
        assert forecast is not None, "there is at least one candidate"
        accumulation = asked.gradient_accumulation_steps or max(1, math.ceil(wanted / micro))
        reasons = _batch_reasons(asked, micro, accumulation, (switch, forecast, machine))
        return cls(micro, accumulation, switch, forecast, reasons, len(packs))


def usual_batch_size(rows: int) -> int:
    """Rows an optimizer step learns from: 8 to 16, fewer where a pass over the rows would be less than four steps."""
    if rows >= 32:
        return 16 if rows >= 256 else 8
    return 1 << (max(1, rows // 4).bit_length() - 1)


def usual_block(lengths: Sequence[int]) -> int:
    """Tokens of a block that holds about as many rows as a step learns from, at least the longest."""
    batch = usual_batch_size(len(lengths)) * sum(lengths) / max(1, len(lengths))
    return max(min(round(batch), USUAL_BLOCK), max(lengths, default=SHORTEST_ROW))


def longest_in_memory(spec: RunSpec, model: ModelShape, machine: Machine) -> int:
    """Tokens of the longest row that can be trained alone, in steps of a power of two."""
    checkpointing = spec.training.activation_checkpointing is not False and METHODS[spec.method.method].can_checkpoint
    length = 1 << 20
    while length > SHORTEST_ROW:
        forecast = estimate(model, MicroBatch(1, length, length), machine, checkpointing, spec.training.optimizer)
        if forecast.total_gb <= MEMORY_SHARE * machine.free_memory_gb:
            break
        length //= 2
    return length


def _packs(asked: TrainingSettings, rows: RowCounts) -> list[list[int]]:
    """The training rows of each block, as the trainer packs them; none where it does not."""
    return pack_rows(rows.train_lengths, int(rows.max_length.value), asked.seed) if asked.packing else []


def halvings(size: int) -> list[int]:
    """16 → 16, 8, 4, 2, 1."""
    return [size] if size == 1 else [size, *halvings(size // 2)]


def _largest(rows: RowCounts, micro: int, packs: list[list[int]]) -> MicroBatch:
    """The heaviest micro-batch there can be: the longest rows together, as length grouping puts them, or a block."""
    if packs:
        tokens = max(sum(rows.train_lengths[index] for index in block) for block in packs)
        return MicroBatch(1, tokens, max(sum(rows.train_trained[index] for index in block) for block in packs))
    longest = sorted(zip(rows.train_lengths, rows.train_trained, strict=True), reverse=True)[:micro]
    return MicroBatch(len(longest), longest[0][0], sum(trained for _, trained in longest))


def _batch_reasons(
    asked: TrainingSettings, micro: int, accumulation: int, found: tuple[bool, MemoryEstimate, Machine]
) -> tuple[Reason, ...]:
    checkpointing, forecast, machine = found
    values = {
        "micro": micro,
        "accumulation": accumulation,
        "batch": micro * accumulation,
        "needed_gb": round(forecast.total_gb, 2),
        "free_gb": round(machine.free_memory_gb, 1),
    }
    reasons = []
    if asked.micro_batch_size is None:
        reasons.append(Reason("micro_batch_size", "training.reason.micro_batch_size", values))
    if asked.gradient_accumulation_steps is None:
        reasons.append(Reason("gradient_accumulation_steps", "training.reason.gradient_accumulation_steps", values))
    if asked.activation_checkpointing is None:
        needed = "needed" if checkpointing else "not_needed"
        reasons.append(Reason("activation_checkpointing", f"training.reason.activation_checkpointing.{needed}", values))
    return tuple(reasons)
