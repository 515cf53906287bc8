"""The three ways in which an adapter changes a model, and what its files must be like for each.

Owns `Layout`, the questions that are asked of every type of adapter, and the answers for layers beside the model's
linear layers, for weights in the place of the model's, and for virtual tokens before its input. The types themselves
are the table in `adapter_types`. Only headers and plain values are looked at; putting a type into a tree is the
business of `core.chat.injection`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.adapters.base_shapes import BaseShapes
from core.adapters.config_rules import LayerNumbers, Names, Rule, only, whole

MAX_VIRTUAL_TOKENS = 512
PROMPT = "prompt_embeddings"
MOST_PARTS = 32  # of a module's path that a name can be the end of
QUANTISED = ("int8", "nf4")

Shapes = Mapping[str, tuple[int, ...]]
Parts = Mapping[str, Shapes]  # the shapes of an adapter's tensors, by the module they change, then by the part of it
Values = Mapping[str, Any]
Finding = tuple[str, list[str]]  # the key of a problem and the names it lists


class Layout(Protocol):
    """A type of adapter. `rules` are the fields of its configuration that count; what has no part in a finished
    adapter's answers (how it was started, what was dropped out while it trained) is `free`: it may say anything and is
    not acted on. `transposed` says whether it can be put on linear layers that are kept so.
    """

    @property
    def rules(self) -> Mapping[str, Rule]: ...
    @property
    def free(self) -> tuple[str, ...]: ...
    @property
    def transposed(self) -> bool: ...

    def method(self, values: Values) -> str:
        """What people call it."""

    def shares_batch(self, values: Values) -> bool:
        """Whether its rows are answered together with those of the base and of other adapters."""

    def has_strength(self, values: Values) -> bool:
        """Whether it can be applied weaker or stronger than it was trained."""

    def answers_on(self, precision: str, values: Values) -> bool:
        """Whether it answers on a quantised base (`int8`, `nf4`)."""

    def locate(self, tensor_name: str) -> tuple[str, str] | None:
        """The base model's module and the part of it that a tensor belongs to; None for one that has no place."""

    def contradictions(self, values: Values, parts: Parts) -> Iterator[Finding]:
        """M20: tensors that are not whole, or not what the configuration describes."""

    def misfits(self, values: Values, parts: Parts, base: BaseShapes) -> Iterator[Finding]:
        """M19: what the base lacks or has in another shape; M20: what the configuration names and the file lacks."""


@dataclass(frozen=True)
class Change:
    """What a module's tensors do to a linear layer, as far as their shapes tell. `extras` are parts it may have."""

    rank: int | None = None
    out_features: int | None = None
    in_features: int | None = None
    extras: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TunerLayers:
    """Layers beside the base's linear layers. `measure` is None for tensors that do not belong together.

    `config` is peft's class, made of the values of `rules` alone. `rank` says whether a rank is the one of a module,
    `extras` which parts it should have. What the layers add is proportional to `factors`, each less `rest`.
    """

    config: str
    parts: tuple[str, ...]
    factors: tuple[str, ...]
    own_rules: Mapping[str, Rule]
    free: tuple[str, ...]
    measure: Callable[[Shapes, Values], Change | None]
    name: Callable[[Values], str]
    rank: Callable[[Values, str, int], bool] = lambda values, module, rank: True
    extras: Callable[[Values, str], frozenset[str] | None] = lambda values, module: None
    batched: Callable[[Values], bool] = lambda values: False
    quantised: tuple[str, ...] = QUANTISED
    transposed: bool = True
    rest: float = 0.0

    @property
    def rules(self) -> Mapping[str, Rule]:
        where: dict[str, Rule] = {
            "target_modules": Names(),
            "exclude_modules": Names(optional=True),
            "layers_to_transform": LayerNumbers(),
        }
        return {**where, **self.own_rules}

    def method(self, values: Values) -> str:
        return self.name(values)

    def shares_batch(self, values: Values) -> bool:
        return self.batched(values)

    def has_strength(self, values: Values) -> bool:
        return not values.get("use_dora")

    def answers_on(self, precision: str, values: Values) -> bool:
        broken = precision == "int8" and values.get("use_dora")  # bitsandbytes fails at the first forward
        return precision in self.quantised and not broken

    def locate(self, tensor_name: str) -> tuple[str, str] | None:
        found = re.fullmatch(r"base_model\.model\.(\w+(?:\.\w+)*?)\.((?:lora|hada|lokr|ia3|oft)_.+)", tensor_name)
        if found is None:
            return None
        part = "lora_magnitude_vector.weight" if found[2] == "lora_magnitude_vector" else found[2]  # as peft saves it
        return (found[1], part) if part in self.parts else None

    def contradictions(self, values: Values, parts: Parts) -> Iterator[Finding]:
        changes = {module: self.measure(shapes, values) for module, shapes in parts.items()}
        whole_ones = {module: change for module, change in changes.items() if change}
        yield "M20_broken_modules", [module for module in changes if module not in whole_ones]
        ranks = {module: change.rank for module, change in whole_ones.items() if change.rank is not None}
        yield "M20_rank_differs", [f"{m}: {rank}" for m, rank in ranks.items() if not self.rank(values, m, rank)]
        expected = {module: self.extras(values, module) for module in whole_ones}
        unlike = [m for m, change in whole_ones.items() if expected[m] is not None and change.extras != expected[m]]
        yield "M20_variant_differs", unlike
        yield "M20_untargeted_modules", _untargeted(values, parts)

    def misfits(self, values: Values, parts: Parts, base: BaseShapes) -> Iterator[Finding]:
        texts = (self._misfit(module, shapes, values, base) for module, shapes in parts.items())
        yield "M19_does_not_fit", [text for text in texts if text]
        yield "M20_incomplete", [m for m in base.layers if targeted(values, m) and m not in parts]

    def _misfit(self, module: str, shapes: Shapes, values: Values, base: BaseShapes) -> str | None:
        """How a module's tensors miss the base's layer."""
        change, layer = self.measure(shapes, values), base.layers.get(module)
        assert change, "broken modules are not compared with a base"
        wanted = (change.out_features, change.in_features)
        if layer and all(size in (None, there) for size, there in zip(wanted, layer, strict=True)):
            return None
        return f"{module}: {[size or '–' for size in wanted]} ≠ {list(layer) if layer else '–'}"


