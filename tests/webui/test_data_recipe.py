"""The form of the data part and the recipe it stands for: each becomes the other without a loss."""

from __future__ import annotations

from typing import Any

import pytest

from core.data.options import DataOptions, MixIn, RowEdit
from core.errors import WorkbenchError
from webui.data_recipe import FORM, UNITS, form_values, mapped, recipe_from

PATTERNS = {"mine": {"a,b": "%a%%b%"}}
FULL = DataOptions(
    encoding="gb18030",
    sheet="Sheet 2",
    format="patterns",
    patterns=PATTERNS["mine"],
    placeholders={"name": "Momo", "seventh": "kept"},
    system_prompt="Be kind.",
    skip_bad_rows=True,
    fixes=("trim_text", "drop_duplicates"),
    edits=(RowEdit(row=3, messages=None),),
    min_characters=2,
    max_characters=2000,
    take=50,
    take_at_random=True,
    shuffle=True,
    seed=7,
    mix=(MixIn(dataset="a.jsonl", share=0.25), MixIn(dataset="b.jsonl")),
    validation_dataset="c.jsonl",
    answers="last",
    train_prompt=True,
    thinking="drop",
    text_overlap=16,
    text_separator="\n\n\n",
)


def whole_form(recipe: DataOptions = DataOptions(), names: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    """The form's values as a page holds them for a recipe, some of them changed."""
    form = {
        **form_values(recipe, names, PATTERNS),
        **{name.replace("__", "-"): value for name, value in changes.items()},
    }
    assert set(form) == set(FORM)
    return form


@pytest.mark.parametrize("recipe", [DataOptions(), FULL], ids=["plain", "full"])
def test_a_recipe_survives_the_form(recipe: DataOptions) -> None:
    assert recipe_from(recipe, whole_form(recipe, ("name",)), PATTERNS) == recipe


def test_a_change_of_the_form_changes_the_recipe_and_nothing_beside_the_form() -> None:
    changed = recipe_from(FULL, whole_form(FULL, ("name",), fix__trim_text=False, placeholder__0=""), PATTERNS)
    assert changed.fixes == ("drop_duplicates",)
    assert changed.placeholders == {"seventh": "kept"}
    assert changed.edits == FULL.edits


def test_another_format_takes_the_mapping_with_it() -> None:
    kept = mapped(DataOptions(), ["ask", "id", "say"], ["user", "", "assistant"])
    assert (kept.format, kept.mapping) == ("mapped", {"ask": "user", "say": "assistant"})
    assert recipe_from(kept, whole_form(kept), PATTERNS) == kept
    assert recipe_from(kept, whole_form(kept, format="auto"), PATTERNS) == DataOptions()


def test_a_share_in_percent_is_a_part_and_an_empty_one_is_everything() -> None:
    form = whole_form(mix__dataset__0="a", mix__percent__0=12.5, mix__dataset__2="b", mix__percent__2=None)
    assert recipe_from(DataOptions(), form, PATTERNS).mix == (MixIn(dataset="a", share=0.125), MixIn(dataset="b"))


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("format", "nonsense"),
        ("format", ["mapped"]),
        ("encoding", 5),
        ("system_prompt", {"a": 1}),
        ("min_characters", -1),
        ("take", 2.5),
        ("seed", "x"),
        ("answers", "some"),
        ("text_overlap", float("nan")),
        ("text_separator", 7),
        ("mix__percent__0", "half"),
        ("skip_bad_rows", "yes"),
        ("fix__trim_text", "yes"),
        ("placeholder__0", 3.5),
        ("placeholder__names", 3.5),
        ("validation_dataset", [1]),
    ],
)
def test_a_value_that_no_form_can_hold_is_refused_with_its_code(field: str, bad: Any) -> None:
    changes = {"mix__dataset__0": "a", "placeholder__names": "name", field: bad}
    with pytest.raises(WorkbenchError) as refused:
        recipe_from(DataOptions(), whole_form(**changes), PATTERNS)
    assert refused.value.code == "H01"


def test_a_role_that_there_is_not_is_refused() -> None:
    with pytest.raises(WorkbenchError) as refused:
        mapped(DataOptions(), ["ask"], ["boss"])
    assert refused.value.code == "H01"


def test_every_field_of_the_form_is_saved_by_exactly_one_unit() -> None:
    assert sorted(name for unit in UNITS for name in unit) == sorted(FORM)


def test_a_change_of_one_field_leaves_all_others_as_they_are_kept() -> None:
    changed = recipe_from(FULL, {"take": 9}, PATTERNS)
    assert changed == FULL.model_copy(update={"take": 9})


@pytest.mark.parametrize("percent", [0, -5, 100, 200, 1e9])
def test_a_share_that_no_set_can_have_is_refused_in_words_of_its_own(percent: float) -> None:
    changes = {"mix-dataset-0": "a.jsonl", "mix-percent-0": percent}
    with pytest.raises(WorkbenchError, match="H02"):
        recipe_from(DataOptions(), changes, {})
