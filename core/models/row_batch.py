"""Rows that one forward reads together: padding, masks, positions, and who leaves or joins.

Owns the tensors of a batch. Padding is on the left of what a row has read, or between that and what it reads next; the
mask hides it and positions do not count it, so that a row is read as it would be alone. What the rows are for is the
business of `generation`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.models import row_memory
from core.models.decoding_rows import Row
from core.models.prefix import Prefix
from core.models.tree import Tree


@dataclass(eq=False)
class Batch:
    """Row i of every tensor belongs to `rows[i]`.

    `memory` holds `slots` tokens of each; None before the first. `mask` (B, slots + unread): 0 where padding is; None
    if there is none. `unread` (B, T): what is left of the prompts but their last tokens. `joins` as in `Tree`.
    """

    rows: list[Row]
    memory: Any
    slots: int
    mask: torch.Tensor | None
    unread: torch.Tensor
    joins: bool

    @classmethod
    def begin(cls, tree: Tree, rows: list[Row], memories: Sequence[Any], prefix: Prefix | None, pad_id: int) -> Batch:
        """Rows that have read nothing, or, with `memories`, the first `row.read` ids of theirs, after the prefix."""
        fresh = prefix.memory(len(rows)) if prefix and not memories else None
        virtual = prefix.tokens if prefix else 0
        known = [virtual + row.read for row in rows]
        unread = [row.ids[row.read : -1] for row in rows]
        coming = [len(ids) for ids in unread]
        mask = None
        if len(set(known)) > 1 or len(set(coming)) > 1:
            flags = [
                [*_flags(had, max(known)), *_flags(more, max(coming))] for had, more in zip(known, coming, strict=True)
            ]
            mask = torch.tensor(flags, device=tree.device)
        ids = torch.tensor([[pad_id] * (max(coming) - len(each)) + each for each in unread], device=tree.device)
        memory = row_memory.joined(memories) if memories else fresh
        return cls(rows, memory, max(known), mask, ids.long(), tree.joins)

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """One batch of all, whose prompts are read."""
        longest = max(each.slots for each in batches)
        rows = [row for each in batches for row in each.rows]
        masks = [torch.nn.functional.pad(each.whole_mask, (longest - each.slots, 0)) for each in batches]
        mask = torch.cat(masks)
        memory = row_memory.joined([each.memory for each in batches])
        unread = batches[0].unread.new_empty(len(rows), 0)
        return cls(rows, memory, longest, None if mask.all() else mask, unread, joins=True)

    @property
    def is_ready(self) -> bool:
        """Whether the prompts are read but their last tokens."""
        return int(self.unread.shape[1]) == 0

    @property
    def whole_mask(self) -> torch.Tensor:
        width = self.slots + self.unread.shape[1]
        return self.unread.new_ones(len(self.rows), width) if self.mask is None else self.mask

    def read(self, tree: Tree, tokens: int) -> None:
        """Read so many more tokens of the prompts, padding included."""
        self._forward(tree, self.unread[:, :tokens], wants_logits=False)
        self.unread = self.unread[:, tokens:]
        if self.is_ready:
            for row in self.rows:
                row.read = len(row.ids) - 1

    def next(self, tree: Tree) -> torch.Tensor:
        """Read the last token of every row; logits (B, vocab) in fp32 of what follows it."""
        ids = self.unread.new_tensor([[row.ids[-1]] for row in self.rows])
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.rows), 1)], dim=1)
        logits = self._forward(tree, ids)
        for row in self.rows:
            row.read = len(row.ids)
        return logits

    def memory_of(self, i: int) -> Any:
        """What the model remembers of one row; only where the tree `joins`."""
        held = None if self.mask is None else self.mask[i, : self.slots].nonzero().flatten()
        return row_memory.of_row(self.memory, i, held)

    def leave(self, gone: Collection[int]) -> None:
        """Take rows out, by their place, also of what is remembered."""
        kept = [i for i in range(len(self.rows)) if i not in gone]
        self.rows = [self.rows[i] for i in kept]
        if not kept:
            self.memory = None
            return
        index = torch.tensor(kept, device=self.unread.device)
        self.unread = self.unread[index]
        self.mask = None if self.mask is None else self.mask[index]
        if self.memory is not None:
            self.memory.reorder_cache(index)  # selects rows in every kind of cache layer; a subset is fine
            if self.joins and self.is_ready:
                self._cut_padding()

    def _cut_padding(self) -> None:
        """Forget the slots on the left that are padding in every row that is left."""
        if self.mask is None:
            return
        spare = int(self.mask.amax(dim=0).argmax())
        if spare:
            self.memory = row_memory.without_beginning(self.memory, spare)
            self.slots -= spare
            self.mask = self.mask[:, spare:]
        if self.mask.all():
            self.mask = None

    def _forward(self, tree: Tree, ids: torch.Tensor, wants_logits: bool = True) -> torch.Tensor:
        """Logits of the last position; the memory grows by what was read."""
        length = ids.shape[1]
        inputs: dict[str, Any] = {"input_ids": ids, tree.cache_name: self.memory, "use_cache": True}
        if self.mask is not None:
            seen = inputs["attention_mask"] = self.mask[:, : self.slots + length]
            if "position_ids" in tree.accepts:
                inputs["position_ids"] = (seen.cumsum(dim=1) - 1).clamp_min(0)[:, -length:]
        if "logits_to_keep" in tree.accepts:
            # An index, not 1: a slice of the hidden states would make torch copy the whole output layer once a row.
            inputs["logits_to_keep"] = ids.new_tensor([length - 1] if wants_logits else [])
        # Not inference_mode: quantised layers keep tensors of a first forward, which training uses afterwards.
        with torch.no_grad(), tree.with_adapters([row.request.adapter for row in self.rows]):
            output = tree.bare(**inputs)
        self.memory = output[tree.cache_name]
        self.slots += length
        return output.logits[:, -1].float() if wants_logits else output.logits


def _flags(filled: int, length: int) -> list[int]:
    return [0] * (length - filled) + [1] * filled
