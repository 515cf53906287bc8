"""The loss of rows under a model as it stands: what each trained token of each row costs, and nothing changed by it.

Owns cutting rows into pieces that fit the context, batching them, and summing. Ids and labels come from
`core.data.rendering`, as in training; logits are taken where training takes them (`core.training.loss`); the tree that
carries an adapter is one of chat's (`core.chat.serving`), so every adapter that chat serves can be measured.

A conversation over the context is cut at its end. A document is read in windows that move on by the stride: each of its
tokens but the first is scored once, in the first window that has it, with at least `window − stride` tokens before it
(https://huggingface.co/docs/transformers/perplexity). Windows that "do not overlap" share one token, from which the
next is predicted; else the first token of each would be scored by nobody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from core.chat.serving import ServingTrees
from core.data.batching import pad_batch
from core.data.conversation import Example
from core.data.options import DataOptions
from core.data.rendering import NOT_TRAINED, Rendered, renderer
from core.errors import Problem, WorkbenchError
from core.evaluation.spec import WINDOW_TOKENS
from core.jobs import Cancelled
from core.models.loader import LoadedModel
from core.models.prefix import Prefix, cache_name
from core.training.loss import output_layer, predictions

BATCH_TOKENS = 2048  # padded tokens of a forward
LARGEST_EXPONENT = 700.0  # of e, that a double holds
BATCH_LOGITS = 64_000_000  # numbers: 256 MB in fp32


@dataclass(frozen=True)
class Column:
    """A model to measure: a bare tree, perhaps with an adapter in it or virtual tokens before it."""

    tree: Any
    prefix: Prefix | None = None

    @property
    def virtual_tokens(self) -> int:
        return self.prefix.tokens if self.prefix else 0

    @classmethod
    def of(cls, loaded: LoadedModel, name: str, folder: Path | None) -> Column:
        """The base model, or with a folder it under that adapter, in a twin of its own.

        Raises:
            WorkbenchError: as `ServingTrees.apply`.
        """
        trees = ServingTrees(loaded)
        applied = trees.apply(name, folder) if folder else None
        (route,) = trees.routes([applied])
        # In a tree with a single adapter that one is active: no row has to name it.
        return cls(route.tree.get_base_model() if applied and applied.shares_batch else route.tree, route.prefix)


@dataclass(frozen=True)
class MeasuredRow:
    """An example in the pieces that are read one by one; `cut` says that its end was left out.

    `window_tokens` is the length of the windows that a document is read in; None for a conversation.
    """

    pieces: tuple[Rendered, ...]
    cut: bool = False
    window_tokens: int | None = None

    @property
    def tokens(self) -> int:
        """Tokens that are scored."""
        return sum(piece.trained_tokens for piece in self.pieces)


@dataclass(frozen=True)
class SummedLoss:
    """The summed cross-entropy (nats) of so many tokens, and how many of them the model itself would have chosen."""

    total: float = 0.0
    tokens: int = 0
    hits: int = 0

    def __add__(self, other: SummedLoss) -> SummedLoss:
        return SummedLoss(self.total + other.total, self.tokens + other.tokens, self.hits + other.hits)

    @property
    def mean(self) -> float | None:
        """None where there are no tokens, or where the model gives no number."""
        mean = self.total / self.tokens if self.tokens else math.nan
        return mean if math.isfinite(mean) else None


def measured_rows(
    tokenizer: Any,
    examples: Sequence[Example],
    options: DataOptions,
    limit: int,
    window: int | None = None,
    stride: int | None = None,
) -> list[MeasuredRow]:
    """Each example as it is measured; `limit` is the model's context.

    Documents are read in windows of `window` tokens (None: as `EvaluationSpec` says) that move on by `stride`. A row
    that the template refuses has no pieces where bad rows are skipped.

    Raises:
        WorkbenchError: D27, D28 for all rows that cannot be rendered, unless bad rows are skipped.
    """
    render = renderer(tokenizer, options)
    length = min(window or WINDOW_TOKENS, limit)
    rows: list[MeasuredRow] = []
    problems: list[Problem] = []
    for example in examples:
        rendered: list[Rendered] = []
        try:
            rendered = render(example)
        except WorkbenchError as error:
            problems += error.problems
        rows.append(_document(rendered, length, stride) if example.kind == "text" else _conversation(rendered, limit))
    if problems and not options.skip_bad_rows:
        raise WorkbenchError(problems)
    return rows


def row_losses(
    column: Column,
    rows: Sequence[MeasuredRow],
    pad_id: int,
    report: Callable[[int], None] = lambda tokens: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[SummedLoss]:
    """The loss of each row; `report` is told after each batch how many tokens it read.

    Raises:
        Cancelled: where `cancelled` says so, which is asked before each layer of the model.
    """
    pieces = [(number, piece) for number, row in enumerate(rows) for piece in row.pieces if piece.trained_tokens]
    found = [SummedLoss() for _ in rows]
    head = output_layer(column.tree)
    with _asking(column.tree, cancelled), torch.no_grad():
        for batch in _batches(pieces, _vocabulary(column.tree)):
            sums = _piece_losses(column, [piece for _, piece in batch], pad_id, head)
            for (number, _), summed in zip(batch, sums, strict=True):
                found[number] += summed
            report(sum(len(piece.input_ids) for _, piece in batch))
    return found


def perplexity(loss: float) -> float:
    """e to the power of a token-mean loss."""
    return math.exp(min(loss, LARGEST_EXPONENT))


def _conversation(rendered: Sequence[Rendered], limit: int) -> MeasuredRow:
    whole = [row if len(row.input_ids) <= limit else _part(row, 0, limit) for row in rendered]
    return MeasuredRow(tuple(whole), any(len(row.input_ids) > limit for row in rendered))


def _document(rendered: Sequence[Rendered], window: int, stride: int | None) -> MeasuredRow:
    pieces = tuple(piece for row in rendered for piece in _windows(row, window, stride))
    return MeasuredRow(pieces, window_tokens=window)


def _windows(row: Rendered, window: int, stride: int | None) -> Iterator[Rendered]:
    step = max(1, min(stride or window, window - 1))
    scored = 1  # the first token is predicted from nothing
    for begin in range(0, len(row.input_ids), step):
        piece = _part(row, begin, begin + window)
        labels = [NOT_TRAINED] * (scored - begin) + piece.labels[scored - begin :]
        yield replace(piece, labels=labels)
        scored = begin + len(piece.input_ids)
        if scored == len(row.input_ids):
            return


def _part(row: Rendered, begin: int, end: int) -> Rendered:
    return replace(row, input_ids=row.input_ids[begin:end], labels=row.labels[begin:end])


def _batches(pieces: Sequence[tuple[int, Rendered]], vocabulary: int) -> Iterator[list[tuple[int, Rendered]]]:
    """Pieces of similar length together, the longest first, within the bounds of a forward; one at least."""
    batch: list[tuple[int, Rendered]] = []
    scored = 0
    for number, piece in sorted(pieces, key=lambda each: -len(each[1].input_ids)):
        width = len(batch[0][1].input_ids) if batch else 0
        more = scored + piece.trained_tokens
        if batch and (width * (len(batch) + 1) > BATCH_TOKENS or more * vocabulary > BATCH_LOGITS):
            yield batch
            batch, more = [], piece.trained_tokens
        batch.append((number, piece))
        scored = more
    if batch:
        yield batch


def _piece_losses(column: Column, pieces: Sequence[Rendered], pad_id: int, head: Any) -> list[SummedLoss]:
    device = next(column.tree.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in pad_batch(pieces, pad_id).items()}
    memory: dict[str, Any] = {"use_cache": False}
    name = cache_name(column.tree)
    if column.prefix and name:
        memory = {"use_cache": True, name: column.prefix.memory(len(pieces))}
        if "attention_mask" in batch:
            before = batch["attention_mask"].new_ones(len(pieces), column.prefix.tokens)
            batch["attention_mask"] = torch.cat([before, batch["attention_mask"]], dim=1)
    logits, targets = predictions(column.tree, batch, head, memory)
    losses = cross_entropy(logits, targets, reduction="none").double().cpu()
    hits = (logits.argmax(-1) == targets).cpu()
    counts = (batch["labels"][:, 1:] != NOT_TRAINED).sum(1).tolist()
    parts = zip(losses.split(counts), hits.split(counts), strict=True)
    return [SummedLoss(float(loss.sum()), len(loss), int(hit.sum())) for loss, hit in parts]


def _vocabulary(tree: Any) -> int:
    return int(tree.config.get_text_config().vocab_size)


@contextmanager
def _asking(tree: Any, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Within it, the tree asks before each of its layers whether to go on: a forward of a large model is long."""

    def ask(module: Any, args: Any) -> None:
        if cancelled():
            raise Cancelled

    stacks = [module for module in tree.modules() if isinstance(module, torch.nn.ModuleList)]
    handles = [layer.register_forward_pre_hook(ask) for stack in stacks for layer in stack]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
