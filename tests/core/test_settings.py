"""Every parameter refuses what is no sensible value, and says which, its range and what was seen."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import core.settings
from core.errors import WorkbenchError
from core.settings import (
    LoadSettings,
    MethodSettings,
    SamplingSettings,
    SettingField,
    Settings,
    TrainingSettings,
    fields_of,
)

MODELS: list[type[Settings]] = [LoadSettings, MethodSettings, TrainingSettings, SamplingSettings]
FIELDS = [(model, field) for model in MODELS for field in fields_of(model).values()]
NUMBERS = [(model, field) for model, field in FIELDS if field.minimum is not None]
NO_NUMBERS: list[object] = ["abc", "", "1e-4 ", "8", True, False, [1], {}, (), float("nan"), math.inf, -math.inf, b"1"]


def _ids(value: object) -> str | None:
    return value.name if isinstance(value, SettingField) else None


def test_every_model_of_settings_is_in_these_tables() -> None:
    declared = {m for m in vars(core.settings).values() if isinstance(m, type) and issubclass(m, Settings)} - {Settings}
    assert declared == set(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_the_defaults_are_allowed(model: type[Settings]) -> None:
    assert model.checked({}) == model()
    assert model.checked(model().model_dump()) == model()


@pytest.mark.parametrize(("model", "field"), NUMBERS, ids=_ids)
@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_refused_and_shown(model: type[Settings], field: SettingField, value: object) -> None:
    shown = _refused(model, field, value)
    assert field.name in shown
    assert repr(value)[:20] in shown


@pytest.mark.parametrize(("model", "field"), NUMBERS, ids=_ids)
@pytest.mark.parametrize("value", [-1, -1e-9, 1e308, -1e308, 10**400, 2**64])
def test_a_number_out_of_range_is_refused_with_the_range(
    model: type[Settings], field: SettingField, value: float
) -> None:
    assert field.maximum is not None
    highest = f"{field.maximum:g}" if field.maximum < 100_000 else f"{field.maximum:,.0f}"  # all its digits
    assert f"≤ {highest}" in _refused(model, field, value)


@pytest.mark.parametrize(("model", "field"), NUMBERS, ids=_ids)
def test_the_bounds_themselves_are_as_declared(model: type[Settings], field: SettingField) -> None:
    assert field.minimum is not None
    assert field.maximum is not None
    whole = _is_whole(model, field)
    assert _accepts(model, field, _typed(field.maximum, whole))
    assert not _accepts(model, field, _typed(field.maximum + 1, whole))
    assert _accepts(model, field, _typed(field.minimum, whole)) != field.above_minimum
    assert not _accepts(model, field, _typed(field.minimum - 1, whole))


@pytest.mark.parametrize(("model", "field"), NUMBERS, ids=_ids)
def test_nothing_is_a_value_only_where_the_field_can_be_automatic(model: type[Settings], field: SettingField) -> None:
    assert _accepts(model, field, None) == field.automatic


@pytest.mark.parametrize(("model", "field"), NUMBERS, ids=_ids)
def test_a_fraction_is_refused_where_only_whole_numbers_make_sense(model: type[Settings], field: SettingField) -> None:
    if _is_whole(model, field):
        _refused(model, field, (field.minimum or 0) + 1.5)


@pytest.mark.parametrize(("model", "field"), FIELDS, ids=_ids)
def test_usual_values_lie_within_the_range(model: type[Settings], field: SettingField) -> None:
    if field.scale.usual:
        low, high = field.scale.usual
        assert low < high
        whole = _is_whole(model, field)
        assert _accepts(model, field, _typed(low, whole)) or field.above_minimum
        assert _accepts(model, field, _typed(high, whole))


@pytest.mark.parametrize(("model", "field"), [(m, f) for m, f in FIELDS if f.choices], ids=_ids)
@pytest.mark.parametrize("value", ["", "AUTO", "fp64", 16, None, True, ["auto"]], ids=repr)
def test_a_choice_is_refused_with_the_choices(model: type[Settings], field: SettingField, value: object) -> None:
    shown = _refused(model, field, value)
    assert all(choice in shown for choice in field.choices)
    for choice in field.choices:
        assert _accepts(model, field, choice)


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        (MethodSettings, "target_modules", "q_proj"),
        (MethodSettings, "target_modules", ["q_proj", 1]),
        (MethodSettings, "target_modules", None),
        (SamplingSettings, "stop", "END"),
        (SamplingSettings, "stop", [None]),
        (SamplingSettings, "do_sample", 1),
        (SamplingSettings, "do_sample", "yes"),
        (TrainingSettings, "activation_checkpointing", "no"),
    ],
)
def test_a_list_or_a_switch_of_the_wrong_kind_is_refused(model: type[Settings], name: str, value: object) -> None:
    _refused(model, fields_of(model)[name], value)


def test_a_list_is_as_good_as_a_tuple() -> None:
    assert MethodSettings.checked({"target_modules": ["q_proj", "v_proj"]}).target_modules == ("q_proj", "v_proj")
    assert SamplingSettings.checked({"stop": ["END"]}).stop == ("END",)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("key", ["learning-rate", "Rank", "__class__", "model_config", "share", "allowed_paths", ""])
def test_an_unknown_setting_is_refused_with_those_there_are(model: type[Settings], key: str) -> None:
    with pytest.raises(WorkbenchError) as refused:
        model.checked({key: 1})
    assert refused.value.key == "H01_unknown_setting"
    assert all(name in refused.value.describe("en") for name in fields_of(model))


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(WorkbenchError) as refused:
        TrainingSettings.checked({"epochs": -1, "learning_rate": "abc", "seed": 2**64, "colour": "red"})
    assert {problem.place.field for problem in refused.value.problems} == {"epochs", "learning_rate", "seed", "colour"}


@pytest.mark.parametrize("model", MODELS)
def test_settings_cannot_be_changed_after_they_were_checked(model: type[Settings]) -> None:
    name = next(iter(fields_of(model)))
    with pytest.raises(ValueError, match="frozen"):
        setattr(model(), name, None)


@pytest.mark.parametrize(("model", "field"), FIELDS, ids=_ids)
def test_a_setting_survives_a_yaml_file(model: type[Settings], field: SettingField) -> None:
    values = {field.name: model().model_dump(mode="json")[field.name]}
    assert model.checked(yaml.safe_load(yaml.safe_dump(values))) == model()


@hypothesis_settings(deadline=None)
@given(
    name=st.sampled_from([(model, name) for model in MODELS for name in fields_of(model)]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    ),
)
def test_any_value_is_either_taken_or_refused_in_words(name: tuple[type[Settings], str], value: Any) -> None:
    model, field = name
    try:
        model.checked({field: value})
    except WorkbenchError as refused:
        for lang in _languages():
            shown = refused.describe(lang)
            assert shown.startswith("H01 · ")
            assert len(shown) < 2000
            shown.encode("utf-8")


def _languages() -> tuple[Literal["en"], Literal["zh"]]:
    return ("en", "zh")


def _refused(model: type[Settings], field: SettingField, value: object) -> str:
    """What is said, in English; both languages must have words."""
    with pytest.raises(WorkbenchError) as refused:
        model.checked({field.name: value})
    assert refused.value.code == "H01"
    assert refused.value.problems[0].place.field.split(".")[0] == field.name
    refused.value.describe("zh")
    return refused.value.describe("en")


def _accepts(model: type[Settings], field: SettingField, value: object) -> bool:
    try:
        return bool(model.checked({field.name: value}) is not None)
    except WorkbenchError:
        return False


def _is_whole(model: type[Settings], field: SettingField) -> bool:
    return "int" in str(model.model_fields[field.name].annotation)


def _typed(value: float, whole: bool) -> float:
    return int(value) if whole else float(value)
