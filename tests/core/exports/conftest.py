"""A data directory with the tiny model and one random adapter of each type that these tests ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.exports import agreement
from core.models.catalog import find_model, fingerprint
from core.workspace import Workspace
from tests.core.adapters.building import save_random_adapter_of

Adapted = Callable[[str], str]


@pytest.fixture
def place(workspace_with_tiny: Workspace) -> Workspace:
    return workspace_with_tiny


@pytest.fixture
def adapted(place: Workspace, tiny_model: Any) -> Adapted:
    """Makes an adapter of a type in `loras/`; gives its name."""

    def make(kind: str) -> str:
        name = kind.replace("/", "-").lower()
        save_random_adapter_of(tiny_model, kind, place.adapters / name, fingerprint(find_model(place, "tiny")))
        return name

    return make


@pytest.fixture
def few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few tokens of an answer show as much of the tiny model as many; nor is memory given back between tests."""
    monkeypatch.setattr(agreement, "ANSWER_TOKENS", 6)
    monkeypatch.setattr(agreement, "QUESTIONS", agreement.QUESTIONS[:2])
    monkeypatch.setattr("core.models.memory.release", lambda: None)


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    folder = tmp_path / "outbox"
    folder.mkdir()
    return folder


def greedy(model: Any, tokenizer: Any, tokens: int = 8) -> str:
    """A greedy answer by transformers alone."""
    import torch

    ids = torch.tensor([tokenizer("user\nWho are you?\nassistant\n").input_ids])
    with torch.no_grad():
        made = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens
        )
    return str(tokenizer.decode(made[0, ids.shape[1] :]))
