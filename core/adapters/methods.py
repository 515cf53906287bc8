"""Which parts of a base model a method changes, with a person's settings, and why it cannot.

Owns choosing modules, layers and parameters, and the checks that need the model (H05, H06, H09). What is made of them
is `peft_configs`' and training's; how many numbers that are is `method_size`'s.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any

from core.adapters.method_facts import METHODS
from core.errors import Place, Problem, excerpt
from core.settings import Method, MethodSettings

ALL_LINEAR = "all-linear"
ATTENTION, MLP = "attention", "mlp"
PROMPT_METHODS: tuple[Method, ...] = ("prompt", "prefix", "ptuning")
NOT_ON_CONV1D: tuple[Method, ...] = ("olora", "loha", "lokr", "oft")  # GPT-2's transposed linear layers
ADALORA_START = 1.5  # AdaLoRA starts with this many times the rank that it ends with, as in its paper
PTUNING_WIDTH = 128  # of the network that makes P-tuning's virtual tokens
OFT_BLOCK = 32  # the largest block that OFT rotates


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


def adapted_shapes(settings: MethodSettings, model: Any) -> dict[str, tuple[int, int]]:
    """`linear_shapes` of the layers that these settings put an adapter on."""
    names = target_names(settings, model)
    limited = settings.layers and "layers" in METHODS[settings.method].settings
    within = layer_prefixes(model, settings.layers) if limited else ("",)
    shapes = linear_shapes(model)
    return {path: shape for path, shape in shapes.items() if _ends_with(path, names) and path.startswith(within)}


def target_names(settings: MethodSettings, model: Any) -> list[str]:
    """The modules to adapt as peft matches them, in the model's order: short names, or as much as tells them apart.

    `attention` and `mlp` stand for the linear layers of those parts; unknown names are left out.
    """
    paths = list(linear_shapes(model))
    attention = {path for path in paths if "attn" in path or "attention" in path}
    groups = {ALL_LINEAR: set(paths), ATTENTION: attention, MLP: set(paths) - attention}
    chosen = {p for p in paths if any(p in groups.get(n, ()) or _ends_with(p, [n]) for n in settings.target_modules)}
    others = {path.rpartition(".")[2] for path in paths if path not in chosen}
    names = (
        path.split(".")[-2:] if path.rpartition(".")[2] in others else path.split(".")[-1:]
        for path in paths
        if path in chosen
    )
    return list(dict.fromkeys(map(".".join, names)))


def norm_names(model: Any) -> list[str]:
    """Short names of the normalisation layers that have weights."""
    norms = (
        path.rpartition(".")[2]
        for path, module in model.named_modules()
        if "norm" in type(module).__name__.lower() and any(True for _ in module.parameters(recurse=False))
    )
    return list(dict.fromkeys(norms))


def layer_prefixes(model: Any, numbers: tuple[int, ...]) -> tuple[str, ...]:
    """How the paths of everything in these layers of the model begin."""
    path = _layer_list(model)
    return tuple(f"{path}.{number}." for number in numbers)


def layer_count(model: Any) -> int:
    return int(model.config.get_text_config().num_hidden_layers)


def trained_names(settings: MethodSettings, model: Any) -> list[str]:
    """The base parameters that BitFit, freeze tuning or full fine-tuning trains, under their names in the base."""
    names = [name for name, _ in model.named_parameters()]
    if settings.method == "bitfit":
        return [name for name in names if name.rpartition(".")[2] == "bias"]
    if settings.method == "freeze":
        count = layer_count(model)
        within = layer_prefixes(model, tuple(range(max(0, count - settings.trained_layers), count)))
        last = [name for name in names if name.startswith(within)]
        if ALL_LINEAR in settings.target_modules:
            return last
        modules = target_names(settings, model)
        return [name for name in last if _ends_with(name.rpartition(".")[0], modules)]
    assert settings.method == "full", "other methods train an adapter"
    return names


def has_conv1d(model: Any) -> bool:
    """Whether linear layers are stored transposed, as in GPT-2."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in model.modules())


def alpha_of(settings: MethodSettings) -> float:
    """The scale in force: twice the rank until a person sets one."""
    return settings.alpha if settings.alpha is not None else 2 * settings.rank


