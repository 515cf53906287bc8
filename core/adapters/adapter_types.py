"""The types of adapters that can be applied, by their `peft_type`: which fields and which tensors each has.

Owns the table `LAYOUTS`. A type that is not in it is refused. The shapes that belong together are those that peft
makes; `TRAINED_WEIGHTS` are the workbench's own files of BitFit and freeze tuning.
"""

from __future__ import annotations

import math

from core.adapters.config_rules import ByModule, Initialiser, Names, Rule, flag, number, only, share, whole
from core.adapters.layouts import (
    Change,
    Layout,
    ReplacedWeights,
    Shapes,
    TunerLayers,
    Values,
    VirtualTokens,
    names_of,
)

MAX_RANK = 1024  # twice what can be set: PiSSA and OLoRA are saved so, AdaLoRA begins with half as much again
MAX_ALPHA = 1e6


def _matrices(shapes: Shapes, *names: str) -> list[tuple[int, ...]] | None:
    """The shapes of these matrices; None where one is missing, empty or no matrix."""
    found = [shapes.get(name, ()) for name in names]
    return found if all(len(shape) == 2 and 0 not in shape for shape in found) else None


def _product(shapes: Shapes, left: str, right: str) -> tuple[int, int, int] | None:
    """Rows, inner size and columns of a product of two matrices."""
    found = _matrices(shapes, left, right)
    return (found[0][0], found[0][1], found[1][1]) if found and found[0][1] == found[1][0] else None


def _lora(shapes: Shapes, values: Values) -> Change | None:
    """B (out, rank) times A (rank, in); DoRA's magnitudes and a bias for each output."""
    product = _product(shapes, "lora_B.weight", "lora_A.weight")
    extras = frozenset(shapes) - {"lora_A.weight", "lora_B.weight"}
    if product is None or any(shapes[name] != (product[0],) for name in extras):
        return None
    return Change(product[1], product[0], product[2], extras)


def _adalora(shapes: Shapes, values: Values) -> Change | None:
    """B (out, rank) times the diagonal E (rank, 1) times A (rank, in); a layer may have lost all of its rank."""
    a, b, e = (shapes.get(name, ()) for name in ("lora_A", "lora_B", "lora_E"))
    if len(a) != 2 or len(b) != 2 or a[0] != b[1] or e != (a[0], 1) or 0 in (a[1], b[0]):
        return None
    return Change(a[0], b[0], a[1])


def _loha(shapes: Shapes, values: Values) -> Change | None:
    """The entrywise product of two products (out, rank) · (rank, in)."""
    one, two = _product(shapes, "hada_w1_a", "hada_w1_b"), _product(shapes, "hada_w2_a", "hada_w2_b")
    return Change(one[1], one[0], one[2]) if one and one == two else None


def _lokr(shapes: Shapes, values: Values) -> Change | None:
    """The Kronecker product of two matrices, each whole or a product of rank r."""
    factors = []
    for name in ("lokr_w1", "lokr_w2"):
        product, whole_one = _product(shapes, f"{name}_a", f"{name}_b"), _matrices(shapes, name)
        expected = {name} if whole_one else {f"{name}_a", f"{name}_b"}
        if expected != {part for part in shapes if part.startswith(name)}:
            return None
        factors.append((whole_one[0][0], None, whole_one[0][1]) if whole_one else product)
    one, two = factors
    if one is None or two is None:
        return None
    ranks = {rank for rank in (one[1], two[1]) if rank is not None}
    return Change(max(ranks, default=None), one[0] * two[0], one[2] * two[2]) if len(ranks) <= 1 else None


def _ia3(shapes: Shapes, values: Values) -> Change | None:
    """A factor for each output (out, 1), or, in feed-forward layers, for each input (1, in)."""
    found = _matrices(shapes, "ia3_l")
    if not found or 1 not in found[0]:
        return None
    rows, columns = found[0]
    return Change(in_features=columns, extras=frozenset({"input"})) if rows == 1 else Change(out_features=rows)


def _oft(shapes: Shapes, values: Values) -> Change | None:
    """A rotation of each block of the input: the upper triangle of a skew-symmetric matrix a row."""
    found = _matrices(shapes, "oft_R.weight")
    if not found:
        return None
    blocks, triangle = found[0]
    size = (1 + math.isqrt(1 + 8 * triangle)) // 2
    if size * (size - 1) // 2 != triangle:
        return None
    return Change(in_features=None if values["block_share"] else blocks * size)


def _rank_of(values: Values, module: str, rank: int) -> bool:
    ranks = values["rank_pattern"]
    return bool(rank == next((ranks[name] for name in names_of(module) if name in ranks), values["r"]))


def _lora_extras(values: Values, module: str) -> frozenset[str]:
    wanted = {"lora_magnitude_vector.weight": values["use_dora"], "lora_B.bias": values["lora_bias"]}
    return frozenset(name for name, used in wanted.items() if used)


def _ia3_extras(values: Values, module: str) -> frozenset[str] | None:
    names = values["feedforward_modules"]
    if names is None:
        return None
    return frozenset({"input"} if any(name in names for name in names_of(module)) else ())


