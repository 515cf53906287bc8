"""Several adapters of LoRA type as one, exactly: what it adds to the base is the sum of what each adds.

Each adapter adds a product of two matrices to a layer. Put beside each other they are one product whose rank is the sum
of theirs, with the scale and the strength of each folded into its part; nothing is approximated, unlike a merge by SVD
(peft's `add_weighted_adapter` calls this "cat"). A rank that a layer lacks is filled up with zeros, so that the result
has one rank everywhere. Owns that, and writing it as a new adapter. Which adapters there are is the caller's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.adapters.adapter_types import MAX_RANK
from core.adapters.base_shapes import BaseShapes
from core.adapters.card import AdapterCard, Ingredient
from core.adapters.layouts import names_of
from core.adapters.store import write_adapter
from core.adapters.strength import checked_strength
from core.adapters.tensor_file import weights_sha256
from core.adapters.tensor_values import Tensors, load_tensors
from core.adapters.validity import AdapterFiles
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.workspace import now

MIN_PARTS, MAX_PARTS = 2, 8


@dataclass(frozen=True)
class Product:
    """What an adapter adds to a layer's output for its input x: `up` (out, r) · `down` (r, in) · x + `bias` (out)."""

    down: torch.Tensor
    up: torch.Tensor
    bias: torch.Tensor | None


def check_parts(parts: Sequence[tuple[str, float]]) -> None:
    """Refuse what is no combination: too few or many, one twice, a strength out of range.

    Raises:
        WorkbenchError: H01.
    """
    names = [name for name, _ in parts]
    if not MIN_PARTS <= len(names) <= MAX_PARTS or len(set(names)) < len(names):
        shown = {"names": excerpt(", ".join(names)) or "–", "least": MIN_PARTS, "most": MAX_PARTS}
        raise refusal("H01_no_combination", Place(field="parts"), **shown)
    for _, strength in parts:
        checked_strength(strength)


def write_combination(
    parts: Sequence[tuple[AdapterFiles, float]], base: BaseShapes, base_name: str, fingerprint: str, target: Path
) -> None:
    """Write the combination of judged adapters, each in its strength, as a new folder `target`.

    Raises:
        WorkbenchError: M18 where one is not of LoRA type or the ranks are too many together, M21 where a value is no
            number.
    """
    problems = [_not_combinable(files) for files, _ in parts if not _is_low_rank(files)]
    if problems:
        raise WorkbenchError(problems)
    tensors = [load_tensors(files, torch.device("cpu"))[0] for files, _ in parts]
    products = [(_products(files, each), strength) for (files, strength), each in zip(parts, tensors, strict=True)]
    rank, layers = concatenated(products)
    if rank > MAX_RANK:
        raise refusal("M18_combination_too_large", rank=rank, limit=MAX_RANK)
    located = {f"base_model.model.{name.replace('/', '.')}": tensor for name, tensor in layers.items()}
    card = _card(parts, rank, base_name, fingerprint).model_copy(update={"name": target.name})
    write_adapter(target, located, _config(parts, rank, layers, base), card)


def as_lora(files: AdapterFiles, tensors: Tensors) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """An adapter of LoRA type as a plain LoRA of one rank: peft's options, and tensors by `module/part`."""
    rank, layers = concatenated([(_products(files, tensors), 1.0)])
    return {"r": rank, "lora_alpha": rank}, layers


def concatenated(parts: Sequence[tuple[Mapping[str, Product], float]]) -> tuple[int, dict[str, torch.Tensor]]:
    """The rank of the sum and its tensors by `module/part`; its scale is 1, as everything is in `up`."""
    modules = sorted({module for products, _ in parts for module in products})
    found = {module: [(each[module], strength) for each, strength in parts if module in each] for module in modules}
    rank = max(1, *(sum(len(product.down) for product, _ in each) for each in found.values()))
    has_bias = any(product.bias is not None for each in found.values() for product, _ in each)
    layers: dict[str, torch.Tensor] = {}
    for module, each in found.items():
        down = torch.cat([product.down for product, _ in each])
        up = torch.cat([product.up * strength for product, strength in each], dim=1)
        missing = rank - len(down)
        layers[f"{module}/lora_A.weight"] = torch.nn.functional.pad(down, (0, 0, 0, missing))
        layers[f"{module}/lora_B.weight"] = torch.nn.functional.pad(up, (0, missing)).contiguous()
        if has_bias:
            bias = up.new_zeros(len(up))
            for product, strength in each:
                bias += 0 if product.bias is None else product.bias * strength
            layers[f"{module}/lora_B.bias"] = bias
    return rank, layers


