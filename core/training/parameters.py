"""Small things that every learner does with its trained parameters: grouping them, copying into them, computing.

Owns which of them decay, and the autocast under which fp32 weights work in a 16-bit base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from core.models.precision import PrecisionChoice

State = dict[str, Any]
ParameterGroup = dict[str, Any]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: PrecisionChoice) -> AbstractContextManager[Any]:
    """Products in the base's 16-bit format though weights are fp32; nothing where the base computes in fp32."""
    if precision.compute == "fp32":
        return nullcontext()
    context: AbstractContextManager[Any] = torch.autocast(precision.device.partition(":")[0], DTYPES[precision.compute])
    return context


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """What has gradients, by name."""
    return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}


def shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, by its name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def groups(parameters: Mapping[str, nn.Parameter], learning_rate: float, weight_decay: float) -> list[ParameterGroup]:
    """Matrices decay; biases, norms and other vectors do not. A group without parameters is left out."""
    matrices = [tensor for tensor in parameters.values() if tensor.ndim > 1]
    vectors = [tensor for tensor in parameters.values() if tensor.ndim < 2]
    split = ((matrices, weight_decay), (vectors, 0.0))
    return [{"params": list_, "lr": learning_rate, "weight_decay": decay} for list_, decay in split if list_]


def copy_into(parameters: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    """Give parameters other values in place.

    Raises:
        ValueError: the names or shapes are not the same.
    """
    if shapes(parameters) != shapes(values):
        raise ValueError("other parameters than are trained here")
    with torch.no_grad():
        for name, tensor in parameters.items():
            tensor.copy_(values[name])


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within it, dropout does nothing and no gradient is kept; the train mode comes back."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
