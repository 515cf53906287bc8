"""Fixes of a data set: a checkbox for each that would change a row, with how many, and rows before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.data.options import FIXES
from webui.data_recipe import FIX_FIELDS
from webui.data_view import DataView, Properties
from webui.fix_views import before_and_after, fix_label
from webui.wiring import Wiring


@dataclass(frozen=True)
class FixesPanel:
    """The components beside the checkboxes, which belong to the form."""

    part: gr.Accordion
    rows: tuple[gr.Row, ...]
    samples: tuple[gr.HTML, ...]

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        return [self.part, *self.rows, *self.samples]


def build(wiring: Wiring) -> FixesPanel:
    form, rows, samples = wiring.shared["data-form"], [], []
    with wiring.say(gr.Accordion(open=True, visible=False, elem_id="fixes-part"), label="data_tab.fixes.title") as part:
        wiring.say(gr.Markdown(), value="data_tab.fixes.text")
        skip = form["skip_bad_rows"] = gr.Checkbox(elem_id="skip-bad-rows")
        wiring.say(skip, label="data_tab.fixes.skip_bad_rows", info="data_tab.fixes.skip_bad_rows_info")
        for name, field in FIX_FIELDS.items():
            with gr.Row(visible=False, elem_classes="wb-fix") as row:
                form[field] = gr.Checkbox(elem_id=field, scale=2, min_width=280)
                # Its label counts rows, so `properties` says it.
                wiring.say(form[field], info=f"data.fixes.{name}.help")
                samples.append(gr.HTML(elem_id=f"{field}-rows"))
            rows.append(row)
    return FixesPanel(part, tuple(rows), tuple(samples))


def properties(view: DataView) -> Properties:
    """The label of each checkbox, which counts rows."""
    if view.report is None:
        return {}
    offers = {offer.name: offer for offer in view.report.offers}
    seen = [name for name in FIXES if name in offers or name in view.recipe.fixes]
    return {FIX_FIELDS[name]: {"label": fix_label(offers.get(name), name, view.lang)} for name in seen}


def draw(view: DataView) -> list[Any]:
    """As `FixesPanel.shown`: fixes that would change a row, or are applied."""
    report = view.report
    if report is None:
        return [gr.update(visible=False) if view.fresh else gr.skip(), *[gr.skip()] * 2 * len(FIXES)]
    offers = {offer.name: offer for offer in report.offers}
    seen = [name in offers or name in view.recipe.fixes for name in FIXES]
    bad = bool(report.errors) and report.format is not None
    return [
        gr.update(visible=bad or any(seen) or view.recipe.skip_bad_rows),
        *(gr.update(visible=each) for each in seen),
        *(before_and_after(offers[name], view.lang) if name in offers else gr.skip() for name in FIXES),
    ]
