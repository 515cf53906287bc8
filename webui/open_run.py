"""The run that is open: its progress, end, curves, sample answers, log and settings. Components, and their drawing.

It only reads. What is done with a run is `run_actions`' affair, when it is drawn anew `live_panel`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import WorkbenchError
from core.i18n import Language
from core.training import health
from core.training.progress import Snapshot
from core.workbench import Workbench
from webui import chart_controls, charts, health_views, hints_panel, run_views
from webui.changes import Anew
from webui.chart_controls import ChartControls
from webui.charts import ChartView
from webui.preview_panel import CLICKS_JS
from webui.wiring import RAW, Wiring


@dataclass(frozen=True)
class OpenRun:
    """The components."""

    progress: gr.HTML
    hints: gr.HTML
    result: gr.HTML
    part: gr.Column
    view: ChartControls
    loss: gr.Plot
    learning_rate: gr.Plot
    grad_norm: gr.Plot
    samples: gr.HTML
    log: gr.HTML
    spec: gr.Code
    command: gr.Code

    @property
    def plots(self) -> list[Any]:
        """What `figures` fills."""
        return [self.loss, self.learning_rate, self.grad_norm]

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        head = [self.progress, self.hints, self.result, self.part]
        return [*head, *self.plots, self.samples, self.log, self.spec, self.command]


def build(wiring: Wiring) -> OpenRun:
    progress = gr.HTML(elem_id="run-progress", js_on_load=CLICKS_JS)
    hints = hints_panel.build()
    result = gr.HTML(elem_id="run-result")
    with gr.Column(visible=False, elem_id="plots") as part:
        view = chart_controls.build(wiring, "chart")
        with gr.Row(elem_classes="wb-columns"):
            loss = _plot(wiring, "loss", scale=3, min_width=320)
            with gr.Column(scale=2, min_width=300):
                learning_rate = _plot(wiring, "learning_rate")
                grad_norm = _plot(wiring, "grad_norm")
    with wiring.say(gr.Accordion(open=True, elem_id="samples-part"), label="training_tab.samples.title"):
        samples = gr.HTML(elem_id="run-samples")
    with wiring.say(gr.Accordion(open=False, elem_id="log-part"), label="training_tab.live.log"):
        log = gr.HTML(elem_id="run-log")
    with wiring.say(gr.Accordion(open=False, elem_id="spec-part"), label="training_tab.live.spec"):
        command = gr.Code(language="shell", interactive=False, wrap_lines=True, elem_id="run-command")
        wiring.say(command, label="runs_tab.command")
        spec = gr.Code(language="yaml", interactive=False, max_lines=30, elem_id="run-spec")
        wiring.say(spec, label="training_tab.live.spec_label")
    return OpenRun(progress, hints, result, part, view, loss, learning_rate, grad_norm, samples, log, spec, command)


def _plot(wiring: Wiring, name: str, **options: Any) -> gr.Plot:
    plot = gr.Plot(show_label=False, elem_id=f"plot-{name}", **options)
    return wiring.say(plot, label=f"runs_tab.chart.{name}")


def connect(wiring: Wiring, panel: OpenRun, run: gr.Dropdown) -> None:
    wiring.on(panel.view.changed, show_charts, [run, *panel.view.values], panel.plots, **RAW)


def draw(workbench: Workbench, snapshot: Snapshot, view: ChartView | None, lang: Language) -> list[Any]:
    """A snapshot as `OpenRun.shown`; without a view the curves, and what they say, stay as they are."""
    spec, command = written(workbench, snapshot.run_id)
    return [
        run_views.run_progress(snapshot, lang),
        health_views.hint_cards(health.hints(snapshot), lang) if view else gr.skip(),
        run_views.run_result(snapshot, _folders(workbench, snapshot), lang),
        gr.update(visible=bool(snapshot.losses)),
        *(map(Anew, figures(snapshot, view, lang)) if view else [gr.skip()] * 3),
        run_views.samples_table(snapshot.samples, lang),
        run_views.log_lines(snapshot.log, lang),
        spec,
        command,
    ]


def _folders(workbench: Workbench, snapshot: Snapshot) -> list[tuple[str, str]]:
    """Where what a run made and its own files are, as `run_views.run_result` takes them."""
    workspace = workbench.workspace
    made = workspace.results(snapshot.makes)
    kept = [(f"{snapshot.makes}_folder", str(made / snapshot.adapter))] if snapshot.adapter else []
    return [*kept, ("run_folder", str(workspace.runs / snapshot.run_id))]


def draw_nothing(lang: Language) -> list[Any]:
    """As `draw`, where there is no run yet."""
    hidden, samples = gr.update(visible=False), run_views.samples_table((), lang)
    return [run_views.no_run(lang), "", "", hidden, None, None, None, samples, "", "", ""]


def figures(snapshot: Snapshot, view: ChartView, lang: Language) -> list[Any]:
    """As `OpenRun.plots`."""
    drawing = (charts.loss_figure, charts.learning_rate_figure, charts.grad_norm_figure)
    return [drawn(snapshot, view, lang) for drawn in drawing]


def show_charts(workbench: Workbench, lang: Language, run_id: str | None, *view: object) -> list[Any]:
    """The curves of a run as a person now wants to see them."""
    return figures(workbench.runs.snapshot(run_id), ChartView.of(*view), lang) if run_id else [gr.skip()] * 3


def written(workbench: Workbench, run_id: str) -> tuple[str, str]:
    """The settings of a run as YAML and the command that makes it again.

    Both are "" where the run has not written them yet or its file is damaged.
    """
    try:
        return workbench.runs.spec_text(run_id), workbench.runs.command(run_id)
    except WorkbenchError:
        return "", ""
