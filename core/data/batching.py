"""Rendered rows become batches: padding, and the order in which an epoch goes through them.

The order depends on the lengths, the seed and the epoch alone, never on a global generator, so that a resumed run sees
what an uninterrupted one would have seen. Ids and labels come from `rendering.py`; the loop is the trainer's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.data.rendering import NOT_TRAINED, Rendered

if TYPE_CHECKING:
    from torch import Tensor

SORTED_BATCHES = 50  # rows are sorted by length within this many batches: little padding
JITTER = 0.1  # a length seems that much longer or shorter, so that each epoch has other rows side by side


def pad_batch(rows: Sequence[Rendered], pad_id: int) -> dict[str, Tensor]:
    """`input_ids` and `labels` (B, T), padded on the right; `attention_mask` (B, T) only where something was padded.

    Labels come from the rows, never from comparing ids with `pad_id`: a pad token that is also the EOS stays trained.
    """
    import torch

    width = max(len(row.input_ids) for row in rows)
    missing = [width - len(row.input_ids) for row in rows]
    batch = {
        "input_ids": torch.tensor([row.input_ids + [pad_id] * gap for row, gap in zip(rows, missing, strict=True)]),
        "labels": torch.tensor([row.labels + [NOT_TRAINED] * gap for row, gap in zip(rows, missing, strict=True)]),
    }
    if any(missing):
        batch["attention_mask"] = torch.tensor([[1] * (width - gap) + [0] * gap for gap in missing])
    return batch


def epoch_order(lengths: Sequence[int], batch_rows: int, seed: int, epoch: int) -> list[int]:
    """Row indices in the order of an epoch: each run of `batch_rows` is a batch of rows of similar length.

    Batches come in random order; the last one is the one that may be short.
    """
    order = list(range(len(lengths)))
    generator = random.Random(f"{seed}/{epoch}")  # noqa: S311 - an order, not a secret
    generator.shuffle(order)
    seeming = [length * generator.uniform(1 - JITTER, 1 + JITTER) for length in lengths]
    span = batch_rows * SORTED_BATCHES
    batches: list[list[int]] = []
    for start in range(0, len(order), span):
        alike = sorted(order[start : start + span], key=lambda index: -seeming[index])
        batches += [alike[at : at + batch_rows] for at in range(0, len(alike), batch_rows)]
    full = [batch for batch in batches if len(batch) == batch_rows]
    short = [batch for batch in batches if len(batch) < batch_rows]
    generator.shuffle(full)
    return [index for batch in full + short for index in batch]
