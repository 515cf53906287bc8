"""The Training tab: data, run, the run as it goes, evaluations, one under the other; and the form's memory.

Owns what joins the four panels: the half-filled form is kept in the browser's storage, written by the browser alone
whenever a field changes, and comes back on page load.
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from core.i18n import Language
from core.workbench import Workbench
from webui import dataset_handlers, dataset_panel, evaluate_panel, live_panel, method_panel, run_panel
from webui.dataset_panel import DatasetPanel
from webui.evaluate_panel import EvaluatePanel
from webui.run_panel import RunPanel
from webui.wiring import RAW, Wiring


def build(wiring: Wiring) -> None:
    dataset_panel.build(wiring)
    run_panel.build(wiring)
    live_panel.build(wiring)
    evaluate_panel.build(wiring)


def connect(wiring: Wiring) -> None:
    data: DatasetPanel = wiring.shared["dataset-panel"]
    run: RunPanel = wiring.shared["run-panel"]
    length_chosen = dataset_panel.connect(wiring)
    evaluate_panel.connect(wiring)
    filled = [*run_panel.connect(wiring), *live_panel.connect(wiring)]
    evaluated: EvaluatePanel = wiring.shared["evaluate-panel"]
    restored = _keep_form(wiring, [*run.inputs, run.mode, *evaluated.form.kept])
    drawn = [data.name, *data.shown, *run.method_drawn]
    chosen = [data.name, data.seen, *run.method_chosen]
    opened = [wiring.language.input, wiring.shared["tab-training"].select]
    for trigger in (opened, restored.then):
        wiring.on(trigger, show_tab, chosen, drawn, **RAW)
    for event in filled:
        shown = wiring.on(event.then, show_tab, chosen, drawn, **RAW)
        wiring.shared["planning"].after(shown.then)
    for trigger in ([wiring.shared["active-run"].change, data.checked.change], length_chosen):
        wiring.shared["planning"].after(trigger)


def show_tab(workbench: Workbench, lang: Language, name: str | None, seen: str | None, *method: Any) -> list[Any]:
    """The tab anew: data sets to choose from, the chosen one, the methods.

    `method` is what `method_panel.draw_method` takes.
    """
    choice = dataset_handlers.show_datasets(workbench, lang, name)
    data = dataset_handlers.choose(workbench, lang, choice.get("value", name), seen)
    methods = method_panel.draw_method(workbench, lang, *method)
    return [choice, *data, *methods]


def _keep_form(wiring: Wiring, form: list[Any]) -> Any:
    """Keep the form's values in the browser; returns the event after which they are back on a page that was loaded."""
    # The secret keeps the entry readable after a restart; it hides nothing from the browser it lies in.
    saved = gr.BrowserState(None, storage_key="workbench.training-form", secret="training-form")  # noqa: S106
    names = [component.elem_id for component in form]
    collect = f"(...values) => Object.fromEntries({json.dumps(names)}.map((name, index) => [name, values[index]]))"
    cleared = [component.elem_id for component in form if isinstance(component, gr.Number) and component.value is None]
    changes = [component.change for component in form]
    gr.on(changes, None, form, [saved], js=collect, api_visibility="private", show_progress="hidden")

    def restore(workbench: Workbench, lang: Language, values: Any) -> list[Any]:
        return restored_form(workbench, names, values, cleared)

    return wiring.on(wiring.page.load, restore, [saved], form)


def restored_form(workbench: Workbench, names: list[str], saved: object, cleared: list[str]) -> list[Any]:
    """The updates that put saved values back; a data set that is gone and unknown entries are left out.

    `cleared` names numbers that begin empty: gradio leaves an empty value out of the page's first state, and the
    browser then shows a 0.

    What the browser sends is only ever shown in its own form again; it is checked like typed values when it is used.
    """
    values = saved if isinstance(saved, dict) else {}
    datasets = [info.name for info in workbench.data.list()]
    updates = []
    for name in names:
        if name == "dataset-name":
            known = values.get(name) in datasets
            updates.append(gr.update(choices=datasets, **({"value": values[name]} if known else {})))
        elif isinstance(values.get(name), str | int | float | list):
            updates.append(gr.update(value=values[name]))
        elif name in cleared:
            updates.append(gr.update(value=None))
        else:
            updates.append(gr.skip())
    return updates
