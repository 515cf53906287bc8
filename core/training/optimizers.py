"""Optimizers and learning-rate schedules by the names of the settings.

Owns what each name stands for in torch, bitsandbytes and transformers, and where one cannot be used. Which parameters
are trained, in which groups and at which rates, is the learner's business.

    adamw, adamw_fused  torch.optim.AdamW, one step at a time or in one kernel
    adamw_8bit, lion    bitsandbytes; the numbers AdamW keeps of a large tensor are 8-bit
    adafactor           transformers' (https://arxiv.org/abs/1804.04235) with the rate of the schedule, not its own
    sgd                 torch.optim.SGD without momentum: it keeps nothing
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from core.errors import Place, Problem
from core.settings import Optimizer, Scheduler, TrainingSettings

if TYPE_CHECKING:
    import torch

OF_BITSANDBYTES: tuple[Optimizer, ...] = ("adamw_8bit", "lion")
RESTARTS = 2  # of cosine_restarts on the way
POLYNOMIAL_POWER = 2.0
USUAL_TIMESCALE = 0.05  # of all steps; of inverse_sqrt without warm-up


def optimizer_problems(name: Optimizer, device: str) -> list[Problem]:
    """Why an optimizer cannot be used on a device; nothing where it can."""
    kind = device.partition(":")[0]
    values = {"optimizer": name, "device": kind, "suggested": "adamw"}
    missing = name in OF_BITSANDBYTES and (kind not in ("cpu", "cuda", "xpu") or find_spec("bitsandbytes") is None)
    return [Problem("H13_optimizer_missing", Place(field="optimizer"), values)] if missing else []


def make_optimizer(
    asked: TrainingSettings, groups: Iterable[dict[str, Any]], learning_rate: float
) -> torch.optim.Optimizer:
    """The optimizer of a run over groups of parameters that each name their `lr` and `weight_decay`."""
    made: torch.optim.Optimizer = _maker(asked)(list(groups), lr=learning_rate)
    return made


def schedule(name: Scheduler, warmup_steps: int, steps: int) -> tuple[str, dict[str, Any]]:
    """transformers' name of a schedule and what it is told beside the steps; every one begins with the warm-up."""
    match name:
        case "constant":
            return "constant_with_warmup", {}
        case "cosine_restarts":
            return "cosine_with_restarts", {"num_cycles": RESTARTS + 1}
        case "polynomial":
            return "polynomial", {"power": POLYNOMIAL_POWER, "lr_end": 0.0}
        case "inverse_sqrt":
            return "inverse_sqrt", {"timescale": warmup_steps or max(1, round(USUAL_TIMESCALE * steps))}
    return name, {}


def _maker(asked: TrainingSettings) -> Callable[..., Any]:
    import torch

    betas = (asked.adam_beta1, asked.adam_beta2)
    match asked.optimizer:
        case "adamw" | "adamw_fused":
            return partial(torch.optim.AdamW, betas=betas, fused=asked.optimizer == "adamw_fused")
        case "adafactor":
            from transformers.optimization import Adafactor

            return partial(Adafactor, scale_parameter=False, relative_step=False)
        case "sgd":
            return partial(torch.optim.SGD)
    import bitsandbytes

    kinds = {"adamw_8bit": bitsandbytes.optim.AdamW8bit, "lion": bitsandbytes.optim.Lion}
    return partial(kinds[asked.optimizer], betas=betas)
