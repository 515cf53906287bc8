"""Adapter folders for tests: random weights of every type over a tiny base, saved the way the workbench saves them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from core.adapters.card import AdapterCard, AdapterMetrics
from core.adapters.store import save_adapter, write_adapter
from core.models.twin import make_twin
from core.workspace import now

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

_SOME: dict[str, Any] = {"target_modules": ["q_proj", "v_proj", "down_proj"]}
_PROMPT = {"num_virtual_tokens": 5}
# One adapter of each type that can be applied, by its `peft_type` (and, of LORA, of its variants).
OTHER_TYPES: dict[str, dict[str, Any]] = {
    "LORA": {"r": 4, "lora_alpha": 16, **_SOME},
    "LORA/bias": {"peft_type": "LORA", "r": 4, "lora_bias": True, **_SOME},
    "LORA/rslora": {"peft_type": "LORA", "r": 4, "use_rslora": True, **_SOME},
    "LORA/dora": {"peft_type": "LORA", "r": 4, "use_dora": True, **_SOME},
    "ADALORA": {"init_r": 6, "target_r": 4, "total_step": 100, "lora_alpha": 16, **_SOME},
    "LOHA": {"r": 4, "alpha": 8, "rank_pattern": {"v_proj": 2}, **_SOME},
    "LOKR": {"r": 4, "alpha": 8, "decompose_both": True, **_SOME},
    "IA3": {"feedforward_modules": ["down_proj"], **_SOME},
    "OFT": {"oft_block_size": 16, **_SOME},
    "LN_TUNING": {"target_modules": ["input_layernorm", "norm"]},
    "PROMPT_TUNING": _PROMPT,
    "P_TUNING": {"encoder_hidden_size": 16, **_PROMPT},
    "PREFIX_TUNING": _PROMPT,
}
ALL_TYPES = (*OTHER_TYPES, "TRAINED_WEIGHTS")


def random_adapter_of(model: Any, kind: str, seed: int = 1) -> Any:
    """A PeftModel over a twin whose one adapter, of one of peft's own types, changes answers visibly."""
    import torch
    from peft import get_peft_config, get_peft_model

    with torch.random.fork_rng(), warnings.catch_warnings(action="ignore", category=UserWarning):  # "norms are unusual"
        torch.manual_seed(seed)
        values = {"peft_type": kind.partition("/")[0], "task_type": "CAUSAL_LM", **OTHER_TYPES[kind]}
        peft_model = get_peft_model(make_twin(model), get_peft_config(dict(values)))
        with torch.no_grad():
            for tensor in (each for each in peft_model.parameters() if each.requires_grad):
                tensor.add_(torch.empty_like(tensor).normal_(std=0.3))
    return peft_model.eval()


def save_random_adapter_of(model: Any, kind: str, folder: Path, fingerprint: str | None = None, seed: int = 1) -> Path:
    """A folder with an adapter of one of `ALL_TYPES`."""
    method = {"TRAINED_WEIGHTS": "freeze"}.get(kind, "lora")
    made = card(folder.name, fingerprint, method=method)
    if kind == "TRAINED_WEIGHTS":
        config = {"peft_type": kind, "format_version": 1}
        write_adapter(folder, changed_weights(model, ("model.layers.1.", "model.norm.")), config, made)
    else:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # peft takes biases for cut-off matrices
            save_adapter(random_adapter_of(model, kind, seed), "default", folder, made)
    return folder


def changed_weights(model: Any, beginnings: tuple[str, ...]) -> dict[str, Any]:
    """Changed copies of the base's weights whose names begin so, as freeze tuning makes them."""
    import torch

    generator = torch.Generator().manual_seed(3)
    return {
        name: tensor.detach() + torch.empty_like(tensor).normal_(std=0.2, generator=generator)
        for name, tensor in model.named_parameters()
        if name.startswith(beginnings)
    }


def random_adapter(model: Any, seed: int, **options: Any) -> Any:
    """A PeftModel over a twin whose one adapter, `default`, changes answers visibly."""
    import torch
    from peft import LoraConfig, get_peft_model

    settings = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "down_proj"], **options}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        peft_model = get_peft_model(make_twin(model), LoraConfig(task_type="CAUSAL_LM", **settings))
        with torch.no_grad():
            for name, tensor in peft_model.named_parameters():
                if "lora_A" in name or "lora_B" in name:
                    tensor.normal_(std=0.4)
    return peft_model.eval()


def save_random_adapter(model: Any, folder: Path, seed: int, fingerprint: str | None = None, **options: Any) -> Path:
    save_adapter(random_adapter(model, seed, **options), "default", folder, card(folder.name, fingerprint))
    return folder


def card(name: str, fingerprint: str | None = None, **values: Any) -> AdapterCard:
    known = {"base_name": "tiny", "created": now(), "dataset": "jokes.json", "rank": 4}
    metrics = AdapterMetrics(train_loss=1.5, eval_loss=1.75, best_step=7, steps=9)
    return AdapterCard(name=name, base_fingerprint=fingerprint, metrics=metrics, **(known | values))


def edit_json(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | values), "utf-8")
