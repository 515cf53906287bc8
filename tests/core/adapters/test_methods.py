from __future__ import annotations

from typing import Any

import pytest

from core.adapters.methods import lora_config, module_names, trainable_parameters
from core.errors import WorkbenchError
from core.models.twin import make_twin
from core.settings import MethodSettings
from tests.core.adapters.building import ALL


def test_the_modules_offered_are_the_linear_layers_without_the_head(tiny_model: Any) -> None:
    assert module_names(tiny_model) == ALL


def test_the_default_adapter_is_on_all_linear_layers_with_twice_the_rank_as_alpha(tiny_model: Any) -> None:
    config = lora_config(MethodSettings(), tiny_model)
    assert config.target_modules == set(ALL)
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (16, 32, 0.0, "none")


def test_a_persons_settings_reach_the_configuration(tiny_model: Any) -> None:
    settings = MethodSettings(rank=8, alpha=32.0, dropout=0.1, target_modules=("v_proj", "q_proj"))
    config = lora_config(settings, tiny_model)
    assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 32, 0.1)
    assert config.target_modules == {"q_proj", "v_proj"}


@pytest.mark.parametrize("targets", [("all-linear",), ("q_proj", "down_proj")])
def test_the_counted_parameters_are_those_that_peft_trains(tiny_model: Any, targets: tuple[str, ...]) -> None:
    from peft import get_peft_model

    settings = MethodSettings(rank=3, target_modules=targets)
    trained = get_peft_model(make_twin(tiny_model), lora_config(settings, tiny_model))
    assert trainable_parameters(settings, tiny_model) == trained.get_nb_trainable_parameters()[0]


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
    with pytest.raises(WorkbenchError) as caught:
        lora_config(settings, tiny_model)
    assert caught.value.key == key
    assert said in caught.value.describe()
    assert said in caught.value.describe("zh")
