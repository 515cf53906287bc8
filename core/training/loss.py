"""The loss: cross-entropy over trained tokens only, and logits at no other position.

Owns which positions predict a trained token and their summed loss. A batch's `labels` are those that
`core.data.rendering` made: −100 is not trained; the label of position t is the token at t, predicted from t − 1.

The vocabulary is the widest layer of a small model, and most positions of a row are its question. So the hidden states
are picked before the output layer, by a hook on that layer of the twin: (B, T, hidden) → (1, N, hidden), N trained
positions. What a model does to its logits afterwards (scaling, soft-capping) is element-wise and stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import cross_entropy

NOT_TRAINED = -100
MODEL_INPUTS = ("input_ids", "attention_mask", "position_ids")


def trained_targets(labels: torch.Tensor) -> torch.Tensor:
    """(B, T − 1) bool: position t predicts a token that is trained."""
    return labels[:, 1:] != NOT_TRAINED


def count_trained(labels: torch.Tensor) -> int:
    """How many tokens of a batch are learned; the divisor of a token mean."""
    return int(trained_targets(labels).sum())


def summed_loss(model: Any, batch: dict[str, torch.Tensor], head: Any, smoothing: float = 0.0) -> torch.Tensor:
    """The sum of the trained tokens' cross-entropies, a scalar in fp32; divide by their number for the mean.

    `head` is the model's `output_layer`; with None all logits are computed. `smoothing` is the share of certainty that
    a target gives to all tokens of the vocabulary alike (https://arxiv.org/abs/1512.00567).
    """
    logits, targets = predictions(model, batch, head)
    return cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)


def summed_loss_and_hits(model: Any, batch: dict[str, torch.Tensor], head: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """`summed_loss` without smoothing, and how many trained tokens are those the model itself would choose."""
    logits, targets = predictions(model, batch, head)
    return cross_entropy(logits, targets, reduction="sum"), (logits.argmax(-1) == targets).sum()


def predictions(
    model: Any, batch: dict[str, torch.Tensor], head: Any, memory: Mapping[str, Any] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits in fp32 (N, vocabulary) and targets (N,) of the N trained tokens, row by row.

    `memory` is what a bare tree is told beside the batch where virtual tokens stand before each row.
    """
    chosen = trained_targets(batch["labels"])
    targets = batch["labels"][:, 1:][chosen]
    inputs: dict[str, Any] = {name: batch[name] for name in MODEL_INPUTS if name in batch} | dict(memory or {})
    if "position_ids" in batch:
        inputs["use_cache"] = False  # with a cache, a model takes packed rows for one
    if head is None:
        logits = model(**inputs).logits[:, _predicting(chosen)][chosen]
    else:
        with only_positions(head, chosen):
            logits = model(**inputs).logits.squeeze(0)
    assert len(logits) == len(targets), "one row of logits for each trained token"
    return logits.float(), targets


def output_layer(model: Any) -> Any:
    """The layer that turns hidden states into logits, or None where a model has none of its own."""
    return model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None


@contextmanager
def only_positions(head: Any, chosen: torch.Tensor) -> Iterator[None]:
    """Within it, the output layer sees only the chosen positions: `chosen` (B, T − 1) → (1, N, hidden)."""

    def pick(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][:, _predicting(chosen)][chosen].unsqueeze(0), *args[1:])

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


def _predicting(chosen: torch.Tensor) -> slice:
    """Which hidden states `chosen` (B, T − 1) is about: virtual tokens may stand before the T of a row."""
    return slice(-chosen.size(1) - 1, -1)
