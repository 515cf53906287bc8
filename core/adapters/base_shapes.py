"""The base model as an adapter's files are compared with it: shapes alone.

Owns reading them off a loaded tree. Which of them an adapter must meet is the business of its type (`layouts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.adapters.methods import linear_shapes


@dataclass(frozen=True)
class BaseShapes:
    """`layers`: (out_features, in_features) of every linear layer, by module path; `parameters`: shapes of all weights
    that are plain numbers, by name. `past`: layers, heads and head size of the keys and values that a text leaves; None
    where the model remembers otherwise. `quantised` (`int8`, `nf4` or nothing) and `transposed` say how its linear
    layers are kept.
    """

    layers: Mapping[str, tuple[int, int]]
    parameters: Mapping[str, tuple[int, ...]]
    width: int
    past: tuple[int, int, int] | None
    quantised: str
    transposed: bool


def shapes_of(model: Any) -> BaseShapes:
    """The shapes of a loaded tree."""
    from transformers.pytorch_utils import Conv1D

    from core.models.prefix import past_shape, takes_past

    plain = {name: tuple(tensor.shape) for name, tensor in model.named_parameters() if tensor.is_floating_point()}
    return BaseShapes(
        layers=linear_shapes(model, with_head=True),
        parameters=plain,
        width=int(model.get_input_embeddings().weight.shape[1]),
        past=past_shape(model) if takes_past(model) else None,
        quantised=_quantised(model),
        transposed=any(isinstance(module, Conv1D) for module in model.modules()),
    )


def _quantised(model: Any) -> str:
    if not getattr(model, "is_quantized", False):
        return ""
    return "int8" if getattr(model, "is_loaded_in_8bit", False) else "nf4"
