"""Rendered rows become batches: padding or packing, and the order in which an epoch goes through them.

The order depends on the lengths, the seed and the epoch alone, never on a global generator, so that a resumed run sees
what an uninterrupted one would have seen. Packed blocks are the same in every epoch; their order is not. Ids and labels
come from `rendering.py`; the loop is the trainer's.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.data.rendering import NOT_TRAINED, Rendered

if TYPE_CHECKING:
    from torch import Tensor

SORTED_BATCHES = 50  # rows are sorted by length within this many batches: little padding
JITTER = 0.1  # a length seems that much longer or shorter, so that each epoch has other rows side by side
LONGEST_PACK = 4096  # tokens; attention over packed rows builds a mask of that many by that many
OPEN_BLOCKS = 2000  # blocks with room that are looked through for each row


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


def pack_rows(lengths: Sequence[int], max_length: int, seed: int) -> list[list[int]]:
    """Row indices put together into blocks of at most `max_length` tokens, each row whole and in one block.

    The longest rows first, each into the block with the least room that holds it; rows of one length in random order. A
    block has at most `LONGEST_PACK` tokens, unless a single row has more.
    """
    order = sorted(_shuffled(len(lengths), f"{seed}/blocks"), key=lambda index: -lengths[index])
    limit = max(min(max_length, LONGEST_PACK), max(lengths, default=0))
    blocks: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens free, number of the block), ascending
    for index in order:
        at = bisect_left(room, (lengths[index], 0))
        if at == len(room):
            blocks.append([])
            free, number = limit, len(blocks) - 1
        else:
            free, number = room.pop(at)
        blocks[number].append(index)
        insort(room, (free - lengths[index], number))
        if len(room) > OPEN_BLOCKS:
            room.pop(0)
    return blocks


def packed_batch(rows: Sequence[Rendered]) -> dict[str, Tensor]:
    """`input_ids`, `labels` and `position_ids` (1, T): rows one after the other, the positions of each from 0.

    There is no attention mask: positions that start anew are what keeps a row from seeing others, with the cache off
    (https://huggingface.co/docs/transformers/main_classes/data_collator, `DataCollatorWithFlattening`). A row's first
    token is predicted from nothing, so it is not trained, as in a batch of its own.
    """
    import torch

    return {
        "input_ids": torch.tensor([[token for row in rows for token in row.input_ids]]),
        "labels": torch.tensor([[label for row in rows for label in (NOT_TRAINED, *row.labels[1:])]]),
        "position_ids": torch.tensor([[at for row in rows for at in range(len(row.input_ids))]]),
    }


def epoch_order(lengths: Sequence[int], batch_rows: int, seed: int, epoch: int, grouped: bool = True) -> list[int]:
    """Row indices in the order of an epoch: each run of `batch_rows` is a batch.

    If `grouped`, rows of similar length share a batch; batches come in random order, and the last may be short.
    """
    generator = random.Random(f"{seed}/{epoch}")  # noqa: S311 - an order, not a secret
    order = list(range(len(lengths)))
    generator.shuffle(order)
    if not grouped:
        return order
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


def _shuffled(count: int, seed: str) -> list[int]:
    order = list(range(count))
    random.Random(seed).shuffle(order)  # noqa: S311 - an order, not a secret
    return order
