"""Twins: a second module tree over the same weights.

Owns making a twin. A twin shares every parameter and buffer with the tree it was made of, so it costs no weight memory;
its modules, hooks, configuration and train/eval flags are its own. Wrapping a twin (adapters) leaves the pristine tree
as it was. What a method trains in place must be copied first (`own_copy`): a write to a shared tensor reaches them all.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import nn


def make_twin(model: nn.Module) -> Any:
    """A deep copy of the module tree that shares every weight, quantised or not, with `model`; tied weights stay tied.

    An 8-bit model must have run one forward before (`loader.load` sees to it): the first forward moves its weights.
    """
    shared: dict[int, Any] = {id(tensor): tensor for _, tensor in weights_of(model)}
    return copy.deepcopy(model, shared)


def own_copy(model: nn.Module, names: Iterable[str]) -> None:
    """Give a twin tensors of its own for the named parameters, so that training them in place reaches no other tree.

    Parameters that were one tensor (tied) become one new tensor.
    """
    copies: dict[int, nn.Parameter] = {}
    for name in names:
        owner_name, _, attribute = name.rpartition(".")
        owner = model.get_submodule(owner_name)
        old = getattr(owner, attribute)
        if id(old) not in copies:
            copies[id(old)] = nn.Parameter(old.detach().clone(), requires_grad=old.requires_grad)
        setattr(owner, attribute, copies[id(old)])


def weights_of(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters, buffers, and what bitsandbytes keeps outside of both (its 8-bit and 4-bit states), with names."""
    yield from chain(model.named_parameters(), model.named_buffers())
    for name, module in model.named_modules():
        states = (getattr(owner, key, None) for owner, key in _state_places(module))
        for state in states:
            for tensor in _tensors_in(state):
                yield name, tensor


def _state_places(module: nn.Module) -> tuple[tuple[object, str], ...]:
    return (module, "state"), (module, "quant_state"), (getattr(module, "weight", None), "quant_state")


def _tensors_in(state: object) -> Iterator[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state
    elif hasattr(state, "__dict__"):
        for value in vars(state).values():
            yield from _tensors_in(value)
