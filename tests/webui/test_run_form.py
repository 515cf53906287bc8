"""A run's form, its YAML and its spec are one thing: what goes in comes out, whichever face it went in by."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.adapters.method_facts import METHODS
from core.data.options import DataOptions
from core.errors import WorkbenchError
from core.settings import Method, MethodSettings, Settings, TrainingSettings, fields_of
from core.training.spec import RunSpec, spec_text
from tests.webui.run_scene import form_sent
from webui import reuse_panel, run_form
from webui.fields import numbers_from, numbers_text
from webui.run_form import FORM, METHOD, SETTINGS, form_values, owner, spec_from

LINES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)
NAMES = st.lists(st.sampled_from(["q_proj", "v_proj", "attention", "层"]), min_size=1, max_size=3, unique=True).map(
    tuple
)
LISTS = {
    "layers": st.lists(st.integers(0, 60), max_size=12).map(tuple),
    "target_modules": NAMES,
    "trackers": NAMES,
}


def of(model: type[Settings]) -> st.SearchStrategy[Any]:
    """Any settings that the model allows."""
    fields = {name: _of(spec) for name, spec in fields_of(model).items()}
    return st.fixed_dictionaries(fields).map(model.checked)


def _of(spec: Any) -> st.SearchStrategy[Any]:
    if spec.name in LISTS:
        return LISTS[spec.name]
    if spec.choices:
        kept: st.SearchStrategy[Any] = st.sampled_from(spec.choices)
    elif spec.boolean:
        kept = st.booleans()
    elif "int" in str(_annotation(spec)):
        kept = st.integers(int(spec.minimum), int(min(spec.maximum, 2**40)))
    else:
        bounds = {"exclude_min": spec.above_minimum, "allow_subnormal": False}
        kept = st.floats(spec.minimum, spec.maximum, **bounds)
    return st.none() | kept if spec.automatic else kept


def _annotation(spec: Any) -> Any:
    return (
        {"MethodSettings": MethodSettings, "TrainingSettings": TrainingSettings}[spec.model]
        .model_fields[spec.name]
        .annotation
    )


SPECS = st.builds(
    RunSpec,
    name=LINES,
    base=LINES,
    dataset=LINES,
    method=of(MethodSettings),
    training=of(TrainingSettings),
    start_from=st.none() | st.builds(dict, adapter=LINES),
    sample_prompts=st.lists(LINES | st.just("two\nlines"), max_size=3).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(SPECS)
def test_a_spec_that_fills_the_form_comes_out_of_it_and_of_its_yaml_the_same(spec: RunSpec) -> None:
    assume(spec.method.alpha != 2 * spec.method.rank)
    out = spec_from(spec.base, spec.load.precision, spec.data, form_values(spec))
    assert out == spec
    assert reuse_panel.written_spec(spec_text(out)) == spec


def test_an_alpha_of_twice_the_rank_goes_on_following_it() -> None:
    spec = RunSpec(name="a", base="b", dataset="c", method=MethodSettings(rank=8, alpha=16.0))
    assert spec_from("b", "auto", spec.data, form_values(spec)).method.alpha is None


def test_every_setting_is_in_one_group() -> None:
    declared = {**fields_of(MethodSettings), **fields_of(TrainingSettings)}
    assert sorted(SETTINGS) == sorted(declared)
    assert {name for name in SETTINGS if owner(name) is MethodSettings} == {*METHOD}


def test_every_setting_that_a_method_uses_is_one_of_the_forms() -> None:
    assert METHODS.keys() == set(get_args(Method))
    assert {name for facts in METHODS.values() for name in facts.settings} <= {*METHOD}


@pytest.mark.parametrize(
    ("typed", "numbers"),
    [
        ("", []),
        (" 0-5, 11 ", [0, 1, 2, 3, 4, 5, 11]),
        ("3 1、2，0", [3, 1, 2, 0]),
        ("5-3", []),
        ("0–2", [0, 1, 2]),
    ],
)
def test_layers_are_typed_as_numbers_and_ranges(typed: str, numbers: list[int]) -> None:
    assert numbers_from(typed) == numbers
    assert numbers_from(numbers_text(numbers)) == numbers


@pytest.mark.parametrize("typed", ["a", "-1", "1-", "0.5", "99999", "1;2", 7, ["0"], True])
def test_what_is_no_list_of_layers_is_refused_with_its_field(typed: Any) -> None:
    with pytest.raises(WorkbenchError) as refused:
        spec_from("m", "bf16", DataOptions(), form_sent(layers=typed, rank=0))
    layers, rank = sorted(refused.value.problems, key=lambda problem: problem.place.field)
    assert (layers.key, layers.place.field[:13]) == ("H01_not_layer_numbers", "method.layers")
    assert rank.place.field == "method.rank"


def test_what_is_empty_stays_automatic() -> None:
    typed = form_sent(rank=8.0, learning_rate=1e-3, sample_prompts="Who?\n\n Why? ", activation_checkpointing="on")
    spec = spec_from("m", "bf16", DataOptions(placeholders={"name": "Momo"}), typed)
    assert (spec.name, spec.base, spec.dataset, spec.load.precision) == ("first", "m", "rows.jsonl", "bf16")
    assert (spec.method.rank, spec.training.learning_rate, spec.training.epochs) == (8, 1e-3, None)
    assert spec.training.activation_checkpointing is True
    assert spec.sample_prompts == ("Who?", "Why?")
    assert spec.data.placeholders == {"name": "Momo"}
    assert spec.start_from is None


def test_every_wrong_value_of_the_form_is_named_at_once() -> None:
    wrong = {"rank": 0, "learning_rate": float("nan"), "epochs": True, "seed": "abc", "layers": "x", "trackers": 5}
    with pytest.raises(WorkbenchError) as refused:
        spec_from("m", "bf16", DataOptions(), form_sent(**wrong))
    fields = {problem.place.field for problem in refused.value.problems}
    assert {field.split(".")[1] for field in fields} >= set(wrong)
    assert refused.value.code == "H01"


@pytest.mark.parametrize("name", FORM[: run_form.NOT_SETTINGS])
def test_what_is_no_text_is_refused(name: str) -> None:
    with pytest.raises(WorkbenchError, match="H01"):
        spec_from("m", "bf16", DataOptions(), form_sent(**{name: ["x"]}))


@pytest.mark.parametrize("written", ["", "[1, 2]", "name: a\nbase: b\ndataset: c\nrank: 8", "a: &a [*a]", "name: ["])
def test_a_yaml_that_is_no_spec_is_refused(written: str) -> None:
    with pytest.raises(WorkbenchError, match="H01"):
        reuse_panel.written_spec(written)
