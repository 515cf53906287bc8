"""Virtual tokens in front of every prompt: what prompt tuning, P-tuning and prefix tuning put before a model's input.

Owns `Prefix`, the memory (cache) that a model has of its virtual tokens, and how it is made: by reading their
embeddings once (prompt tuning, P-tuning), or from keys and values that were learned themselves (prefix tuning, which
is peft's form of deep prompts, P-tuning v2). `generation.decode` begins with it instead of an empty cache.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import torch

CACHES = ("past_key_values", "cache_params")  # what architectures call the memory of what they have read


@dataclass(frozen=True)
class Prefix:
    """`tokens` virtual tokens as a model remembers them, for one row."""

    tokens: int
    _memory: Any

    @classmethod
    def from_embeddings(cls, tree: Any, embeddings: torch.Tensor) -> Prefix:
        """Let a bare tree in eval mode read virtual tokens (n, hidden) once, without gradients."""
        assert not tree.training, "reading in train mode would draw dropout from the process-wide generator"
        words = tree.get_input_embeddings().weight
        with torch.no_grad():
            output = tree(inputs_embeds=embeddings.detach().to(words).unsqueeze(0), use_cache=True)
        return cls(len(embeddings), output[cache_name(tree)])

    @classmethod
    def from_past(cls, tree: Any, past: torch.Tensor) -> Prefix:
        """Take keys and values (n, layers · 2 · heads · head_dim), laid out as peft's prefix tuning does."""
        layers, heads, head_dim = past_shape(tree)
        memory = _empty_memory(tree)
        tensors = past.detach().to(tree.device, tree.dtype).view(-1, 2 * layers, heads, head_dim).permute(1, 2, 0, 3)
        for layer in range(layers):
            memory.update(tensors[2 * layer].unsqueeze(0), tensors[2 * layer + 1].unsqueeze(0), layer)
        return cls(len(past), memory)

    @property
    def bears_padding(self) -> bool:
        """Whether padding may lie between it and a prompt: not where it would fill a window or a running state."""
        from transformers.cache_utils import DynamicLayer

        return all(type(layer) is DynamicLayer for layer in self._memory.layers)

    def memory(self, rows: int) -> Any:
        """A cache of its own for a batch of so many rows, each of which has read the virtual tokens."""
        memory = copy.deepcopy(self._memory)
        memory.reorder_cache(torch.zeros(rows, dtype=torch.long))  # selects row 0 for all
        return memory


def cache_name(model: Any) -> str | None:
    """What the forward of a model, or of a class of them, calls its cache; None: it has none and can't be decoded."""
    accepted = inspect.signature(model.forward).parameters
    return next((name for name in CACHES if name in accepted), None)


def past_shape(model: Any) -> tuple[int, int, int]:
    """Layers, heads for keys and values, and the size of a head."""
    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return int(config.num_hidden_layers), int(getattr(config, "num_key_value_heads", None) or heads), int(head_dim)


def takes_past(model: Any) -> bool:
    """Whether learned keys and values can stand in for text that was read: every layer must remember by them alone."""
    from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

    if cache_name(model) != CACHES[0]:
        return False
    layers = _empty_memory(model).layers
    plain = (isinstance(each, DynamicLayer) and not isinstance(each, LinearAttentionCacheLayerMixin) for each in layers)
    return all(plain) and len(layers) == model.config.get_text_config().num_hidden_layers


def _empty_memory(model: Any) -> Any:
    from transformers import DynamicCache

    return DynamicCache(config=model.config)
