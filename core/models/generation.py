"""The one decode loop: rows of tokens in, one token a row and step out; rows may come and go between two steps.

Owns running a model token by token: reading prompts, left padding, positions, what the model remembers, which adapter
serves which row, rows that end. Chat and the sample answers of training both use it. It does not render prompts, turn
tokens into text, look for stop strings, or know what an adapter is called by people.

    add → the prompt but its last token is read, in bounded pieces → the row joins those under way → one forward a step
    reads the last token of every row → `Token`s → a row that ends leaves, and what was remembered of it may be kept

A row that joins is padded on the left to the others' length, with a mask and positions of its own; where a model's
memory cannot be padded (`Tree.joins`), rows stay with those that they were added with. The process-wide random
generator is never touched, and a row's answer does not depend on the rows beside it (fp32: token by token). The last
token of a prompt is always read by itself: then an answer is the same whether its prompt was remembered or read.

One decode at a time on a module tree: adapters are chosen through hooks on that tree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from core.models.decoding_rows import End, GenerationRequest, Row, Scores, Token
from core.models.prefix import Prefix
from core.models.row_batch import Batch
from core.models.tree import Tree

__all__ = ["Decoding", "GenerationRequest", "Memories", "Scores", "Token", "decode"]

READ_AT_ONCE = 512  # tokens of prompts between two steps, so that nobody waits for another's long prompt


class Memories(Protocol):
    """Keeps what a model remembers of rows; see `row_memory`. A memory may begin with virtual tokens."""

    def recall(self, key: str, ids: Sequence[int]) -> tuple[int, Any] | None:
        """The memory of the longest known beginning of a prompt, and how many of its ids that is; never of all."""

    def keep(self, key: str, ids: Sequence[int], memory: Any) -> None:
        """Remember a row that has read these ids."""


@dataclass(frozen=True)
class Failure:
    """Rows whose forward died of an error."""

    rows: tuple[int, ...]
    error: Exception


@dataclass
class Decoding:
    """Answers in the making on one module tree, or on several that share everything but adapters.

    `prefix` stands before every row and takes its share of the context. `remembered`: of each open row, how many tokens
    of its prompt were not read again. `failures` of the last step: their rows are gone, all others go on.
    """

    eos_ids: frozenset[int]
    pad_id: int
    prefix: Prefix | None = None
    memories: Memories | None = None
    remembered: dict[int, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    _batches: list[Batch] = field(default_factory=list)
    _too_long: list[int] = field(default_factory=list)
    _count: int = 0

    def __bool__(self) -> bool:
        """Whether there are open rows."""
        return bool(self._batches or self._too_long)

    def add(self, tree: Tree, requests: Sequence[GenerationRequest]) -> list[int]:
        """Take rows in, all or none; returns their numbers. The next `step` begins to answer them."""
        assert not tree.bare.training, "decoding in train mode would draw dropout from the process-wide generator"
        rows = [Row.of(self._count + i, each) for i, each in enumerate(requests)]
        self._count += len(rows)
        limit = tree.room(self.prefix)
        fitting = [row for row in rows if limit is None or len(row.ids) < limit]
        self._batches += [
            Batch.begin(tree, group, memories, self.prefix, self.pad_id)
            for group, memories in self._groups(tree, fitting)
        ]
        self._too_long += [row.number for row in rows if row not in fitting]
        return [row.number for row in rows]

    def step(self, tree: Tree, cancelled: Callable[[int], bool] = lambda row: False) -> list[Token]:
        """At most one `Token` for every open row; rows whose prompt is still being read bring none.

        A row ends when its prompt and answer fill the model's context; a prompt that fills it alone ends at once.
        """
        tokens = [Token(number, None, "context") for number in self._too_long]
        self._too_long, self.failures = [], []
        for batch in self._batches:
            tokens += self._tried(batch, lambda each: self._cancel(each, cancelled))
        for batch in self._open():
            self._tried(batch, lambda each: self._read(tree, each))
        self._join()
        for batch in self._open():
            if batch.is_ready:
                tokens += self._tried(batch, lambda each: self._next(tree, each))
        self._batches = self._open()
        for token in tokens:
            if token.finished:
                self.remembered.pop(token.row, None)
        return tokens

    def _open(self) -> list[Batch]:
        return [batch for batch in self._batches if batch.rows]

    def _tried(self, batch: Batch, work: Callable[[Batch], list[Token]]) -> list[Token]:
        """What one batch's forward brings; where it fails, the others go on."""
        try:
            return work(batch)
        except Exception as error:  # noqa: BLE001  # whoever asked for the rows gets it
            self.failures.append(Failure(tuple(row.number for row in batch.rows), error))
            batch.rows, batch.memory = [], None
            return []

    def _groups(self, tree: Tree, rows: list[Row]) -> list[tuple[list[Row], list[Any]]]:
        """Rows that one forward reads together, with what is remembered of each: nothing, or a beginning."""
        if not tree.joins and self.prefix and not self.prefix.bears_padding:
            lengths = dict.fromkeys(len(row.ids) for row in rows)
            return [([row for row in rows if len(row.ids) == length], []) for length in lengths]
        known: list[tuple[Row, Any]] = []
        if tree.joins and self.memories is not None:
            for row in rows:
                key = row.request.remembered_as
                found = None if key is None else self.memories.recall(key, row.ids)
                if found:
                    row.read, memory = found
                    self.remembered[row.number] = row.read
                    known.append((row, memory))
        fresh = [row for row in rows if not row.read]
        groups = [(fresh, []), ([row for row, _ in known], [memory for _, memory in known])]
        return [group for group in groups if group[0]]

    def _cancel(self, batch: Batch, cancelled: Callable[[int], bool]) -> list[Token]:
        """Take the cancelled rows out of a batch and say so."""
        gone = [i for i, row in enumerate(batch.rows) if cancelled(row.number)]
        tokens = [Token(batch.rows[i].number, None, "cancelled") for i in gone]
        self._leave(batch, gone)
        return tokens

    def _read(self, tree: Tree, batch: Batch) -> list[Token]:
        """Read the next piece of the prompts, or all of them where the memory cannot take them in pieces."""
        width = batch.unread.shape[1]
        if width:
            batch.read(tree, min(width, max(1, READ_AT_ONCE // len(batch.rows))) if batch.joins else width)
        return []

    def _join(self) -> None:
        """Make one batch of all whose prompts are read; where that fails, it is the newest that cannot go on."""
        ready = [batch for batch in self._open() if batch.joins and batch.is_ready and batch.memory is not None]

        def join(newest: Batch) -> list[Token]:
            self._batches = [Batch.joined(ready), *(each for each in self._batches if each not in ready)]
            return []

        if len(ready) > 1:
            self._tried(ready[-1], join)

    def _next(self, tree: Tree, batch: Batch) -> list[Token]:
        """One forward, one token for each row; rows that end leave the batch."""
        logits = batch.next(tree)
        largest = logits.argmax(dim=-1).tolist()
        limit = tree.room(self.prefix)
        tokens: list[Token] = []
        for i, row in enumerate(batch.rows):
            token_id = largest[i] if row.chooser.is_plain_argmax else row.chooser.choose(logits[i])
            tokens.append(self._token(row, token_id, limit, logits[i]))
        self._leave(batch, [i for i, token in enumerate(tokens) if token.finished])
        return tokens

    def _token(self, row: Row, token_id: int, limit: int | None, logits: torch.Tensor) -> Token:
        if token_id in self.eos_ids:
            return Token(row.number, None, "stop")
        row.ids.append(token_id)
        end: End | None = None
        if row.made >= row.request.sampling.max_new_tokens:
            end = "length"
        elif limit is not None and len(row.ids) >= limit:
            end = "context"
        wanted = row.request.logprobs
        return Token(row.number, token_id, end, None if wanted is None else _scores(logits, token_id, wanted))

    def _leave(self, batch: Batch, gone: Collection[int]) -> None:
        """Take rows out of a batch; what was read of them is kept where that is wished and can be done."""
        can_keep = self.memories is not None and batch.joins and batch.is_ready and batch.memory is not None
        for i in gone if can_keep else ():
            row = batch.rows[i]
            if self.memories is not None and row.request.remembered_as is not None:
                self.memories.keep(row.request.remembered_as, row.ids[: row.read], batch.memory_of(i))
        if gone:
            batch.leave(gone)


def decode(
    model: Any,
    eos_ids: Collection[int],
    pad_id: int,
    requests: Sequence[GenerationRequest],
    cancelled: Callable[[int], bool] = lambda row: False,
    prefix: Prefix | None = None,
) -> Iterator[list[Token]]:
    """Answer all requests together, from the first token of all to the last: the tokens of each step.

    `model` is in eval mode: a bare tree, or a `PeftModel` of LoRA type, whose rows may use different adapters.
    `cancelled(row)` is asked before each step.
    """
    tree, decoding = Tree.of(model), Decoding(frozenset(eos_ids), pad_id, prefix)
    decoding.add(tree, requests)
    while decoding:
        tokens = decoding.step(tree, cancelled)
        for failure in decoding.failures:
            raise failure.error
        yield tokens


def _scores(logits: torch.Tensor, chosen: int, wanted: int) -> Scores:
    logprobs = logits.log_softmax(dim=-1)
    top = logprobs.topk(min(wanted, len(logprobs)))
    best = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return Scores(float(logprobs[chosen]), tuple((int(token_id), float(value)) for token_id, value in best))
