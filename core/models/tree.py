"""A module tree as decoding sees it: what its forward takes, how it remembers, which of its layers bear adapters.

Owns looking at a tree once instead of at every step, and choosing the adapter of each row for one forward.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from core.models import row_memory
from core.models.prefix import Prefix, cache_name

BASE = "__base__"  # peft's name for "no adapter" in a mixed batch


@dataclass(frozen=True, eq=False)
class Tree:
    """`bare` is the model without peft's wrapper, `adapted` its layers that carry adapters of LoRA type.

    `accepts` is what its forward takes, `cache_name` what that calls its memory. `joins`: rows may join others that are
    under way, and begin with what was read before; not where what is remembered depends on the longest row.
    """

    bare: Any
    adapted: tuple[Any, ...]
    accepts: frozenset[str]
    cache_name: str
    joins: bool

    @classmethod
    def of(cls, model: Any) -> Tree:
        """Look at a bare model, or at a `PeftModel` of LoRA type, whose rows may use different adapters."""
        bare = model.get_base_model() if hasattr(model, "get_base_model") else model
        name = cache_name(bare)
        assert name, "the loader refuses models without a cache"
        accepts = frozenset(inspect.signature(bare.forward).parameters)
        adapted = () if bare is model else _adapted_layers(bare)
        joins = row_memory.remembers_plainly(bare) and not _stretches(bare)
        return cls(bare, adapted, accepts, name, joins)

    @property
    def device(self) -> torch.device:
        return next(self.bare.parameters()).device

    def room(self, prefix: Prefix | None) -> int | None:
        """How many tokens prompt and answer may have together; None where the model names no limit."""
        limit = getattr(self.bare.config.get_text_config(), "max_position_embeddings", None)
        return int(limit) - (prefix.tokens if prefix else 0) if limit else None

    @contextmanager
    def with_adapters(self, of_rows: Sequence[str | None]) -> Iterator[None]:
        """Within it, row i goes through adapter `of_rows[i]`, None for the base.

        What peft's own `adapter_names=` does, without its two searches of the whole tree at each call.
        """
        names = [name or BASE for name in of_rows]

        def give_names(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return args, {**kwargs, "adapter_names": names}

        handles = [layer.register_forward_pre_hook(give_names, with_kwargs=True) for layer in self.adapted]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _stretches(bare: Any) -> bool:
    """Whether rotary positions are other ones for all rows as soon as the longest is long (`longrope`, `dynamic`)."""
    rope = getattr(bare.config.get_text_config(), "rope_parameters", None) or {}
    kinds = [each.get("rope_type", "") for each in (rope, *rope.values()) if isinstance(each, dict)]
    return any(kind == "longrope" or "dynamic" in kind for kind in kinds)


def _adapted_layers(bare: Any) -> tuple[Any, ...]:
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    return tuple(each for each in bare.modules() if isinstance(each, (BaseTunerLayer, AuxiliaryTrainingWrapper)))
