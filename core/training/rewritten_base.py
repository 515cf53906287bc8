"""PiSSA and OLoRA: LoRA that begins with a part of the base's own matrices, which are made smaller by that part.

Owns the copies of the matrices that are rewritten, what they were rewritten with, and turning the trained adapter into
a plain LoRA of twice the rank that fits the untouched base:

    W − s·B₀A₀ + s·BA  =  W + s·[B, −B₀]·[A; A₀]        (s = alpha / rank)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

BASE = "base_model.model."  # how the paths of a PeftModel's modules begin
Starts = dict[str, tuple[torch.Tensor, torch.Tensor]]


def copy_matrices(twin: nn.Module, paths: Iterable[str]) -> None:
    """Give the twin matrices of its own in the modules at these paths."""
    for path in paths:
        module: Any = twin.get_submodule(path)
        module.weight = nn.Parameter(module.weight.detach().clone(), requires_grad=False)


class RewrittenBase:
    """What matrices were rewritten with. `starts`: A₀ and B₀ of every adapted layer, by its path in the base."""

    def __init__(self, model: Any, base: nn.Module, adapter: str) -> None:
        self._model, self._base, self._adapter = model, base, adapter
        self.starts: Starts = {}
        # peft rounds A₀ and B₀ to the base's format only after it has taken them away: what is taken away is done anew.
        self.restart({path: (first.detach(), second.detach()) for path, first, second in self._matrices()})

    def restart(self, starts: Starts) -> None:
        """Rewrite the matrices with another start, as the start of a run that is gone on with."""
        for path, layer in self._layers():
            original: Any = self._base.get_submodule(path).weight
            first, second = (part.to(original.device, copy=True) for part in starts[path])
            self.starts[path] = (first, second)
            turned = layer.fan_in_fan_out
            whole = original.detach().float().T if turned else original.detach().float()
            rest = (whole - layer.scaling[self._adapter] * second @ first).to(original.dtype)
            layer.get_base_layer().weight.data = rest.T if turned else rest

    def converted(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors and configuration of a plain LoRA with which the untouched base answers as the tree does."""
        tensors = {}
        for path, first, second in self._matrices():
            first_0, second_0 = self.starts[path]
            tensors[f"{BASE}{path}.lora_A.weight"] = torch.cat([first.detach(), first_0], dim=0)
            tensors[f"{BASE}{path}.lora_B.weight"] = torch.cat([second.detach(), -second_0], dim=1)
        config = self._model.peft_config[self._adapter].to_dict()
        doubled = {"r": 2 * config["r"], "lora_alpha": 2 * config["lora_alpha"], "init_lora_weights": True}
        return tensors, config | doubled

    def _matrices(self) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        for path, layer in self._layers():
            yield path, layer.lora_A[self._adapter].weight, layer.lora_B[self._adapter].weight

    def _layers(self) -> Iterator[tuple[str, Any]]:
        from peft.tuners.lora import LoraLayer

        for path, module in self._model.named_modules():
            if isinstance(module, LoraLayer):
                yield path.removeprefix(BASE), module
