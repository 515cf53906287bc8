"""The recipe of a data set as the values of a form, and back: which component holds what, in one order.

Owns that order and the two pure functions over it. The recipe itself is the server's (`core/data/options.py`); what a
form cannot show (edited rows, the mapping, which has a form of its own) stays as it was kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.data.options import FIXES, DataOptions, FixName
from core.errors import Place, excerpt, refusal
from webui.fields import settings_from
from webui.incoming import checked_type

AUTO = "auto"
MAX_PLACEHOLDERS = 6
MAX_MIXED = 3
READING = ("format", "encoding", "sheet", "patterns", "system_prompt")
# Declared settings whose components come from `fields.build_fields`.
LEARNING = ("answers", "thinking", "train_prompt", "text_overlap")
MAKING = ("min_characters", "max_characters", "take", "seed", "take_at_random", "shuffle")
MIXED = tuple(f"mix-{part}-{number}" for number in range(MAX_MIXED) for part in ("dataset", "percent"))
FIX_FIELDS: dict[FixName, str] = {name: f"fix-{name}" for name in FIXES}
PLACEHOLDERS = tuple(f"placeholder-{number}" for number in range(MAX_PLACEHOLDERS))
FORM = (
    *READING,
    *LEARNING,
    "text_separator",
    *MAKING,
    "validation_dataset",
    *MIXED,
    "skip_bad_rows",
    *FIX_FIELDS.values(),
    "placeholder-names",
    *PLACEHOLDERS,
)
# What a change of one field saves: fields that mean something only together go together.
UNITS: tuple[tuple[str, ...], ...] = (
    MIXED,
    ("placeholder-names", *PLACEHOLDERS),
    *((name,) for name in FORM if name not in (*MIXED, "placeholder-names", *PLACEHOLDERS)),
)
Patterns = Mapping[str, Mapping[str, str]]
"""The named format files that the server knows."""


def recipe_from(kept: DataOptions, changes: Mapping[str, Any], patterns: Patterns) -> DataOptions:
    """The recipe with changed fields of its form, by their name in `FORM`; all else stays as it is kept.

    Raises:
        WorkbenchError: H01 for every value that no form can hold.
    """
    form = {**form_values(kept, (), patterns), **changes}
    form |= {name: checked_type(form[name], name) or "" for name in ("format", "encoding", "sheet", "patterns")}
    format_name = None if form["format"] == AUTO else form["format"] or None
    separator = checked_type(form["text_separator"], "text_separator") or ""
    declared = (*LEARNING, *MAKING)
    return DataOptions.checked(
        {
            **settings_from(DataOptions, declared, [form[name] for name in declared]),
            "encoding": None if form["encoding"] == AUTO else form["encoding"] or None,
            "sheet": form["sheet"] or None,
            "format": format_name,
            "mapping": kept.mapping if format_name == "mapped" else {},
            "patterns": patterns.get(form["patterns"], kept.patterns) if format_name == "patterns" else {},
            "placeholders": _placeholders(kept, form),
            "system_prompt": form["system_prompt"] or None,
            "skip_bad_rows": form["skip_bad_rows"],
            "fixes": [name for name, field in FIX_FIELDS.items() if checked_type(form[field], field, (bool,))],
            "edits": kept.edits,
            "mix": _mix(form),
            "validation_dataset": form["validation_dataset"] or None,
            "text_separator": separator.replace("\\n", "\n"),
        }
    )


def form_values(recipe: DataOptions, names: Sequence[str], patterns: Patterns) -> dict[str, Any]:
    """What each component of the form holds for a recipe; `names` are those of the placeholders with a field."""
    values: dict[str, Any] = {name: getattr(recipe, name) for name in (*LEARNING, *MAKING)}
    values |= {
        "format": recipe.format or AUTO,
        "encoding": recipe.encoding or AUTO,
        "sheet": recipe.sheet or "",
        "patterns": next((name for name, known in patterns.items() if known == recipe.patterns), None),
        "system_prompt": recipe.system_prompt or "",
        "text_separator": recipe.text_separator.replace("\n", "\\n"),
        "validation_dataset": recipe.validation_dataset or "",
        "skip_bad_rows": recipe.skip_bad_rows,
        "placeholder-names": "\n".join(names),
    }
    values |= {field: name in recipe.fixes for name, field in FIX_FIELDS.items()}
    for number in range(MAX_MIXED):
        mixed = recipe.mix[number] if number < len(recipe.mix) else None
        values[f"mix-dataset-{number}"] = mixed.dataset if mixed else ""
        values[f"mix-percent-{number}"] = round(100 * mixed.share, 6) if mixed and mixed.share else None
    for number, field in enumerate(PLACEHOLDERS):
        values[field] = recipe.placeholders.get(names[number], "") if number < len(names) else ""
    return values


def mapped(recipe: DataOptions, columns: Sequence[str], roles: Sequence[Any]) -> DataOptions:
    """The recipe with each column in its role; one without a role is not read.

    Raises:
        WorkbenchError: H01 for a role there is not.
    """
    chosen = {path: role for path, role in zip(columns, roles, strict=False) if role}
    return DataOptions.checked({**recipe.model_dump(), "format": "mapped", "mapping": chosen})


def _placeholders(kept: DataOptions, form: Mapping[str, Any]) -> dict[str, Any]:
    names = (checked_type(form["placeholder-names"], "placeholders") or "").splitlines()
    typed = dict(zip(names, (form[field] for field in PLACEHOLDERS), strict=False))
    others = {name: value for name, value in kept.placeholders.items() if name not in typed}
    return others | {name: value for name, value in typed.items() if value}


def _mix(form: Mapping[str, Any]) -> list[dict[str, Any]]:
    mixed = []
    for number in range(MAX_MIXED):
        name, percent = form[f"mix-dataset-{number}"], form[f"mix-percent-{number}"]
        checked_type(percent, f"mix-percent-{number}", (int, float, type(None)))
        if percent is not None and not 0 < percent < 100:
            raise refusal("H02_mix_share", Place(field=f"mix-percent-{number}", excerpt=excerpt(percent)))
        if name:
            mixed.append({"dataset": name, "share": None if percent is None else percent / 100})
    return mixed
