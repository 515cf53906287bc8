"""The plan card and the forecast beside the run's form, and the buttons in them that mend what they warn of.

Everything here is worked out anew when the form changes. Owns how a form becomes a spec on this server: with the recipe
of its data set, the loaded model, and the settings of the adapter that it continues.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from core.data.options import DataOptions
from core.errors import WorkbenchError
from core.i18n import Language
from core.training.spec import RunSpec
from core.workbench import Workbench
from webui import forecast_views, method_panel, plan_views
from webui.background import awaited
from webui.incoming import checked_type
from webui.preview_panel import CLICKS_JS
from webui.run_form import FORM, SETTINGS, spec_from
from webui.wiring import RAW, Wiring

PRECISION = "precision"  # of `LoadSettings`, which is no setting of the form
TICK_S = 1.0


@dataclass(frozen=True)
class PlanPanel:
    """The components; `refused`, never shown, is whether the plan was refused."""

    card: gr.HTML
    refused: gr.Checkbox
    forecast: gr.HTML
    timer: gr.Timer

    @property
    def forecasted(self) -> list[Any]:
        """What `show_forecast` fills."""
        return [self.forecast, self.timer]


def build(wiring: Wiring) -> PlanPanel:
    card = gr.HTML(elem_id="plan-card", js_on_load=CLICKS_JS)
    refused = gr.Checkbox(visible=False, elem_id="plan-refused")
    return PlanPanel(
        card, refused, gr.HTML(elem_id="forecast-card", js_on_load=CLICKS_JS), gr.Timer(TICK_S, active=False)
    )


def connect(wiring: Wiring, panel: PlanPanel, settings: list[Any]) -> Any:
    """Give the event after which suggested values are in the form."""
    clicked = [panel.card.click, panel.forecast.click]
    elsewhere = [wiring.shared["tabs"], wiring.shared["model-panel"].precision]
    return wiring.on(clicked, use_suggestion, [], [*settings, *elsewhere], **RAW)


def show_plan(workbench: Workbench, lang: Language, *values: Any) -> Iterator[list[Any]]:
    """What the method does, what alpha becomes, the plan card, and whether it was refused."""
    form = dict(zip(FORM, values, strict=True))
    method = [method_panel.show_method(workbench, lang, form), method_panel.show_alpha(form["rank"], lang)]
    dataset = checked_type(form["dataset"], "dataset")
    lacking = missing(workbench, None, dataset)
    if workbench.model_status() is None or not dataset or lacking == "checking":
        yield [*method, plan_views.plan_missing(lacking or "model", lang), False]
        return
    try:
        if error := workbench.data.check(dataset, again=False).error:
            raise error
        for card in _cards(workbench, lang, values):
            yield [*method, card, False]
    except WorkbenchError as error:
        yield [*method, plan_views.plan_refused(error, lang), True]


def _cards(workbench: Workbench, lang: Language, values: Sequence[Any]) -> Iterator[str]:
    """The plan of what the form describes; before it, where it takes a while, that it is being worked out."""
    spec = _planned(workbench, values)
    for plan in awaited(partial(workbench.plan, spec), "plan"):
        yield plan_views.plan_card(plan, spec, lang) if plan else plan_views.plan_missing("planning", lang)


def show_forecast(workbench: Workbench, lang: Language, *values: Any) -> list[Any]:
    """Memory and time of what the form describes, as far as they are known; a timer asks again while it is measured."""
    try:
        dataset = checked_type(values[0], "dataset")
        if missing(workbench, None, dataset) not in (None, "name"):
            return ["", gr.Timer(active=False)]
        status = workbench.forecast(_planned(workbench, values))
    except WorkbenchError:  # the plan says what is wrong
        return ["", gr.Timer(active=False)]
    return [forecast_views.forecast_card(status, lang), gr.Timer(active=status.running)]


def _planned(workbench: Workbench, values: Sequence[Any]) -> RunSpec:
    """What the form describes, under a name that is free: neither plan nor forecast depends on it."""
    spec = described(workbench, values)
    return spec.model_copy(update={"name": workbench.free_result_name("adapter", spec.method.method)})


def described(workbench: Workbench, values: Sequence[Any]) -> RunSpec:
    """What the form describes: `values` in the order of `FORM`.

    Raises:
        WorkbenchError: H01 with every value that is wrong; M25 where the adapter to continue is gone.
    """
    status = workbench.model_status()
    base, precision = (status.name, status.precision.precision) if status else ("", "auto")
    dataset = checked_type(values[0], "dataset")
    options = workbench.data.recipe(dataset) if dataset else DataOptions()
    spec = spec_from(base, precision, options, values)
    method = method_panel.method_of(workbench, dict(zip(FORM, values, strict=True)))
    return spec.model_copy(update={"method": method})


def missing(workbench: Workbench, name: str | None, dataset: str | None) -> str | None:
    """What a run still lacks, in the order a person would bring it: model, data, its check, name; None for nothing."""
    if workbench.model_status() is None:
        return "model"
    if not dataset:
        return "data"
    if workbench.data.is_checking(dataset):
        return "checking"
    return "name" if not (name or "").strip() else None


def use_suggestion(workbench: Workbench, lang: Language, event: gr.EventData) -> list[Any]:
    """The values of a button in a card, for the settings that it names, in the order of `SETTINGS`.

    Another precision of the base model is for the Model tab, which is then opened: it has to be loaded anew.
    """
    values = suggested(getattr(event, "values", None))
    updates = [gr.update(value=values[name]) if name in values else gr.skip() for name in SETTINGS]
    if PRECISION not in values:
        return [*updates, gr.skip(), gr.skip()]
    return [*updates, gr.Tabs(selected="model"), gr.update(value=values[PRECISION])]


def suggested(written: object) -> Mapping[str, Any]:
    """The settings that a button names, as JSON; nothing where that is none of ours."""
    try:
        values = json.loads(written) if isinstance(written, str) else None
    except (ValueError, RecursionError):
        values = None
    known = (*SETTINGS, PRECISION)
    return {name: values[name] for name in known if name in values} if isinstance(values, dict) else {}
