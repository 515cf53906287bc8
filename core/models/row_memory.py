"""What a model remembers of the text of rows (keys and values, layer by layer): put together, taken apart, cut.

Owns the arithmetic on caches that lets rows join and leave a batch and begin with what was read before. It is for
models whose every layer remembers the whole text in order (`remembers_plainly`); a sliding window or a running state
can be neither padded nor cut. A memory is a cache of `transformers`, its tensors (rows, heads, slots, size of a head);
none is changed here, new ones are made, which may share storage with the old.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from core.models.prefix import CACHES, cache_name

Change = Callable[[torch.Tensor], torch.Tensor]


def remembers_plainly(model: Any) -> bool:
    """Whether every layer of a bare model remembers the whole text, in order."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    if cache_name(model) != CACHES[0]:
        return False
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)


def slots(memory: Any) -> int:
    """How many tokens, padding included, each row of a memory has."""
    return int(memory.get_seq_length())


def joined(memories: Sequence[Any]) -> Any:
    """One memory with the rows of all, in their order; shorter ones are padded on the left with zeros."""
    if len(memories) == 1:
        return memories[0]
    longest = max(map(slots, memories))
    parts = [iter(memory.layers) for memory in memories]

    def padded(tensor: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(tensor, (0, 0, longest - tensor.shape[-2], 0))

    layers = []
    for each in zip(*parts, strict=True):
        filled = [layer for layer in each if layer.is_initialized]  # layers that use another's memory have none
        keys = [padded(layer.keys) for layer in filled]
        values = [padded(layer.values) for layer in filled]
        layers.append(_layer(torch.cat(keys), torch.cat(values)) if filled else _layer(None, None))
    return _cache(layers)


def of_row(memory: Any, row: int, kept: torch.Tensor | None) -> Any:
    """The memory of one row alone, with storage of its own; `kept` are the slots that are no padding, None for all."""
    rows = next(layer.keys.shape[0] for layer in memory.layers if layer.is_initialized)
    if rows == 1 and kept is None:
        return _changed(memory, lambda tensor: tensor)

    def alone(tensor: torch.Tensor) -> torch.Tensor:
        one = tensor[row : row + 1]
        return one.clone() if kept is None else one.index_select(-2, kept)

    return _changed(memory, alone)


def beginning(memory: Any, length: int) -> Any:
    """The first slots of a memory."""
    return _changed(memory, lambda tensor: tensor[..., :length, :])


def without_beginning(memory: Any, length: int) -> Any:
    """A memory without its first slots."""
    return _changed(memory, lambda tensor: tensor[..., length:, :])


def size_bytes(memory: Any) -> int:
    """What the keys and values of a memory take."""
    filled = [layer for layer in memory.layers if layer.is_initialized]
    return sum(tensor.numel() * tensor.element_size() for layer in filled for tensor in (layer.keys, layer.values))


def _changed(memory: Any, change: Change) -> Any:
    return _cache(
        [
            _layer(change(layer.keys), change(layer.values)) if layer.is_initialized else _layer(None, None)
            for layer in memory.layers
        ]
    )


def _layer(keys: torch.Tensor | None, values: torch.Tensor | None) -> Any:
    from transformers.cache_utils import DynamicLayer

    layer = DynamicLayer()
    if keys is not None and values is not None:
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
    return layer


def _cache(layers: list[Any]) -> Any:
    from transformers import DynamicCache

    cache = DynamicCache()
    cache.layers = layers
    return cache
