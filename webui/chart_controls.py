"""The controls above a chart of losses: its axis, how much it is smoothed, whether its values are logarithms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.i18n import Language, text
from webui.charts import SMOOTHING
from webui.wiring import Wiring

SMOOTHEST = 0.99


@dataclass(frozen=True)
class ChartControls:
    axis: gr.Radio
    log: gr.Checkbox
    smoothing: gr.Slider

    @property
    def values(self) -> list[Any]:
        """In the order that `ChartView.of` takes them."""
        return [self.axis, self.log, self.smoothing]

    @property
    def changed(self) -> list[Any]:
        """The events after which the chart is to be drawn another way."""
        return [self.axis.input, self.log.input, self.smoothing.release]


def build(wiring: Wiring, prefix: str) -> ChartControls:
    with gr.Row(elem_classes="wb-chart-view"):
        axis = wiring.say_with(gr.Radio(value="step", elem_id=f"{prefix}-axis", min_width=160), _axis_words)
        smoothing = gr.Slider(
            0, SMOOTHEST, SMOOTHING, step=0.01, elem_id=f"{prefix}-smoothing", min_width=220, buttons=[]
        )
        wiring.say(smoothing, label="runs_tab.view.smoothing")
        log = wiring.say(gr.Checkbox(False, elem_id=f"{prefix}-log", min_width=160), label="runs_tab.view.log")
    return ChartControls(axis, log, smoothing)


def _axis_words(lang: Language) -> dict[str, Any]:
    choices = [(text(f"runs_tab.view.{axis}", lang), axis) for axis in ("step", "epoch")]
    return {"label": text("runs_tab.view.axis", lang), "choices": choices}
