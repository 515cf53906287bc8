"""Optimizers and learning-rate schedules by the names of the settings.

Owns what each name stands for in torch, bitsandbytes and transformers, and where one cannot be used. Which parameters
are trained, in which groups and at which rates, is the learner's business.

    adamw, adamw_fused  torch.optim.AdamW, one step at a time or in one kernel
    adamw_8bit, lion    bitsandbytes; the numbers AdamW keeps of a large tensor are 8-bit
    adamw_schedule_free schedulefree's (https://arxiv.org/abs/2405.15682): AdamW at a constant rate, with an average
                        of the weights it went through as its result; `averaged` tells how that is reached
    adafactor           transformers' (https://arxiv.org/abs/1804.04235) with the rate of the schedule, not its own
    sgd                 torch.optim.SGD without momentum: it keeps nothing
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from core.errors import Place, Problem
from core.settings import Method, Optimizer, Scheduler, TrainingSettings

if TYPE_CHECKING:
    import torch

OF_BITSANDBYTES: tuple[Optimizer, ...] = ("adamw_8bit", "lion")
LEAST_AVERAGED_BETA1 = 0.5  # the average is what is trained, divided by it: below, that is mostly rounding
RESTARTS = 2  # of cosine_restarts on the way
POLYNOMIAL_POWER = 2.0
USUAL_TIMESCALE = 0.05  # of all steps; of inverse_sqrt without warm-up


def optimizer_problems(name: Optimizer, device: str) -> list[Problem]:
    """Why an optimizer cannot be used on a device; nothing where it can."""
    kind = device.partition(":")[0]
    values = {"optimizer": name, "device": kind, "suggested": "adamw"}
    missing = name in OF_BITSANDBYTES and (kind not in ("cpu", "cuda", "xpu") or find_spec("bitsandbytes") is None)
    return [Problem("H13_optimizer_missing", Place(field="optimizer"), values)] if missing else []


def schedule_free_problems(asked: TrainingSettings, method: Method) -> list[Problem]:
    """What does not go with an optimizer that needs no schedule; nothing where another one is asked for.

    Its average stands in for the falling rate. AdaLoRA sets pruned ranks to zero in the weights that are trained, which
    the average of earlier ones would undo.
    """
    if asked.optimizer != "adamw_schedule_free":
        return []
    found = []
    if asked.scheduler != "constant":
        values: dict[str, Any] = {"scheduler": asked.scheduler, "suggested": "constant"}
        found.append(Problem("H12_schedule_free_with_schedule", Place(field="scheduler"), values))
    if asked.adam_beta1 < LEAST_AVERAGED_BETA1:
        values = {"beta": asked.adam_beta1, "least": LEAST_AVERAGED_BETA1, "suggested": 0.9}
        found.append(Problem("H12_schedule_free_with_beta", Place(field="adam_beta1"), values))
    if method == "adalora":
        found.append(Problem("H12_schedule_free_with_adalora", Place(field="optimizer"), {"suggested": "adamw"}))
    return found


def make_optimizer(
    asked: TrainingSettings, groups: Iterable[dict[str, Any]], learning_rate: float
) -> torch.optim.Optimizer:
    """The optimizer of a run over groups of parameters that each name their `lr` and `weight_decay`."""
    made: torch.optim.Optimizer = _maker(asked)(list(groups), lr=learning_rate)
    return made


@contextmanager
def averaged(optimizer: Any) -> Iterator[None]:
    """Within it, the weights are the average that schedule-free training makes; then they are bit by bit as before.

    What is trained is kept beside meanwhile: taking the average away again would round. The copy is as large as the
    gradients, which are given back after each step, so that even full fine-tuning needs no more memory than in a step.
    """
    import torch

    weights = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    kept = [tensor.detach().clone() for tensor in weights]
    optimizer.eval()
    try:
        yield
    finally:
        optimizer.train()
        with torch.no_grad():
            for tensor, trained in zip(weights, kept, strict=True):
                tensor.copy_(trained)


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
        case "adamw_schedule_free":
            from schedulefree import AdamWScheduleFree

            # Warm-up is the schedule's, as for all: the rate that is shown is the one that a step has.
            return partial(AdamWScheduleFree, betas=betas)
        case "adafactor":
            from transformers.optimization import Adafactor

            return partial(Adafactor, scale_parameter=False, relative_step=False)
        case "sgd":
            return partial(torch.optim.SGD)
    import bitsandbytes

    kinds = {"adamw_8bit": bitsandbytes.optim.AdamW8bit, "lion": bitsandbytes.optim.Lion}
    return partial(kinds[asked.optimizer], betas=betas)
