"""Combinations: exactly the sum of their parts, in peft's own words, whatever ranks, scales and biases these have."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from core.adapters.base_shapes import shapes_of
from core.adapters.card import read_card
from core.adapters.combine import MAX_PARTS, check_parts, write_combination
from core.adapters.validity import AdapterFiles, judge
from core.errors import WorkbenchError
from core.models.twin import make_twin
from tests.core.adapters.building import save_random_adapter, save_random_adapter_of

IDS = torch.tensor([[5, 9, 40, 300, 17, 23]])
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "wide": {"r": 8, "lora_alpha": 4, "target_modules": ["q_proj", "gate_proj"]},
    "rslora": {"use_rslora": True, "target_modules": ["o_proj", "v_proj"], "rank_pattern": {"o_proj": 2}},
    "scaled": {"alpha_pattern": {"v_proj": 3.0}, "target_modules": ["v_proj", "down_proj"]},
    "biased": {"lora_bias": True, "target_modules": ["down_proj"]},
}
STRENGTHS = {"plain": 0.5, "wide": 1.5, "rslora": 1.0, "scaled": 2.0, "biased": 0.7}


@pytest.fixture
def folders(tiny_model: Any, tmp_path: Path) -> dict[str, Path]:
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # peft takes biases for cut-off matrices
        return {
            name: save_random_adapter(tiny_model, tmp_path / name, seed, **options)
            for seed, (name, options) in enumerate(VARIANTS.items())
        }


def judged(model: Any, folder: Path) -> AdapterFiles:
    files = judge(folder, shapes_of(model), "print", "tiny")
    assert not files.errors
    return files


def combined(model: Any, folders: dict[str, Path], target: Path) -> Path:
    parts = [(judged(model, folder), STRENGTHS[name]) for name, folder in folders.items()]
    write_combination(parts, shapes_of(model), "tiny", "print", target)
    return target


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits[0]
    return found


def test_a_combination_adds_what_its_parts_add_together(
    tiny_model: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    """fp32, against peft with all parts active at once, each scaled by its strength."""
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    first, *others = folders
    together = PeftModel.from_pretrained(make_twin(tiny_model), folders[first], adapter_name=first)
    for name in others:
        together.load_adapter(folders[name], name)
    together.base_model.set_adapter(list(folders))
    for module in (each for each in together.modules() if isinstance(each, LoraLayer)):
        for name in module.scaling:
            module.scaling[name] *= STRENGTHS[name]
    expected = logits(together.eval())
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        plain = PeftModel.from_pretrained(make_twin(tiny_model), combined(tiny_model, folders, tmp_path / "all")).eval()
    torch.testing.assert_close(logits(plain), expected, rtol=1e-4, atol=1e-4)
    assert (expected - logits(tiny_model)).abs().max() > 0.1, "parts that change nothing prove nothing"


def test_its_card_says_what_it_was_made_of_and_its_folder_is_sound(
    tiny_model: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    target = combined(tiny_model, folders, tmp_path / "all")
    files, card = judged(tiny_model, target), read_card(target)
    assert card and files.fields
    assert (card.name, card.base_name, card.base_fingerprint, card.method) == ("all", "tiny", "print", "lora")
    assert {part.adapter: part.strength for part in card.made_of} == STRENGTHS
    assert all(len(part.sha256) == 64 for part in card.made_of)
    assert card.rank == files.fields.rank == 4 + 4 + 4  # down_proj: plain, scaled and biased
    assert files.fields.shares_batch and files.problems == ()


@pytest.mark.parametrize("kind", ["LORA/dora", "LOHA", "IA3", "PROMPT_TUNING", "TRAINED_WEIGHTS"])
def test_what_is_no_sum_of_products_is_refused_by_name(
    tiny_model: Any, folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    other = judged(tiny_model, save_random_adapter_of(tiny_model, kind, tmp_path / "other"))
    with pytest.raises(WorkbenchError) as caught:
        write_combination(
            [(judged(tiny_model, folders["plain"]), 1.0), (other, 1.0)],
            shapes_of(tiny_model),
            "tiny",
            "print",
            tmp_path / "all",
        )
    assert caught.value.key == "M18_not_combinable"
    assert "other" in caught.value.describe("en") and caught.value.describe("zh")
    assert not (tmp_path / "all").exists()


def test_ranks_that_are_too_many_together_are_refused(
    tiny_model: Any, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.adapters.combine.MAX_RANK", 11)
    with pytest.raises(WorkbenchError) as caught:
        combined(tiny_model, folders, tmp_path / "all")
    assert caught.value.key == "M18_combination_too_large" and caught.value.describe("zh")


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [("a", 1.0)],
        [("a", 1.0), ("a", 0.5)],
        [(str(number), 1.0) for number in range(MAX_PARTS + 1)],
        [("a", 1.0), ("b", 2.1)],
        [("a", -0.1), ("b", 1.0)],
        [("a", float("nan")), ("b", 1.0)],
    ],
)
def test_what_is_no_combination_is_refused(parts: list[tuple[str, float]]) -> None:
    with pytest.raises(WorkbenchError, match="H01"):
        check_parts(parts)