def _is_low_rank(files: AdapterFiles) -> bool:
    return files.fields is not None and files.fields.shares_batch


def _not_combinable(files: AdapterFiles) -> Problem:
    return Problem("M18_not_combinable", Place(file=files.folder.name), {"method": files.method})


def _products(files: AdapterFiles, tensors: Tensors) -> dict[str, Product]:
    """What an adapter of LoRA type adds to each layer, its scale folded in."""
    assert files.fields, "judged files have fields"
    values, layout = files.fields.values, files.fields.layout
    by_module: dict[str, dict[str, torch.Tensor]] = {module: {} for module in files.parts}
    for name, tensor in tensors.items():
        module, part = layout.locate(name) or ("", "")
        by_module[module][part] = tensor
    if files.fields.type == "ADALORA":
        return {module: _adalora(values, parts) for module, parts in by_module.items()}
    return {module: _lora(values, module, parts) for module, parts in by_module.items()}


def _lora(values: Mapping[str, Any], module: str, parts: Mapping[str, torch.Tensor]) -> Product:
    """B · A · alpha / r, or alpha / √r for rsLoRA (https://arxiv.org/abs/2312.03732)."""
    down, up, bias = parts["lora_A.weight"], parts["lora_B.weight"], parts.get("lora_B.bias")
    alphas = values["alpha_pattern"]
    alpha = next((alphas[name] for name in names_of(module) if name in alphas), values["lora_alpha"])
    scale = alpha / (math.sqrt(len(down)) if values["use_rslora"] else len(down))
    return Product(down, up * scale, None if bias is None else bias * scale)


def _adalora(values: Mapping[str, Any], parts: Mapping[str, torch.Tensor]) -> Product:
    """B · (E ⊙ A) · alpha / init_r (https://arxiv.org/abs/2303.10512; peft's `SVDLinear`)."""
    scale = values["lora_alpha"] / (values["init_r"] + 1e-5)
    return Product(parts["lora_A"] * parts["lora_E"], parts["lora_B"] * scale, None)


def _config(
    parts: Sequence[tuple[AdapterFiles, float]], rank: int, layers: Tensors, base: BaseShapes
) -> dict[str, Any]:
    from peft import LoraConfig

    modules = {name.partition("/")[0] for name in layers}
    ends = {module: module.rpartition(".")[2] for module in base.layers}
    whole = {end for end in ends.values() if all(module in modules for module in base.layers if ends[module] == end)}
    config: dict[str, Any] = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=rank,
        target_modules=sorted({ends[module] if ends[module] in whole else module for module in modules}),
        lora_bias=any(name.endswith("/lora_B.bias") for name in layers),
        fan_in_fan_out=any(files.fields.values["fan_in_fan_out"] for files, _ in parts if files.fields),
    ).to_dict()
    return config


def _card(parts: Sequence[tuple[AdapterFiles, float]], rank: int, base_name: str, fingerprint: str) -> AdapterCard:
    cards = [files.card for files, _ in parts if files.card]
    prompts = {card.system_prompt for card in cards}
    return AdapterCard(
        name="combination",
        base_name=base_name,
        base_fingerprint=fingerprint,
        template=next((card.template for card in cards if card.template), None),
        system_prompt=prompts.pop() if len(prompts) == 1 else None,
        method="lora",
        rank=rank,
        made_of=tuple(
            Ingredient(files.folder.name, weights_sha256(files.folder), strength) for files, strength in parts
        ),
        created=now(),
    )
