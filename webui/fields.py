"""A declared setting as a form component, and a form's values as settings.

The declaration is `core/settings.py`; range and type are checked there, so a component never refuses a value itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gradio as gr

from core.i18n import Language, has_text, text
from core.settings import SettingField, Settings, fields_of
from webui.wiring import Wiring

SWITCH = {"auto": None, "on": True, "off": False}  # the choices of a yes-or-no setting that can be automatic
SLIDER_STEPS = 400  # a slider with more positions than this is harder to set than a number is to type


def build_fields(
    wiring: Wiring, model: type[Settings], names: Iterable[str], prefix: str = "", sliders: bool = False
) -> dict[str, Any]:
    """One component for each named setting of a model, by name; `elem_id` is `prefix` + name.

    With `sliders`, a number of few steps between its bounds becomes a slider. The events of such a form are wired with
    `preprocess=False`: else gradio, not the core, would refuse what is out of range.
    """
    declared = fields_of(model)
    return {name: _component(wiring, declared[name], f"{prefix}{name}", sliders) for name in names}


def settings_from(model: type[Settings], names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """A form's raw values as the mapping that `model.checked` takes: empty becomes None, 3.0 becomes 3.

    A setting that is left empty but is not automatic keeps its declared default.
    """
    declared = fields_of(model)
    chosen: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        plain = SWITCH.get(value, value) if declared[name].boolean and isinstance(value, str) else _plain(value)
        if plain is not None or declared[name].automatic:
            chosen[name] = plain
    return chosen


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and not value.strip():
        return None
    return value


def _component(wiring: Wiring, spec: SettingField, elem_id: str, sliders: bool) -> Any:
    if spec.choices:
        component: Any = gr.Dropdown(
            choices(spec, wiring.start_language), value=spec.default, elem_id=elem_id, interactive=True
        )
        return wiring.say_with(component, lambda lang: {**_words(spec, lang), "choices": choices(spec, lang)})
    if spec.boolean and spec.automatic:
        switch = gr.Dropdown(_switch_words(wiring.start_language), value="auto", elem_id=elem_id, interactive=True)
        return wiring.say_with(switch, lambda lang: {**_words(spec, lang), "choices": _switch_words(lang)})
    if spec.boolean:
        return wiring.say_with(gr.Checkbox(value=bool(spec.default), elem_id=elem_id), lambda lang: _words(spec, lang))
    if sliders and _suits_slider(spec):
        low, high, step = spec.minimum, spec.maximum, spec.scale.step
        slider = gr.Slider(low, high, spec.default, step=step, elem_id=elem_id, interactive=True, buttons=[])
        return wiring.say_with(slider, lambda lang: _words(spec, lang))
    component = gr.Number(value=spec.default, elem_id=elem_id, interactive=True, step=spec.scale.step or None)
    return wiring.say_with(component, lambda lang: {**_words(spec, lang), **_placeholder(spec, lang)})


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
    return {"placeholder": text(own if has_text(own) else "fields.automatic", lang)} if spec.automatic else {}