def method_problems(settings: MethodSettings, model: Any, precision: str) -> list[Problem]:
    """Why these settings cannot be trained on this model in this precision: H05, H06, H09."""
    facts = METHODS[settings.method]
    problems = []
    if precision in ("int8", "nf4") and precision not in facts.quantised:
        values = {"method": settings.method, "precision": precision}
        problems.append(Problem("H09_method_not_on_quantised", Place(field="method"), values))
    uses = facts.settings
    if "target_modules" in uses:
        problems += _target_problems(settings, model)
    if "rank" in uses and not problems:
        problems += _rank_problems(settings, model)
    if {"layers", "trained_layers"} & set(uses):
        problems += _layer_problems(settings, model)
    return problems + list(_problems_of_architecture(settings.method, model))


def adalora_start(rank: int) -> int:
    """The rank that AdaLoRA starts with to end with this one on average."""
    return math.ceil(ADALORA_START * rank)


def oft_block(shapes: dict[str, tuple[int, int]]) -> int:
    """The largest block size up to `OFT_BLOCK` that divides the input of every adapted layer."""
    common = math.gcd(*(inputs for _, inputs in shapes.values()))
    return next(size for size in range(OFT_BLOCK, 0, -1) if common % size == 0)


def feedforward_names(settings: MethodSettings, model: Any) -> list[str]:
    """The adapted layers whose input IA3 scales: those that lead back from a wider space; of others the output."""
    shapes = adapted_shapes(settings, model)
    others = [path for path, (outputs, inputs) in shapes.items() if inputs <= outputs]
    return [name for name in target_names(settings, model) if not any(_ends_with(path, [name]) for path in others)]


def _ends_with(path: str, names: Collection[str]) -> bool:
    """Whether one of the names is the end of a module's path, as peft matches them."""
    return path.endswith(tuple(f".{name}" for name in names))


def _target_problems(settings: MethodSettings, model: Any) -> list[Problem]:
    known = module_names(model)
    groups = (ALL_LINEAR, ATTENTION, MLP)
    wanted = set(settings.target_modules)
    place = Place(field="target_modules")
    if not wanted:
        return [Problem("H06_no_target", place, {"known": ", ".join(known)})]
    return [
        Problem(
            "H06_unknown_target",
            Place(field="target_modules", excerpt=excerpt(name)),
            {"name": excerpt(name), "known": ", ".join([*groups, *known])},
        )
        for name in sorted(wanted - {*groups, *known})
    ]


def _rank_problems(settings: MethodSettings, model: Any) -> list[Problem]:
    """A rank over the model's width; of matrices that are taken apart, over the smaller side of the smallest."""
    width = int(model.config.get_text_config().hidden_size)
    if METHODS[settings.method].rewrites_base:
        width = min(map(min, adapted_shapes(settings, model).values()), default=width)
    if settings.rank <= width:
        return []
    return [Problem("H05_rank_too_large", Place(field="rank"), {"rank": settings.rank, "width": width})]


def _layer_problems(settings: MethodSettings, model: Any) -> list[Problem]:
    count = layer_count(model)
    field, highest = "layers", max(settings.layers, default=0)
    if settings.method == "freeze":
        field, highest = "trained_layers", settings.trained_layers - 1
    if highest < count and min(settings.layers, default=0) >= 0:
        return []
    return [Problem("H06_unknown_layer", Place(field=field), {"count": count, "last": count - 1})]


def _problems_of_architecture(method: Method, model: Any) -> Iterator[Problem]:
    """What a method needs and this kind of model lacks."""
    from core.models.prefix import takes_past

    place = Place(field="method")
    if method == "bitfit" and not any(name.endswith(".bias") for name, _ in model.named_parameters()):
        yield Problem("H06_no_biases", place)
    if method == "layernorm" and not norm_names(model):
        yield Problem("H06_no_norms", place)
    if method in NOT_ON_CONV1D and has_conv1d(model):
        yield Problem("H06_method_not_on_conv1d", place, {"method": method})
    if method == "prefix" and not takes_past(model):
        yield Problem("H06_no_virtual_tokens", place, {"method": method})


def _layer_list(model: Any) -> str:
    """The path of the list that holds the model's layers."""
    from torch import nn

    count = layer_count(model)
    lists = (p for p, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module) == count)
    return str(next(lists))
