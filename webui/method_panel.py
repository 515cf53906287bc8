"""The choice of a method on the Training tab: its list, what it does under it, and only the settings that it uses.

The list depends on the loaded model (a 4-bit base refuses some methods), the settings on the method, and both on the
adapter that is trained further, if one is: its method and sizes are then the only ones. So `draw_method` says all of
it, in the language switch's stead too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from core.adapters.method_facts import METHODS, MethodFacts
from core.errors import WorkbenchError
from core.i18n import Language, text
from core.settings import MethodSettings, TrainingSettings, fields_of
from core.training.lineage import FREE_SETTINGS, method_settings
from core.workbench import Workbench
from webui import method_views
from webui.incoming import checked_type, whole_number
from webui.run_form import METHOD, method_from
from webui.setting_words import short_number

TARGET_GROUPS = ("all-linear", "attention", "mlp")


def draw_method(workbench: Workbench, lang: Language, method: str | None, start_from: str | None) -> list[Any]:
    """The adapters to go on from, the list of methods and of modules, the usual learning rate, what is not used."""
    adapters, chosen = _adapters(workbench), start_from if isinstance(start_from, str) else ""
    facts = METHODS[_made_with(workbench, chosen).method] if chosen in adapters else known(method)
    offered = dict.fromkeys([*adapters, *([chosen] if chosen else [])])  # one that is gone stays: the plan refuses it
    begin = [(text("run_form.start_from.none", lang), ""), *((name, name) for name in offered)]
    groups = [(text(f"run_form.targets.{group}", lang), group) for group in TARGET_GROUPS]
    modules = [*groups, *((module, module) for module in workbench.module_names())]
    rate = text("run_form.automatic", lang, value=short_number(facts.learning_rate))
    used = {*facts.settings} & {*FREE_SETTINGS} if chosen else {"method", *facts.settings}
    return [
        gr.update(choices=begin, value=chosen),
        gr.update(choices=method_views.choices(_precision(workbench), lang)),
        gr.update(choices=modules),
        gr.update(info=_rate_info(facts, lang), placeholder=rate),
        method_views.without([name for name in METHOD if name not in used]),
    ]


def show_method(workbench: Workbench, lang: Language, form: Mapping[str, Any]) -> str:
    """What stands under the list: help, size on this model, limits. `form` holds the method's settings by name."""
    precision = _precision(workbench)
    try:
        settings = method_of(workbench, form)
    except WorkbenchError:  # the plan says what is wrong
        return method_views.method_card(known(form["method"]).name, None, precision, lang)
    card = method_views.method_card(settings.method, workbench.method_size(settings), precision, lang)
    return method_views.further(str(form["start_from"]), settings, lang) + card if form["start_from"] else card


def method_of(workbench: Workbench, form: Mapping[str, Any]) -> MethodSettings:
    """The method that a form describes; that of the adapter which is trained further, if one is.

    Raises:
        WorkbenchError: H01 with every value that is wrong; M25 and A22 for an adapter that cannot be trained further.
    """
    typed, start_from = method_from(form), checked_type(form["start_from"], "start_from")
    if not start_from:
        return typed
    return _made_with(workbench, start_from).model_copy(update={name: getattr(typed, name) for name in FREE_SETTINGS})


def _made_with(workbench: Workbench, adapter: str) -> MethodSettings:
    return method_settings(workbench.adapter_details(adapter).folder)


def show_alpha(rank: object, lang: Language) -> Any:
    """What an empty alpha becomes."""
    rule = text("settings.MethodSettings.alpha.empty", lang)
    twice = 2 * whole_number(rank, 1, 0)
    return gr.update(placeholder=text("run_form.automatic", lang, value=twice) if twice else rule)


def _adapters(workbench: Workbench) -> list[str]:
    """Names of the adapters that could be trained further on the loaded model."""
    status = workbench.model_status()
    fitting = (info for info in workbench.adapters() if status and not info.errors)
    return [info.name for info in fitting if info.base_name in ("", status.name)]  # type: ignore[union-attr]


def known(method: object) -> MethodFacts:
    """The facts of a method that a browser named; LoRA's where there is none of that name."""
    return next((facts for name, facts in METHODS.items() if name == method), METHODS["lora"])


def _precision(workbench: Workbench) -> str | None:
    status = workbench.model_status()
    return status.precision.precision if status else None


def _rate_info(facts: MethodFacts, lang: Language) -> str:
    low, high = (short_number(rate) for rate in facts.usual_rates)
    name = text(f"methods.{facts.name}.name", lang)
    usual = text("run_form.usual_rate", lang, method=name, low=low, high=high)
    return f"{text(fields_of(TrainingSettings)['learning_rate'].help_key, lang)} {usual}"
