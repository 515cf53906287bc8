"""A declared setting as a form component, and a form's values as settings.

The declaration is `core/settings.py`; range and type are checked there, so a component never refuses a value itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

from core.i18n import Language, has_text, text
from core.settings import SettingField, Settings, fields_of
from webui.wiring import Properties, Wiring

SWITCH = {"auto": None, "on": True, "off": False}  # the choices of a yes-or-no setting that can be automatic
SLIDER_STEPS = 400  # a slider with more positions than this is harder to set than a number is to type
NUMBERS = {"layers"}  # settings that are lists of whole numbers, typed as text: "0-5, 11"
MAX_TYPED = 4000  # characters of such a text


def build_fields(
    wiring: Wiring, model: type[Settings], names: Iterable[str], prefix: str = "", sliders: bool = False
) -> dict[str, Any]:
    """One component for each named setting of a model, by name; `elem_id` is `prefix` + name.

    With `sliders`, a number of few steps between its bounds becomes a slider. The events of such a form are wired with
    `preprocess=False`: else gradio, not the core, would refuse what is out of range.
    """
    declared = fields_of(model)
    built = {}
    for name in names:
        built[name], properties = component(declared[name], f"{prefix}{name}", wiring.start_language, sliders)
        wiring.say_with(built[name], properties)
    return built


def settings_from(model: type[Settings], names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """A form's raw values as the mapping that `model.checked` takes: empty becomes None, 3.0 becomes 3.

    A setting that is left empty but is not automatic keeps its declared default.
    """
    declared = fields_of(model)
    chosen: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        if name in NUMBERS:
            plain = numbers_from(value)
        elif declared[name].boolean and isinstance(value, str):
            plain = SWITCH.get(value, value)
        else:
            plain = _plain(value)
        if plain is not None or declared[name].automatic:
            chosen[name] = plain
    return chosen


def values_from(settings: Settings, names: Sequence[str]) -> list[Any]:
    """What each component holds for these settings: the inverse of `settings_from`."""
    declared = fields_of(type(settings))
    return [_held(declared[name], getattr(settings, name)) for name in names]


def _held(spec: SettingField, value: Any) -> Any:
    if spec.name in NUMBERS:
        return numbers_text(value)
    if spec.boolean and spec.automatic:
        return next(word for word, meaning in SWITCH.items() if meaning is value)
    return list(value) if isinstance(value, tuple) else value


def numbers_from(typed: Any) -> Any:
    """The numbers of a text such as "0-5, 11"; anything else as it came, for the core to refuse."""
    parts = re.split(r"[,，、\s]+", typed.strip()) if isinstance(typed, str) else None
    if parts is None:
        return typed
    spans = [re.fullmatch(r"(\d{1,4})(?:[-–](\d{1,4}))?", part) for part in parts if part]
    if not all(spans):
        return typed
    bounds = [(int(span[1]), int(span[2] or span[1])) for span in spans if span]
    return [number for first, last in bounds for number in range(first, last + 1)]


def numbers_text(numbers: Sequence[int]) -> str:
    """Numbers as `numbers_from` reads them, those that follow one another as a range."""
    return ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in _ranges(numbers))


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
            yield numbers[start], numbers[at - 1]
            start = at


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and not value.strip():
        return None
    return value


def component(
    spec: SettingField, elem_id: str, lang: Language, sliders: bool = False, offered: Sequence[str] = ()
) -> tuple[Any, Properties]:
    """The component of a setting, and what it says in a language. `offered` are the choices of a list of names."""
    default, shared = spec.default, {"elem_id": elem_id, "interactive": True}
    if spec.choices or spec.boolean:
        return _choice(spec, shared, lang)
    if spec.name in NUMBERS:
        typed = gr.Textbox(value=numbers_text(default), max_length=MAX_TYPED, **shared)
        return typed, lambda lang: {**_words(spec, lang), **_placeholder(spec, lang)}
    if isinstance(default, tuple):
        known = [*default, *offered]
        several = gr.Dropdown(known, value=list(default), multiselect=True, allow_custom_value=True, **shared)
        return several, lambda lang: _words(spec, lang)
    if sliders and _suits_slider(spec):
        low, high, step = spec.minimum, spec.maximum, spec.scale.step
        return gr.Slider(low, high, default, step=step, buttons=[], **shared), lambda lang: _words(spec, lang)
    number = gr.Number(value=default, step=spec.scale.step or None, **shared)
    return number, lambda lang: {**_words(spec, lang), **_placeholder(spec, lang)}


def _choice(spec: SettingField, shared: dict[str, Any], lang: Language) -> tuple[Any, Properties]:
    if spec.boolean and not spec.automatic:
        return gr.Checkbox(value=bool(spec.default), **shared), lambda lang: _words(spec, lang)
    words = _switch_words if spec.boolean else partial(choices, spec)
    default = "auto" if spec.boolean else spec.default
    return gr.Dropdown(words(lang), value=default, **shared), lambda lang: {
        **_words(spec, lang),
        "choices": words(lang),
    }


def _suits_slider(spec: SettingField) -> bool:
    if spec.minimum is None or spec.maximum is None or not spec.scale.step or spec.automatic:
        return False
    return (spec.maximum - spec.minimum) / spec.scale.step <= SLIDER_STEPS


def choices(spec: SettingField, lang: Language) -> list[tuple[str, str]]:
    """(words, value) of a choice; a value without words of its own shows as itself."""
    key = f"settings.{spec.model}.{spec.name}.choices"
    return [(text(f"{key}.{value}", lang) if has_text(f"{key}.{value}") else value, value) for value in spec.choices]


def _unit_key(unit: str) -> str:
    return f"fields.unit.{unit.replace(' ', '_')}"


def _switch_words(lang: Language) -> list[tuple[str, str]]:
    return [
        (text("fields.automatic", lang), "auto"),
        (text("fields.on", lang), "on"),
        (text("fields.off", lang), "off"),
    ]


def _words(spec: SettingField, lang: Language) -> dict[str, str]:
    label = text(spec.label_key, lang)
    unit = f" ({text(_unit_key(spec.scale.unit), lang)})" if spec.scale.unit else ""
    return {"label": f"{label}{unit}", "info": text(spec.help_key, lang)}


def _placeholder(spec: SettingField, lang: Language) -> dict[str, str]:
    """What an empty field says: that it is automatic, unless the setting has words of its own for that."""
    own = f"settings.{spec.model}.{spec.name}.empty"
    if not spec.automatic and not has_text(own):
        return {}
    return {"placeholder": text(own if has_text(own) else "fields.automatic", lang)}
