"""A sweep: one or two settings, several values of each, and one run for every combination.

Owns reading a typed list of values, and the specs and names that come of it. Pure: whether a run may be queued is the
desk's business. A setting is named by its path in the spec: `training.learning_rate`, `method.rank`.

    "1e-4, 2e-4" → parse_values → (0.0001, 0.0002) → swept → [RunSpec, RunSpec]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from core.adapters.method_facts import METHODS
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.i18n import LANGUAGES, has_text, text
from core.settings import Method, MethodSettings, SettingField, Settings, TrainingSettings, fields_of
from core.training.queue import MAX_QUEUED
from core.training.spec import RunSpec
from core.workspace import MAX_NAME_CHARACTERS

MAX_SWEPT_SETTINGS = 2
_GROUPS: dict[str, type[Settings]] = {"method": MethodSettings, "training": TrainingSettings}
_SWITCH = {"on": True, "true": True, "off": False, "false": False}
_BETWEEN = r"[,，、;；\n]+"


def sweepable() -> dict[str, SettingField]:
    """The settings that can be swept, by path: numbers, switches and choices; no lists."""
    return {
        f"{group}.{name}": entry
        for group, model in _GROUPS.items()
        for name, entry in fields_of(model).items()
        if entry.minimum is not None or entry.choices or entry.boolean
    }


def parse_values(path: str, typed: str) -> tuple[Any, ...]:
    """The values of a typed list: `1e-4, 2e-4`, `on, off`, `lora, dora`. Spaces and Chinese commas separate as well.

    A choice or switch may be typed in any case, or as the page calls it: `LoRA+, Prompt tuning`.

    Raises:
        WorkbenchError: H01 for every value that the setting does not allow, a setting that cannot be swept, no value
            at all, one that is there twice.
    """
    entry = _entry(path)
    named = _named_values(entry)
    listed = [each.strip() for each in re.split(_BETWEEN, typed)]
    parts = [part for each in listed for part in ([each] if each.casefold() in named else each.split())]
    return _allowed(path, [named.get(part.casefold(), _number_or_text(part)) for part in parts], parts)


def swept(spec: RunSpec, values: Mapping[str, Sequence[Any]]) -> list[RunSpec]:
    """A spec for every combination of the values, named after the ones it has; the last setting varies fastest.

    Raises:
        WorkbenchError: H01 as `parse_values`, for no setting or more than `MAX_SWEPT_SETTINGS`, and for a setting that
            a run's method does not use; A27 for more runs than a queue holds.
    """
    if not 1 <= len(values) <= MAX_SWEPT_SETTINGS:
        raise refusal("H01_swept_settings", count=len(values), limit=MAX_SWEPT_SETTINGS)
    combinations = list(product(*(_allowed(path, wanted) for path, wanted in values.items())))
    _require_used(values, values.get("method.method", [spec.method.method]))
    if len(combinations) > MAX_QUEUED:
        raise refusal("A27_too_many_swept", count=len(combinations), limit=MAX_QUEUED)
    return [_with(spec, dict(zip(values, combination, strict=True))) for combination in combinations]


def _require_used(paths: Iterable[str], methods: Iterable[Method]) -> None:
    """Refuse a setting that is none of a method's: its runs would differ in their names alone."""
    named = sweepable()
    problems: list[Problem] = []
    for path, method in product(paths, methods):
        group, _, name = path.partition(".")
        own = METHODS[method].settings
        if group == "method" and name != "method" and name not in own:
            known = ", ".join(each for each in own if f"method.{each}" in named) or "–"
            shown = {"field": path, "method": method, "known": known}
            problems.append(Problem("H01_swept_unused", Place(field=path), shown))
    if problems:
        raise WorkbenchError(problems)


def _entry(path: str) -> SettingField:
    known = sweepable()
    if path not in known:
        raise refusal("H01_not_sweepable", Place(field=excerpt(path)), field=excerpt(path), known=", ".join(known))
    return known[path]


def _named_values(entry: SettingField) -> dict[str, Any]:
    """What can be typed for a switch or a choice, in small letters: its own word, and the page's in each language."""
    named: dict[str, Any] = dict(_SWITCH) if entry.boolean else {choice: choice for choice in entry.choices}
    for lang in LANGUAGES:
        if entry.boolean:
            named |= {text("fields.on", lang).casefold(): True, text("fields.off", lang).casefold(): False}
        for choice in entry.choices:
            keys = (f"settings.{entry.model}.{entry.name}.choices.{choice}", f"methods.{choice}.name")
            named |= {text(key, lang).casefold(): choice for key in keys if has_text(key)}
    return named


def _number_or_text(part: str) -> Any:
    """A typed number; the text itself where it is none, for the setting's own check to refuse."""
    for kind in (int, float):
        try:
            return kind(part)
        except ValueError:
            continue
    return part


def _allowed(path: str, values: Sequence[Any], typed: Sequence[str] | None = None) -> tuple[Any, ...]:
    """The values, each of which the setting allows; `typed` is how a person wrote them."""
    _entry(path)
    group, _, name = path.partition(".")
    problems: list[Problem] = []
    for value in values:
        try:
            _GROUPS[group].checked({name: value})
        except WorkbenchError as error:
            problems += error.problems
    if problems:
        raise WorkbenchError(problems)
    if not values:
        raise refusal("H01_no_values", Place(field=path), field=path)
    twice = next((value for at, value in enumerate(values) if value in values[:at]), None)
    if twice is not None:
        same = [str(word) for word, value in zip(typed or values, values, strict=True) if value == twice]
        shown = excerpt(" = ".join(dict.fromkeys(same)))
        raise refusal("H01_value_twice", Place(field=path), field=path, value=shown)
    return tuple(values)


def _with(spec: RunSpec, chosen: Mapping[str, Any]) -> RunSpec:
    tree = spec.model_dump()
    for path, value in chosen.items():
        group, _, name = path.partition(".")
        tree[group][name] = value
    suffix = "".join(f"-{_words(path, value)}" for path, value in chosen.items())
    room = MAX_NAME_CHARACTERS - len(suffix)
    return RunSpec.checked({**tree, "name": spec.name[:room].rstrip(" .") + suffix})


def _words(path: str, value: Any) -> str:
    """A setting with its value as part of a name: `lr0.0002`, `r8`, `packing-on`, `dora`."""
    name = path.partition(".")[2]
    if isinstance(value, bool):
        return f"{name}-{'on' if value else 'off'}"
    if isinstance(value, int | float):
        in_full = int(value) if value == int(value) else value  # rounded, two values could make one name
        return "".join(word[0] for word in name.split("_")) + repr(in_full)
    return str(value)