def _lora_name(values: Values) -> str:
    names = [name for name, used in (("dora", values["use_dora"]), ("rslora", values["use_rslora"])) if used]
    return "+".join(names) or "lora"


_WHERE_FREE = ("layers_pattern",)
_R, _ALPHA = whole(1, MAX_RANK, default=8), number(0, MAX_ALPHA, default=8)
_PATTERNS: dict[str, Rule] = {"rank_pattern": ByModule(_R), "alpha_pattern": ByModule(_ALPHA)}
_LORA: dict[str, Rule] = {
    "lora_alpha": _ALPHA,
    "lora_dropout": share(),
    "bias": only("none"),
    "init_lora_weights": Initialiser(),
    "fan_in_fan_out": flag(),
}
_LORA_FREE = (*_WHERE_FREE, "eva_config", "loftq_config", "megatron_core", "qalora_group_size")
_LYCORIS_FREE = (*_WHERE_FREE, "rank_dropout", "rank_dropout_scale", "module_dropout", "init_weights")
_PROMPT_FREE = ("token_dim", "num_layers", "num_attention_heads", "init_weights")

LAYOUTS: dict[str, Layout] = {
    "LORA": TunerLayers(
        config="LoraConfig",
        parts=("lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_magnitude_vector.weight"),
        factors=("lora_B.weight", "lora_B.bias"),
        own_rules={"r": _R, **_LORA, **_PATTERNS, "use_rslora": flag(), "use_dora": flag(), "lora_bias": flag()},
        free=_LORA_FREE,
        measure=_lora,
        name=_lora_name,
        rank=_rank_of,
        extras=_lora_extras,
        batched=lambda values: not values["use_dora"],
    ),
    "ADALORA": TunerLayers(
        config="LoraConfig",  # what it has become is a LoRA whose singular values stand between the matrices
        parts=("lora_A", "lora_B", "lora_E"),
        factors=("lora_E",),
        own_rules={"init_r": whole(1, MAX_RANK, default=12), **_LORA},
        free=(
            *(*_LORA_FREE, "r", "target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2"),
            *("orth_reg_weight", "total_step", "rank_pattern"),
        ),
        measure=_adalora,
        name=lambda values: "adalora",
        rank=lambda values, module, rank: rank <= values["init_r"],
        batched=lambda values: True,
    ),
    "LOHA": TunerLayers(
        config="LoHaConfig",
        parts=("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
        factors=("hada_w1_a",),
        own_rules={"r": _R, "alpha": _ALPHA, **_PATTERNS},
        free=(*_LYCORIS_FREE, "use_effective_conv2d"),
        measure=_loha,
        name=lambda values: "loha",
        rank=_rank_of,
        quantised=("int8",),
        transposed=False,
    ),
    "LOKR": TunerLayers(
        config="LoKrConfig",
        parts=("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b"),
        factors=("lokr_w1", "lokr_w1_a"),
        own_rules={
            **{"r": _R, "alpha": _ALPHA, **_PATTERNS},
            **{"decompose_both": flag(), "decompose_factor": whole(-1, 2**16, default=-1)},
        },
        free=(*_LYCORIS_FREE, "use_effective_conv2d"),
        measure=_lokr,
        name=lambda values: "lokr",
        rank=_rank_of,
        quantised=("int8",),
        transposed=False,
    ),
    "IA3": TunerLayers(
        config="IA3Config",
        parts=("ia3_l",),
        factors=("ia3_l",),
        rest=1.0,
        own_rules={"feedforward_modules": Names(), "fan_in_fan_out": flag()},
        free=("init_ia3_weights",),
        measure=_ia3,
        name=lambda values: "ia3",
        extras=_ia3_extras,
        quantised=(),
    ),
    "OFT": TunerLayers(
        config="OFTConfig",
        parts=("oft_R.weight",),
        factors=("oft_R.weight",),
        own_rules={
            **{"r": whole(0, 2**16, default=0), "oft_block_size": whole(0, 2**16, default=32)},
            **{"use_cayley_neumann": flag(True), "num_cayley_neumann_terms": whole(1, 100, default=5)},
            **{"block_share": flag(), "bias": only("none"), "fan_in_fan_out": flag()},
        },
        free=(*_WHERE_FREE, "module_dropout", "eps", "init_weights"),
        measure=_oft,
        name=lambda values: "oft",
        transposed=False,
    ),
    "LN_TUNING": ReplacedWeights(
        name="layernorm",
        rules={"target_modules": Names(), "exclude_modules": Names(optional=True)},
        prefix="base_model.model.",
        infix=".ln_tuning_layers.",
    ),
    "TRAINED_WEIGHTS": ReplacedWeights(name="trained_weights", rules={"format_version": only(1)}),
    "PROMPT_TUNING": VirtualTokens(
        name="prompt",
        free=(*_PROMPT_FREE, "prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_kwargs"),
    ),
    "P_TUNING": VirtualTokens(
        name="ptuning",
        free=(
            *_PROMPT_FREE,
            *("encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers", "encoder_dropout"),
        ),
    ),
    "PREFIX_TUNING": VirtualTokens(
        name="prefix",
        free=(*_PROMPT_FREE, "encoder_hidden_size", "prefix_projection"),
        deep=True,
    ),
}
