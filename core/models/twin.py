"""Twins: a second module tree over the same weights.

Owns making a twin, and giving it tensors of its own. A twin shares every parameter and buffer with the tree it was made
of, so it costs no weight memory; its modules, hooks, configuration and train/eval flags are its own, and so are the few
numbers that a model writes while it reads (`WRITTEN_IN_A_FORWARD`). Wrapping a twin
(adapters) leaves the pristine tree as it was. A write in place to a shared tensor reaches every tree: what is trained
on a twin must be tensors of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import nn

WRITTEN_IN_A_FORWARD = "inv_freq"  # of rotary embeddings, which `longrope` writes in place by the longest row


def make_twin(model: nn.Module) -> Any:
    """A deep copy of the module tree that shares every weight, quantised or not, with `model`; tied weights stay tied.

    An 8-bit model must have run one forward before (`loader.load` sees to it): the first forward moves its weights.
    """
    shared: dict[int, Any] = {
        id(tensor): tensor for name, tensor in weights_of(model) if not name.endswith(WRITTEN_IN_A_FORWARD)
    }
    return copy.deepcopy(model, shared)


def put_in(tree: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put other parameters in the place of those of these names, wherever a tied one is used."""
    instead = {id(old): _parameter(tensors[name]) for name, old in tree.named_parameters() if name in tensors}
    for module in tree.modules():
        for key, old in module._parameters.items():
            if old is not None and id(old) in instead:
                module._parameters[key] = instead[id(old)]


def weights_of(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters, buffers, and what bitsandbytes keeps outside of both (its 8-bit and 4-bit states), with names."""
    yield from chain(model.named_parameters(), model.named_buffers())
    for name, module in model.named_modules():
        states = (getattr(owner, key, None) for owner, key in _state_places(module))
        for state in states:
            for tensor in _tensors_in(state):
                yield name, tensor


def _parameter(tensor: torch.Tensor) -> nn.Parameter:
    return tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, requires_grad=False)


def _state_places(module: nn.Module) -> tuple[tuple[object, str], ...]:
    return (module, "state"), (module, "quant_state"), (getattr(module, "weight", None), "quant_state")


def _tensors_in(state: object) -> Iterator[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state
    elif hasattr(state, "__dict__"):
        for value in vars(state).values():
            yield from _tensors_in(value)
