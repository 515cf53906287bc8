"""Noise on embeddings while training (NEFTune, https://arxiv.org/abs/2310.05914).

Owns when it is on: within a context, in train mode only, so that evaluation and sample answers see none. It is drawn
from the process-wide generator, as dropout is, so a checkpoint's generator state covers it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def noisy_embeddings(model: Any, alpha: float) -> Iterator[None]:
    """Within it, every embedding (B, T, hidden) gets uniform noise of at most alpha / √(T · hidden); none where 0."""
    if not alpha:
        yield
        return

    def add(module: Any, args: tuple[Any, ...], embedded: torch.Tensor) -> torch.Tensor:
        if not module.training:
            return embedded
        most = alpha / (embedded.size(1) * embedded.size(2)) ** 0.5
        return embedded + torch.zeros_like(embedded).uniform_(-most, most)

    handle = model.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
