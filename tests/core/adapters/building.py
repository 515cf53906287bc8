"""Adapter folders for tests: random LoRA weights over a tiny base, saved the way the workbench saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.adapters.card import AdapterCard, AdapterMetrics
from core.adapters.store import save_adapter
from core.models.twin import make_twin
from core.workspace import now

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


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
