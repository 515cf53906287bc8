"""How many numbers a method trains on a model, worked out from the sizes of its layers: nothing is built.

Owns that arithmetic, one formula a method; a test holds each against what is really trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.adapters.method_facts import METHODS
from core.adapters.methods import (
    PTUNING_WIDTH,
    adalora_start,
    adapted_shapes,
    feedforward_names,
    linear_shapes,
    norm_names,
    oft_block,
    trained_names,
)
from core.settings import Method, MethodSettings

Size = Callable[[MethodSettings, Any], int]


@dataclass(frozen=True)
class MethodSize:
    """How much a method trains of a model: numbers `trained` and in `total`; `copied_bytes` of weights it rewrites."""

    trained: int
    total: int
    copied_bytes: int = 0


def method_size(settings: MethodSettings, model: Any) -> MethodSize:
    """The size of these settings on this model."""
    facts = METHODS[settings.method]
    trained = trainable_parameters(settings, model)
    copied = 4 * trained if facts.trains_base else 0
    if facts.rewrites_base:
        bytes_each = next(model.parameters()).element_size()
        copied = bytes_each * sum(outputs * inputs for outputs, inputs in adapted_shapes(settings, model).values())
    return MethodSize(trained, all_parameters(model), copied)


def trainable_parameters(settings: MethodSettings, model: Any) -> int:
    """How many numbers these settings train on this model, which is in any precision; unknown modules count nothing."""
    return _SIZES[settings.method](settings, model)


def all_parameters(model: Any) -> int:
    """How many numbers the model has; a layer of few bits counts what it stands for."""
    packed = {
        f"{path}.weight": outputs * inputs for path, (outputs, inputs) in linear_shapes(model, with_head=True).items()
    }
    return sum(packed.get(name, parameter.numel()) for name, parameter in model.named_parameters())


def _of_layers(count: Callable[[MethodSettings, int, int], int]) -> Size:
    """The sum over the adapted layers of a count from their outputs and inputs."""
    return lambda settings, model: sum(
        count(settings, outputs, inputs) for outputs, inputs in adapted_shapes(settings, model).values()
    )


def _lora(settings: MethodSettings, outputs: int, inputs: int) -> int:
    return settings.rank * (outputs + inputs) + settings.lora_bias * outputs


def _plain_lora(settings: MethodSettings, outputs: int, inputs: int) -> int:
    return settings.rank * (outputs + inputs)


def _dora(settings: MethodSettings, outputs: int, inputs: int) -> int:
    return settings.rank * (outputs + inputs) + outputs


def _adalora(settings: MethodSettings, outputs: int, inputs: int) -> int:
    return adalora_start(settings.rank) * (outputs + inputs + 1)


def _loha(settings: MethodSettings, outputs: int, inputs: int) -> int:
    return 2 * settings.rank * (outputs + inputs)


def _lokr(settings: MethodSettings, outputs: int, inputs: int) -> int:
    """Each side is split into two factors; of the two smaller matrices, the larger one is low-rank where that saves."""
    from peft.tuners.lokr.layer import factorization

    (rows, blocks), (columns, widths) = (map(int, factorization(side)) for side in (outputs, inputs))
    if settings.rank < max(blocks, widths) / 2:
        return rows * columns + settings.rank * (blocks + widths)
    return rows * columns + blocks * widths


def _ia3(settings: MethodSettings, model: Any) -> int:
    feedforward = tuple(f".{name}" for name in feedforward_names(settings, model))
    return sum(
        inputs if path.endswith(feedforward) else outputs
        for path, (outputs, inputs) in adapted_shapes(settings, model).items()
    )


def _oft(settings: MethodSettings, model: Any) -> int:
    """A rotation of a block of n numbers has n · (n − 1) / 2 free ones."""
    shapes = adapted_shapes(settings, model)
    block = oft_block(shapes)
    return sum(inputs // block * (block * (block - 1) // 2) for _, inputs in shapes.values())


def _layernorm(settings: MethodSettings, model: Any) -> int:
    names = tuple(f".{name}" for name in norm_names(model))
    sizes = ((f".{path.rpartition('.')[0]}", parameter.numel()) for path, parameter in model.named_parameters())
    return sum(size for path, size in sizes if path.endswith(names))


def _trained(settings: MethodSettings, model: Any) -> int:
    names = set(trained_names(settings, model))
    return sum(parameter.numel() for name, parameter in model.named_parameters() if name in names)


def _prompt(settings: MethodSettings, model: Any) -> int:
    return settings.virtual_tokens * int(model.config.get_text_config().hidden_size)


def _prefix(settings: MethodSettings, model: Any) -> int:
    from core.models.prefix import past_shape

    layers, heads, head_dim = past_shape(model)
    return settings.virtual_tokens * layers * 2 * heads * head_dim


def _ptuning(settings: MethodSettings, model: Any) -> int:
    """Virtual tokens and the three layers that read them."""
    width, hidden = PTUNING_WIDTH, int(model.config.get_text_config().hidden_size)
    return _prompt(settings, model) + (hidden + 1) * width + (width + 1) * width + (width + 1) * hidden


_SIZES: dict[Method, Size] = {
    **dict.fromkeys(("lora", "rslora", "loraplus"), _of_layers(_lora)),
    **dict.fromkeys(("pissa", "olora"), _of_layers(_plain_lora)),
    "dora": _of_layers(_dora),
    "adalora": _of_layers(_adalora),
    "loha": _of_layers(_loha),
    "lokr": _of_layers(_lokr),
    "ia3": _ia3,
    "oft": _oft,
    "layernorm": _layernorm,
    **dict.fromkeys(("bitfit", "freeze", "full"), _trained),
    "prompt": _prompt,
    "prefix": _prefix,
    "ptuning": _ptuning,
}
