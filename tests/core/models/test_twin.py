"""Twins share every weight and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.models.catalog import inspect
from core.models.loader import load
from core.models.twin import make_twin
from core.settings import LoadSettings

IDS = torch.tensor([[5, 17, 300, 41, 8]])


@pytest.fixture(params=["fp32", "nf4", "int8"])
def pristine(request: pytest.FixtureRequest, tiny_model_dir: Any) -> Any:
    return load(inspect(tiny_model_dir), LoadSettings(precision=request.param)).model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits.clone()


def reachable_tensors(model: Any) -> dict[int, int]:
    """Storage address → bytes of every tensor that hangs on the module tree, in whatever attribute."""
    found: dict[int, int] = {}
    seen: set[int] = set()

    def visit(value: object, depth: int = 0) -> None:
        if id(value) in seen or depth > 12:
            return
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            found[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
            visit(vars(value), depth + 1)
        elif isinstance(value, dict):
            for inner in value.values():
                visit(inner, depth + 1)
        elif isinstance(value, (list, tuple)):
            for inner in value:
                visit(inner, depth + 1)
        elif hasattr(value, "__dict__") and not isinstance(value, type):
            visit(vars(value), depth + 1)

    for module in model.modules():
        visit(vars(module))
    return found


def test_a_twin_brings_no_weights_of_its_own(pristine: Any) -> None:
    before = reachable_tensors(pristine)
    extra = {address: size for address, size in reachable_tensors(make_twin(pristine)).items() if address not in before}
    # A rotary embedding keeps a plain tensor of a few bytes a tree; nothing larger may be new.
    assert sum(extra.values()) < 1024
    assert sum(before.values()) > 100_000


def test_a_twin_shares_every_parameter_and_buffer(pristine: Any) -> None:
    twin = make_twin(pristine)
    for (name, mine), (_, other) in zip(pristine.named_parameters(), twin.named_parameters(), strict=True):
        assert mine is other, name
    for (name, mine), (_, other) in zip(pristine.named_buffers(), twin.named_buffers(), strict=True):
        assert (mine is other) == (not name.endswith("inv_freq")), name
    assert twin.get_input_embeddings() is not pristine.get_input_embeddings()


def test_a_long_row_in_a_twin_moves_no_positions_elsewhere() -> None:
    """`longrope` writes the frequencies of its positions in place, and before each forward."""
    from tests.core.models.test_generation import random_model

    pristine = random_model("phi3")
    before = pristine.model.rotary_emb.inv_freq.clone()
    with torch.no_grad():
        make_twin(pristine)(input_ids=torch.arange(40).unsqueeze(0))
    assert torch.equal(pristine.model.rotary_emb.inv_freq, before)


def test_a_twin_answers_like_the_tree_it_was_made_of(pristine: Any) -> None:
    assert torch.equal(logits(make_twin(pristine)), logits(pristine))


def test_a_twin_has_a_config_and_a_training_flag_of_its_own(tiny_model: Any) -> None:
    twin = make_twin(tiny_model)
    twin.config.use_cache = False
    twin.train()
    assert tiny_model.config.use_cache
    assert not tiny_model.training


def test_tied_weights_stay_tied(tiny_model: Any) -> None:
    twin = make_twin(tiny_model)
    assert twin.lm_head.weight is twin.model.embed_tokens.weight


def test_training_a_lora_on_a_twin_leaves_the_pristine_tree_bit_identical(pristine: Any) -> None:
    from peft import LoraConfig, get_peft_model

    before = logits(pristine)
    peft_model = get_peft_model(
        make_twin(pristine), LoraConfig(r=4, target_modules="all-linear", init_lora_weights="gaussian")
    )
    peft_model.train()
    trained = [parameter for parameter in peft_model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    for _ in range(3):
        peft_model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert not torch.equal(logits(peft_model), before), "the adapter must have learned something"
    assert torch.equal(logits(pristine), before)
    assert not any("lora" in name for name, _ in pristine.named_modules())
