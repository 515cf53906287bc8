"""AdaLoRA's budget: every layer begins with half as much rank again, and the least important is pruned as it trains.

Owns the moments of pruning, the penalty that keeps its matrices orthogonal, and what a checkpoint must hold of both.
peft's allocator does the ranking (https://arxiv.org/abs/2303.10512).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

SHORTEST_RUN = 6  # steps; in a shorter one there is nothing to rank by


class RankBudget:
    """The budget of an AdaLoRA adapter that is trained for so many steps; with None it is only measured."""

    def __init__(self, model: Any, adapter: str, steps: int | None) -> None:
        self._model, self._adapter = model, adapter
        self._prunes = steps is not None and steps >= SHORTEST_RUN
        for name, tensor in model.named_parameters():
            if ".ranknum." in name:  # on a 16-bit base peft would train it, and never save it
                tensor.requires_grad_(False)

    def on_step(self, step: int) -> None:
        """Rank and prune, with the gradients of this step still there."""
        if not self._prunes:
            return
        for tensor in self._model.parameters():
            if tensor.grad is not None:  # fp16's scaler skips steps that are not finite; the ranking must as well
                tensor.grad.nan_to_num_(0.0, 0.0, 0.0)
        self._model.base_model.update_and_allocate(step)

    def penalty(self) -> torch.Tensor:
        """How far the matrices are from orthogonal, with its weight: the mean of |PPᵀ − I| over all of them."""
        distances = []
        for name, tensor in self._model.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                gram = tensor @ tensor.T if ".lora_A." in name else tensor.T @ tensor
                distances.append(torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device)))
        weight: float = self._config.orth_reg_weight
        return weight * torch.stack(distances).mean()

    def state(self) -> dict[str, Any]:
        allocator = self._allocator
        return {
            "importance": dict(allocator.exp_avg_ipt),
            "uncertainty": dict(allocator.exp_avg_unc),
            "rank_pattern": self._config.rank_pattern,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        allocator, device = self._allocator, next(self._model.parameters()).device
        allocator.exp_avg_ipt = {name: tensor.to(device) for name, tensor in state["importance"].items()}
        allocator.exp_avg_unc = {name: tensor.to(device) for name, tensor in state["uncertainty"].items()}
        allocator.ipt = dict(allocator.exp_avg_ipt)  # of the last step: only its keys are read before the next one
        self._config.rank_pattern = state["rank_pattern"]

    def take_ranks(self, parameters: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
        """Make room for values of other ranks: those of layers that were pruned before the run they come from began.

        The scale of a layer stays that of the rank it once began with, as it does where peft prunes it.
        """
        for name, tensor in parameters.items():
            if name in values and tensor.shape != values[name].shape:
                tensor.data = tensor.new_empty(values[name].shape)

    @property
    def _allocator(self) -> Any:
        return self._model.base_model.rankallocator

    @property
    def _config(self) -> Any:
        return self._model.peft_config[self._adapter]
