"""Trying several values: one or two settings with a list of values each, and the runs that come of it, to be queued."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from core.errors import WorkbenchError
from core.i18n import Language, text
from core.training.spec import RunSpec
from core.training.sweep import MAX_SWEPT_SETTINGS, parse_values, sweepable, swept
from core.workbench import Workbench
from webui import sweep_views
from webui.incoming import checked_type
from webui.plan_panel import described, missing
from webui.run_form import FORM, SETTINGS
from webui.setting_words import label
from webui.start_panel import STARTED_BY
from webui.wiring import RAW, Wiring

FIELDS = 2 * MAX_SWEPT_SETTINGS  # a setting and its values, so many times


@dataclass(frozen=True)
class SweepPanel:
    """The components; `fields` are setting, values, setting, values."""

    fields: tuple[Any, ...]
    runs: gr.HTML
    show: gr.Button
    add: gr.Button


def build(wiring: Wiring) -> SweepPanel:
    with wiring.say(gr.Accordion(open=False, elem_id="sweep-part"), label="run_form.sweep.title"):
        wiring.say(gr.Markdown(), value="run_form.sweep.help")
        fields: list[Any] = []
        with gr.Row(elem_classes="wb-fields"):
            for number in range(1, MAX_SWEPT_SETTINGS + 1):
                setting = gr.Dropdown(value=None, elem_id=f"sweep-setting-{number}", interactive=True)
                wiring.say_with(setting, partial(_setting_words, f"run_form.sweep.setting_{number}"))
                values = gr.Textbox(elem_id=f"sweep-values-{number}", max_length=1000)
                wiring.say(values, label="run_form.sweep.values", placeholder="run_form.sweep.example")
                fields += [setting, values]
        with gr.Row(elem_classes="wb-buttons"):
            show = wiring.say(gr.Button(elem_id="sweep-show"), value="run_form.sweep.show")
            add = wiring.say(gr.Button(variant="primary", elem_id="sweep-add"), value="run_form.sweep.add")
        runs = gr.HTML(elem_id="sweep-runs")
    return SweepPanel(tuple(fields), runs, show, add)


def _setting_words(key: str, lang: Language) -> dict[str, Any]:
    return {"label": text(key, lang), "choices": choices(lang)}


def connect(wiring: Wiring, panel: SweepPanel, form: Sequence[Any]) -> None:
    """`form` is in the order of `run_form.FORM`."""
    inputs = [*panel.fields, *form]
    wiring.on(panel.show.click, show_runs, inputs, [panel.runs], **RAW)
    wiring.on(panel.add.click, add_runs, inputs, [panel.runs], **RAW)


def choices(lang: Language) -> list[tuple[str, str]]:
    """(words, path) of every setting that can be swept, in the form's order; the first is none."""
    paths = {path.partition(".")[2]: path for path in sweepable()}
    known = [(label(name, lang), paths[name]) for name in SETTINGS if name in paths]
    return [(text("run_form.none", lang), ""), *known]


def show_runs(workbench: Workbench, lang: Language, *values: Any) -> str:
    """The runs that the values make, before they are queued; or why Add would refuse them."""

    def shown(specs: list[RunSpec], paths: list[str]) -> str:
        workbench.runs.admitted(specs)
        return sweep_views.sweep_table(specs, paths, lang)

    return _said(workbench, lang, values, shown)


def add_runs(workbench: Workbench, lang: Language, *values: Any) -> str:
    """Add a run for every combination to the queue; either all of them or none."""

    def added(specs: list[RunSpec], _: list[str]) -> str:
        workbench.runs.enqueue(specs, started_by=STARTED_BY)
        return sweep_views.sweep_added(specs, lang)

    return _said(workbench, lang, values, added)


def _said(
    workbench: Workbench, lang: Language, values: Sequence[Any], of_runs: Callable[[list[RunSpec], list[str]], str]
) -> str:
    """What is said of the runs, or in its place why there are none: what was shown before counts no more."""
    try:
        form = dict(zip(FORM, values[FIELDS:], strict=True))
        name, dataset = (checked_type(form[field], field) for field in ("name", "dataset"))
        if lacking := missing(workbench, name, dataset):
            return sweep_views.sweep_missing(lacking, lang)
        return of_runs(*_swept(workbench, values))
    except WorkbenchError as error:
        return sweep_views.sweep_refused(error, lang)


def _swept(workbench: Workbench, values: Sequence[Any]) -> tuple[list[RunSpec], list[str]]:
    """The runs, and the settings in which they differ.

    Raises:
        WorkbenchError: H01 for a setting or value that cannot be; A03 and H01 for a form that makes no run.
    """
    typed = [checked_type(value, "sweep") or "" for value in values[:FIELDS]]
    wanted: dict[str, str] = {}
    for path, words in zip(typed[::2], typed[1::2], strict=True):
        if path:
            wanted[path] = f"{wanted[path]}, {words}" if path in wanted else words
    chosen = {path: parse_values(path, words) for path, words in wanted.items()}
    return swept(described(workbench, values[FIELDS:]), chosen), list(chosen)
