"""What a new adapter looks like: the peft configuration made of a person's settings and the base model's layers.

Owns which modules can be adapted, the checks that need the model (H05, H06), and counting trainable parameters. Does
not inject anything: training does, into a twin of its own.
"""

from __future__ import annotations

from typing import Any

from core.errors import Place, Problem, WorkbenchError, excerpt
from core.settings import MethodSettings

ALL_LINEAR = "all-linear"


def module_names(model: Any) -> list[str]:
    """Short names of the linear layers that an adapter can be put on (`q_proj`, `down_proj` …), in the model's order.

    The output head is left out: adapting it is costly and seldom meant.
    """
    return list(dict.fromkeys(path.rpartition(".")[2] for path in linear_shapes(model)))


def linear_shapes(model: Any, with_head: bool = False) -> dict[str, tuple[int, int]]:
    """(out_features, in_features) of every linear layer, by module path; the output head only where asked for."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    shapes: dict[str, tuple[int, int]] = {}
    for path, module in model.named_modules():
        if module is head and not with_head:
            continue
        if isinstance(module, nn.Linear):
            shapes[path] = (module.out_features, module.in_features)
        elif isinstance(module, Conv1D):
            shapes[path] = (module.nf, module.nx)
    return shapes


def alpha_of(settings: MethodSettings) -> float:
    """The scale in force: twice the rank until a person sets one."""
    return settings.alpha if settings.alpha is not None else 2 * settings.rank


def checked_targets(settings: MethodSettings, model: Any) -> list[str]:
    """The short names of the modules to adapt, in the model's order.

    Raises:
        WorkbenchError: H05 where the rank is larger than the model is wide; H06 for unknown names or none.
    """
    known = module_names(model)
    wanted = set(settings.target_modules)
    problems = [
        Problem(
            "H06_unknown_target",
            Place(field="target_modules", excerpt=excerpt(name)),
            {"name": excerpt(name), "known": ", ".join([ALL_LINEAR, *known])},
        )
        for name in sorted(wanted - {ALL_LINEAR, *known})
    ]
    if not wanted:
        problems.append(Problem("H06_no_target", Place(field="target_modules"), {"known": ", ".join(known)}))
    width = int(model.config.get_text_config().hidden_size)
    if settings.rank > width:
        problems.append(Problem("H05_rank_too_large", Place(field="rank"), {"rank": settings.rank, "width": width}))
    if problems:
        raise WorkbenchError(problems)
    return known if ALL_LINEAR in wanted else [name for name in known if name in wanted]


def lora_config(settings: MethodSettings, model: Any) -> Any:
    """The `peft.LoraConfig` of a new adapter (https://arxiv.org/abs/2106.09685), with its modules as a list of names.

    Raises:
        WorkbenchError: as `checked_targets`.
    """
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    targets = checked_targets(settings, model)
    return LoraConfig(
        r=settings.rank,
        lora_alpha=alpha_of(settings),
        lora_dropout=settings.dropout,
        target_modules=targets,
        bias="none",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type="CAUSAL_LM",
    )


def trainable_parameters(settings: MethodSettings, model: Any) -> int:
    """How many numbers an adapter with these settings trains: rank · (in + out) for each adapted layer."""
    targets = set(checked_targets(settings, model))
    return sum(
        settings.rank * (out_features + in_features)
        for path, (out_features, in_features) in linear_shapes(model).items()
        if path.rpartition(".")[2] in targets
    )
