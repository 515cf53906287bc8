"""A sweep: a typed list of values, one run for every combination, every wrong value named."""

from __future__ import annotations

import math
from typing import Any

import pytest

from core.errors import WorkbenchError
from core.training.queue import MAX_QUEUED
from core.training.sweep import parse_values, sweepable, swept
from core.workspace import name_problem
from tests.core.training.conftest import spec_of


@pytest.mark.parametrize(
    ("path", "typed", "values"),
    [
        ("training.learning_rate", "1e-4, 2e-4,5e-4", (1e-4, 2e-4, 5e-4)),
        ("training.learning_rate", "1e-4 2e-4\n5e-4,", (1e-4, 2e-4, 5e-4)),
        ("method.rank", "4，8、16；32", (4, 8, 16, 32)),
        ("training.packing", "on, off", (True, False)),
        ("training.packing", "TRUE false", (True, False)),
        ("method.method", "lora, dora", ("lora", "dora")),
        ("training.epochs", "1, 2.5", (1, 2.5)),
        ("training.seed", "7", (7,)),
        ("method.method", "LoRA, LoRA+，Prompt tuning;全参数微调 dora", ("lora", "loraplus", "prompt", "full", "dora")),
        ("training.scheduler", "Cosine, linear: down to zero in a line", ("cosine", "linear")),
        ("training.packing", "开、Off", (True, False)),
    ],
)
def test_a_list_of_values_is_read(path: str, typed: str, values: tuple[Any, ...]) -> None:
    found = parse_values(path, typed)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("path", "typed", "keys"),
    [
        ("method.rank", "4, 0, 8, -1", ["H01_out_of_range", "H01_out_of_range"]),
        ("method.rank", "4.5", ["H01_not_whole"]),
        ("training.learning_rate", "nan, inf, 1e-4", ["H01_out_of_range", "H01_out_of_range"]),
        ("training.learning_rate", "fast", ["H01_out_of_range"]),
        ("training.packing", "perhaps", ["H01_wrong_type"]),
        ("method.method", "lora, magic", ["H01_not_a_choice"]),
        ("method.rank", " , ", ["H01_no_values"]),
        ("method.rank", "4, 8, 4", ["H01_value_twice"]),
        ("method.target_modules", "q_proj", ["H01_not_sweepable"]),
        ("name", "a, b", ["H01_not_sweepable"]),
        ("training.__class__", "1", ["H01_not_sweepable"]),
        ("data.sample", "1", ["H01_not_sweepable"]),
    ],
)
def test_every_wrong_value_is_named(path: str, typed: str, keys: list[str]) -> None:
    with pytest.raises(WorkbenchError) as caught:
        parse_values(path, typed)
    assert [problem.key for problem in caught.value.problems] == keys
    for problem in caught.value.problems:
        assert problem.describe("zh").what and problem.describe("en").fix


def test_every_combination_is_a_run_named_after_its_values() -> None:
    base = spec_of(name="colors", training={"seed": 7})
    specs = swept(base, {"training.learning_rate": [1e-4, 2e-5], "method.rank": [4, 8]})
    assert [spec.name for spec in specs] == [
        "colors-lr0.0001-r4",
        "colors-lr0.0001-r8",
        "colors-lr2e-05-r4",
        "colors-lr2e-05-r8",
    ]
    assert [(spec.training.learning_rate, spec.method.rank) for spec in specs][1] == (1e-4, 8)
    back = specs[0].model_copy(update={"name": "colors", "method": base.method, "training": base.training})
    assert back == base, "nothing else has changed"
    names = [spec.name for spec in swept(base, {"training.packing": [True, False], "method.method": ["lora", "dora"]})]
    assert names == [
        "colors-packing-on-lora",
        "colors-packing-on-dora",
        "colors-packing-off-lora",
        "colors-packing-off-dora",
    ]


@pytest.mark.parametrize(
    ("path", "values", "names"),
    [
        ("training.seed", [20240101, 20240102], ["colors-s20240101", "colors-s20240102"]),
        ("training.learning_rate", [0.0001234561, 0.0001234562], ["colors-lr0.0001234561", "colors-lr0.0001234562"]),
        ("training.max_grad_norm", [1e6, 999999.9], ["colors-mgn1000000", "colors-mgn999999.9"]),
        ("training.epochs", [1, 2.0, 2.5], ["colors-e1", "colors-e2", "colors-e2.5"]),
    ],
)
def test_values_that_differ_make_names_that_differ_and_are_allowed(
    path: str, values: list[float], names: list[str]
) -> None:
    assert [spec.name for spec in swept(spec_of(name="colors"), {path: values})] == names
    assert not any(map(name_problem, names))


@pytest.mark.parametrize(
    ("path", "typed", "said"),
    [
        ("method.rank", "4, 8, 8", "8"),
        ("training.packing", "on, true", "on = true"),
        ("training.learning_rate", "1e-4, 0.0001", "1e-4 = 0.0001"),
    ],
)
def test_a_value_that_is_there_twice_is_named_as_it_was_typed(path: str, typed: str, said: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        parse_values(path, typed)
    assert (caught.value.key, caught.value.problems[0].values["value"]) == ("H01_value_twice", said)


def test_a_long_name_keeps_its_values() -> None:
    (spec,) = swept(spec_of(name="n" * 64), {"method.rank": [8]})
    assert len(spec.name) == 64 and spec.name.endswith("nn-r8")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({}, "H01"),
        ({"method.rank": [4], "training.seed": [1], "training.epochs": [1.0]}, "H01"),
        ({"method.rank": []}, "H01"),
        ({"method.rank": [4, True]}, "H01"),
        ({"method.rank": ["8"]}, "H01"),
        ({"training.seed": list(range(MAX_QUEUED + 1))}, "A27"),
        ({"training.seed": list(range(13)), "method.rank": [1, 2, 3, 4, 5]}, "A27"),
    ],
)
def test_what_makes_no_sweep_is_refused(values: dict[str, list[Any]], code: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        swept(spec_of(), values)
    assert caught.value.code == code


def test_what_can_be_swept_has_a_name() -> None:
    assert {"training.learning_rate", "method.rank", "method.method", "training.packing"} <= sweepable().keys()
    assert not {"method.target_modules", "method.layers", "training.trackers"} & sweepable().keys()


@pytest.mark.parametrize(
    ("method", "values", "unused"),
    [
        ("ia3", {"method.rank": [4, 8]}, [("method.rank", "ia3")]),
        ("lora", {"method.virtual_tokens": [8, 16], "method.rank": [4]}, [("method.virtual_tokens", "lora")]),
        (
            "lora",
            {"method.method": ["lora", "prompt", "full"], "method.rank": [4, 8]},
            [("method.rank", "prompt"), ("method.rank", "full")],
        ),
        ("lora", {"method.rank": [4, 8], "training.learning_rate": [1e-4]}, []),
        ("ia3", {"method.method": ["lora", "dora"], "method.rank": [4, 8]}, []),
    ],
)
def test_a_setting_that_the_method_does_not_use_is_not_swept(
    method: str, values: dict[str, Any], unused: list[Any]
) -> None:
    spec = spec_of(method={"method": method})
    if not unused:
        assert len(swept(spec, values)) == math.prod(map(len, values.values()))
        return
    with pytest.raises(WorkbenchError) as caught:
        swept(spec, values)
    said = [(problem.values["field"], problem.values["method"]) for problem in caught.value.problems]
    assert (caught.value.key, said) == ("H01_swept_unused", unused)
    assert "None" not in caught.value.describe("zh")