@dataclass(frozen=True)
class ReplacedWeights:
    """Weights in the place of the base's: `prefix` and `infix` stand around a module's name in the file."""

    name: str
    rules: Mapping[str, Rule] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    prefix: str = ""
    infix: str = "."
    transposed: bool = True

    def method(self, values: Values) -> str:
        return self.name

    def shares_batch(self, values: Values) -> bool:
        return False

    def has_strength(self, values: Values) -> bool:
        return True

    def answers_on(self, precision: str, values: Values) -> bool:
        return True

    def locate(self, tensor_name: str) -> tuple[str, str] | None:
        pattern = rf"{re.escape(self.prefix)}(\w+(?:\.\w+)*?){re.escape(self.infix)}(\w+)"
        found = re.fullmatch(pattern, tensor_name)
        return (found[1], found[2]) if found else None

    def contradictions(self, values: Values, parts: Parts) -> Iterator[Finding]:
        empty = [module for module, shapes in parts.items() if any(0 in shape for shape in shapes.values())]
        yield "M20_broken_modules", empty
        yield "M20_untargeted_modules", _untargeted(values, parts)

    def misfits(self, values: Values, parts: Parts, base: BaseShapes) -> Iterator[Finding]:
        own = {f"{module}.{part}": shape for module, shapes in parts.items() for part, shape in shapes.items()}
        there = {name: base.parameters.get(name) for name in own}
        unlike = [name for name, shape in own.items() if there[name] != shape]
        yield "M19_does_not_fit", [f"{name}: {list(own[name])} ≠ {list(there[name] or ()) or '–'}" for name in unlike]
        named = (name for name in base.parameters if targeted(values, name.rpartition(".")[0]))
        yield "M20_incomplete", [name for name in named if name not in own]


@dataclass(frozen=True)
class VirtualTokens:
    """Virtual tokens before the input: their embeddings, or, `deep`, the keys and values that they leave."""

    name: str
    free: tuple[str, ...]
    deep: bool = False
    transposed: bool = True

    @property
    def rules(self) -> Mapping[str, Rule]:
        count = whole(1, MAX_VIRTUAL_TOKENS, default=20)
        return {"num_virtual_tokens": count, "num_transformer_submodules": only(1, None)}

    def method(self, values: Values) -> str:
        return self.name

    def shares_batch(self, values: Values) -> bool:
        return False

    def has_strength(self, values: Values) -> bool:
        return False

    def answers_on(self, precision: str, values: Values) -> bool:
        return True

    def locate(self, tensor_name: str) -> tuple[str, str] | None:
        return ("", PROMPT) if tensor_name == PROMPT else None

    def contradictions(self, values: Values, parts: Parts) -> Iterator[Finding]:
        shape, count = parts[""][PROMPT], values["num_virtual_tokens"]
        whole_one = len(shape) == 2 and shape[0] == count and shape[1] > 0
        yield "M20_virtual_tokens_differ", [] if whole_one else [f"{list(shape)} ≠ [{count}, …]"]

    def misfits(self, values: Values, parts: Parts, base: BaseShapes) -> Iterator[Finding]:
        if self.deep and base.past is None:
            yield "M19_no_learned_past", [PROMPT]
            return
        width = 2 * math.prod(base.past) if self.deep and base.past else base.width
        found = parts[""][PROMPT][1]
        yield "M19_does_not_fit", [] if found == width else [f"{PROMPT}: {found} ≠ {width}"]


def targeted(values: Values, module: str) -> bool:
    """Whether the configuration's lists name a module; false where they are patterns, which are not matched."""
    names, excluded = values.get("target_modules"), values.get("exclude_modules", ())
    if names is None or excluded is None:
        return False
    layers, numbers = values.get("layers_to_transform"), re.findall(r"\.(\d{1,9})\.", module)
    if layers is not None and not (numbers and int(numbers[0]) in layers):
        return False
    said = names_of(module)
    return any(name in names for name in said) and not any(name in excluded for name in said)


def names_of(module: str) -> list[str]:
    """The plain names of a configuration that mean this module, the longest first: all of its path, or the end of it.

    They are looked up, never tried one by one: a hostile folder can hold many thousands of names and of modules.
    """
    parts = module.rsplit(".", MOST_PARTS)
    return [f"^{module}", *(".".join(parts[at:]) for at in range(len(parts)))]


def _untargeted(values: Values, parts: Parts) -> list[str]:
    return [m for m in parts if values.get("target_modules") is not None and not targeted(values, m)]
