"""Settings of a run in words: what each is called, and its value as a person would say it. Pure."""

from __future__ import annotations

from typing import Any

from core.i18n import Language, has_text, text

MODELS = ("TrainingSettings", "MethodSettings", "LoadSettings")


def label(name: str, lang: Language) -> str:
    """The label of a setting; the name itself where it is none of ours."""
    keys = (f"settings.{model}.{name}.label" for model in MODELS)
    return next((text(key, lang) for key in keys if has_text(key)), name)


def value_text(name: str, value: Any, lang: Language) -> str:
    """A setting's value: a choice by its name, None as automatic, an empty list as all layers or none."""
    if value is None:
        return text("fields.automatic", lang)
    if isinstance(value, bool):
        return text("fields.on" if value else "fields.off", lang)
    if isinstance(value, tuple | list):
        own = (f"settings.{model}.{name}.empty" for model in MODELS)
        empty = next((key for key in own if has_text(key)), "run_form.none")
        return ", ".join(map(str, value)) or text(empty, lang)
    if name == "seed":
        return str(value)
    if isinstance(value, int | float):
        return short_number(value)
    keys = (f"methods.{value}.name", *(f"settings.{model}.{name}.choices.{value}" for model in MODELS))
    known = (key for key in keys if has_text(key) and (name == "method") == key.startswith("methods."))
    return next((text(key, lang) for key in known), str(value))


def short_number(value: float) -> str:
    """A number in few characters: 2e-4, 0.05, 1,024."""
    if value == int(value):
        return f"{value:,.0f}"
    if abs(value) >= 0.001:
        return f"{value:.12g}"
    mantissa, exponent = f"{value:.11e}".split("e")
    return f"{float(mantissa):.12g}e{int(exponent)}"
