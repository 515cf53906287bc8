from __future__ import annotations

from typing import Any

import pytest

from core.adapters.methods import (
    adapted_shapes,
    method_problems,
    module_names,
    oft_block,
    target_names,
)
from core.adapters.peft_configs import peft_config
from core.errors import WorkbenchError
from core.i18n import LANGUAGES
from core.settings import MethodSettings
from tests.core.adapters.building import ALL


def test_the_modules_offered_are_the_linear_layers_without_the_head(tiny_model: Any) -> None:
    assert module_names(tiny_model) == ALL


def test_the_default_adapter_is_on_all_linear_layers_with_twice_the_rank_as_alpha(tiny_model: Any) -> None:
    config = peft_config(MethodSettings(), tiny_model)
    assert config.target_modules == set(ALL)
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (16, 32, 0.0, "none")


def test_a_persons_settings_reach_the_configuration(tiny_model: Any) -> None:
    settings = MethodSettings(rank=8, alpha=32.0, dropout=0.1, target_modules=("v_proj", "q_proj"))
    config = peft_config(settings, tiny_model)
    assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 32, 0.1)
    assert config.target_modules == {"q_proj", "v_proj"}


def test_layers_can_be_named_by_the_part_of_the_model_they_belong_to(tiny_model: Any) -> None:
    parts = {part: target_names(MethodSettings(target_modules=(part,)), tiny_model) for part in ("attention", "mlp")}
    assert parts == {"attention": ALL[:4], "mlp": ALL[4:]}
    assert target_names(MethodSettings(target_modules=("mlp", "q_proj")), tiny_model) == ["q_proj", *ALL[4:]]


def test_a_name_that_two_parts_share_is_told_apart() -> None:
    """In GPT-2 both the attention and the feed-forward part end in a `c_proj`."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=32, n_embd=8, n_layer=1, n_head=2, n_positions=8))
    assert target_names(MethodSettings(target_modules=("mlp",)), model) == ["c_fc", "mlp.c_proj"]
    shapes = adapted_shapes(MethodSettings(target_modules=("mlp",)), model)
    assert shapes == {"transformer.h.0.mlp.c_fc": (32, 8), "transformer.h.0.mlp.c_proj": (8, 32)}


def test_oft_takes_the_largest_blocks_that_divide_all_its_layers() -> None:
    assert oft_block({"a": (64, 576), "b": (64, 1536)}) == 32
    assert oft_block({"a": (64, 100), "b": (64, 60)}) == 20


@pytest.mark.parametrize(
    ("settings", "key", "said"),
    [
        (MethodSettings(target_modules=("q_proj", "W_pack")), "H06_unknown_target", "gate_proj"),
        (MethodSettings(target_modules=(".*",)), "H06_unknown_target", "all-linear"),
        (MethodSettings(target_modules=("lm_head",)), "H06_unknown_target", "lm_head"),
        (MethodSettings(target_modules=()), "H06_no_target", "q_proj"),
        (MethodSettings(rank=65), "H05_rank_too_large", "64"),
    ],
)
def test_settings_that_the_model_cannot_have_are_refused(
    tiny_model: Any, settings: MethodSettings, key: str, said: str
) -> None:
    problems = method_problems(settings, tiny_model, "fp32")
    assert [problem.key for problem in problems] == [key]
    for lang in LANGUAGES:
        assert said in WorkbenchError(problems).describe(lang)
