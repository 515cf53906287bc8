"""The tiny model loaded in fp32, and three random adapters for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.chat.engine import Engine
from core.models.catalog import inspect
from core.models.loader import LoadedModel, load
from core.settings import LoadSettings
from tests.core.adapters.building import save_random_adapter


@pytest.fixture(scope="session")
def loaded(tiny_model_dir: Path) -> LoadedModel:
    return load(inspect(tiny_model_dir), LoadSettings(precision="fp32"))


@pytest.fixture(scope="session")
def adapters(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders: a, b, c of LoRA type (one of them rsLoRA on other layers), and a DoRA adapter d."""
    root = tmp_path_factory.mktemp("loras")
    options = {
        "a": {},
        "b": {"r": 8, "target_modules": ["q_proj", "gate_proj"], "lora_dropout": 0.1},
        "c": {"use_rslora": True, "target_modules": ["o_proj"], "rank_pattern": {"layers.1.self_attn.o_proj": 2}},
        "d": {"use_dora": True, "target_modules": ["v_proj", "down_proj"]},
    }
    return {
        name: save_random_adapter(loaded.model, root / name, seed, loaded.fingerprint, **options[name])
        for seed, name in enumerate(options)
    }


@pytest.fixture
def engine(loaded: LoadedModel) -> Iterator[Engine]:
    made = Engine(loaded)
    yield made
    made.close()
