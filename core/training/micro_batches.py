"""What the training loop goes through: rows, or blocks that rows are packed into, in the order of an epoch.

Owns that choice and how a micro-batch becomes tensors; padding, packing and the order are `core.data.batching`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Sampler

from core.data.batching import epoch_order, pack_rows, packed_batch, pad_batch
from core.data.rendering import Rendered
from core.settings import TrainingSettings
from core.training.plan import Plan


@dataclass(frozen=True)
class MicroBatches:
    """`data` are rows, or packed blocks of rows; a micro-batch is the next `size` of them that the sampler names."""

    data: list[Any]
    size: int
    sampler: EpochSampler
    pad_id: int
    packed: bool

    @classmethod
    def of(cls, rows: list[Rendered], plan: Plan, asked: TrainingSettings, pad_id: int) -> MicroBatches:
        """Those of a run; packed where its plan counts blocks, and then as many as it counts."""
        lengths = [len(row.input_ids) for row in rows]
        if not plan.blocks:
            sampler = EpochSampler(lengths, plan.micro_batch_size, asked.seed, asked.group_by_length)
            return cls(rows, plan.micro_batch_size, sampler, pad_id, packed=False)
        blocks = [[rows[index] for index in block] for block in pack_rows(lengths, plan.max_length, asked.seed)]
        assert len(blocks) == plan.blocks, "a plan counts the blocks that are trained on"
        return cls(blocks, 1, EpochSampler([0] * len(blocks), 1, asked.seed, grouped=False), pad_id, packed=True)

    def collate(self, batch: list[Any]) -> dict[str, torch.Tensor]:
        """The tensors of a micro-batch, and `lines` (R,): where each of its rows stands in the data."""
        rows = [row for block in batch for row in block] if self.packed else batch
        tensors = packed_batch(rows) if self.packed else pad_batch(rows, self.pad_id)
        return {**tensors, "lines": torch.tensor([row.line for row in rows])}


class EpochSampler(Sampler[int]):
    """Numbers of rows or blocks in the order of the epoch that `set_epoch` named."""

    def __init__(self, lengths: list[int], batch_rows: int, seed: int, grouped: bool) -> None:
        self._lengths, self._batch_rows, self._seed, self._grouped = lengths, batch_rows, seed, grouped
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(epoch_order(self._lengths, self._batch_rows, self._seed, self._epoch, self._grouped))
