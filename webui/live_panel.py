"""The third part of the Training tab: a run as it goes, its end, and the runs of before.

A run belongs to the server; this panel only reads. A timer asks for the chosen run's snapshot and draws it when it has
changed, so a reload, a second tab or a restarted server come back to the truth by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import WorkbenchError
from core.i18n import Language, text
from core.training.progress import Snapshot
from core.workbench import Workbench
from webui import charts, resume_panel, run_views
from webui.resume_panel import ResumePanel
from webui.run_panel import start_run
from webui.wiring import RAW, Wiring

ACTIVE_TICK_S = 1.0
DRAWN = 16  # outputs of `show_run`: LivePanel.shown, the timer, what was seen, the run in progress
IDLE_TICK_S = 2.0  # how soon another tab notices that a run has begun


@dataclass(frozen=True)
class Seen:
    """What a page has drawn last; `active` is the run in progress at that time, `spec` the settings that are shown."""

    run_id: str = ""
    version: int = -1
    lang: str = ""
    active: str | None = None
    spec: str = ""


@dataclass(frozen=True)
class LivePanel:
    """The components. `shown` are those that `show_run` fills."""

    run: gr.Dropdown
    progress: gr.HTML
    result: gr.HTML
    plots: gr.Row
    loss: gr.LinePlot
    learning_rate: gr.LinePlot
    samples: gr.HTML
    log: gr.HTML
    spec: gr.Code
    delete: gr.Button
    stop: gr.Button
    chat: gr.Button
    resuming: ResumePanel
    dialog: gr.Column
    keep: gr.Button
    discard: gr.Button
    go_on: gr.Button
    delete_dialog: gr.Column
    delete_yes: gr.Button
    delete_no: gr.Button

    @property
    def shown(self) -> list[Any]:
        drawn = [self.progress, self.result, self.plots, self.loss, self.learning_rate, self.samples, self.log]
        return [*drawn, self.spec, self.resuming.resume, self.delete, self.stop, self.chat, self.run]


def build(wiring: Wiring) -> None:
    wiring.say(gr.Markdown(elem_classes="wb-section"), value="training_tab.live.heading")
    with gr.Row(equal_height=False, elem_classes="wb-columns"):
        run = gr.Dropdown([], elem_id="run-choice", scale=3)
        wiring.say(run, label="training_tab.live.run", info="training_tab.live.run_info")
        with gr.Column(scale=2, min_width=300), gr.Row():
            stop = gr.Button(variant="stop", visible=False, elem_id="stop-run")
            wiring.say(stop, value="training_tab.live.stop")
            words = text("training_tab.live.chat", wiring.start_language)  # later `draw` says it: it depends on the run
            chat = gr.Button(words, variant="primary", visible=False, elem_id="chat-with-it")
            resume = resume_panel.build_button(wiring)
            delete = gr.Button(visible=False, elem_id="delete-run")
            wiring.say(delete, value="training_tab.delete_run.delete")
    resuming = resume_panel.build_dialog(wiring, resume)
    dialog, buttons = _build_dialog(wiring)
    delete_dialog, delete_buttons = _build_delete_dialog(wiring)
    progress = gr.HTML(elem_id="run-progress")
    result = gr.HTML(elem_id="run-result")
    with gr.Row(visible=False, elem_classes="wb-columns", elem_id="plots") as plots:
        loss = _plot(wiring, "loss", scale=3)
        learning_rate = _plot(wiring, "learning_rate", scale=2)
    with wiring.say(gr.Accordion(open=True, elem_id="samples-part"), label="training_tab.samples.title"):
        samples = gr.HTML(elem_id="run-samples")
    with wiring.say(gr.Accordion(open=False, elem_id="log-part"), label="training_tab.live.log"):
        log = gr.HTML(elem_id="run-log")
    with wiring.say(gr.Accordion(open=False, elem_id="spec-part"), label="training_tab.live.spec"):
        spec = gr.Code(language="yaml", interactive=False, max_lines=30, elem_id="run-spec")
        wiring.say(spec, label="training_tab.live.spec_label")
    drawn = (progress, result, plots, loss, learning_rate, samples, log, spec, delete, stop, chat, resuming)
    wiring.shared["live-panel"] = LivePanel(run, *drawn, dialog, *buttons, delete_dialog, *delete_buttons)


def _build_dialog(wiring: Wiring) -> tuple[gr.Column, tuple[gr.Button, gr.Button, gr.Button]]:
    with gr.Column(visible=False, elem_id="stop-dialog", elem_classes="wb-dialog") as dialog:
        wiring.say(gr.Markdown(), value="training_tab.stop.question")
        with gr.Row():
            keep = wiring.say(gr.Button(variant="primary", elem_id="stop-keep"), value="training_tab.stop.keep")
            discard = wiring.say(gr.Button(variant="stop", elem_id="stop-discard"), value="training_tab.stop.discard")
            go_on = wiring.say(gr.Button(elem_id="stop-go-on"), value="training_tab.stop.go_on")
    return dialog, (keep, discard, go_on)


def _build_delete_dialog(wiring: Wiring) -> tuple[gr.Column, tuple[gr.Button, gr.Button]]:
    with gr.Column(visible=False, elem_id="delete-run-dialog", elem_classes="wb-dialog") as dialog:
        wiring.say(gr.Markdown(), value="training_tab.delete_run.question")
        with gr.Row():
            yes = wiring.say(gr.Button(variant="stop", elem_id="delete-run-yes"), value="training_tab.delete_run.yes")
            no = wiring.say(gr.Button(elem_id="delete-run-no"), value="training_tab.delete_run.no")
    return dialog, (yes, no)


def _plot(wiring: Wiring, name: str, scale: int) -> gr.LinePlot:
    plot = gr.LinePlot(
        x="step",
        y="value",
        color="series",
        color_title="",
        height=280,
        scale=scale,
        min_width=320,
        elem_id=f"plot-{name}",
    )
    return wiring.say(plot, label=f"training_tab.chart.{name}_title")


def connect(wiring: Wiring, form: list[Any], start_button: gr.Button) -> None:
    """`form` is what `start_run` takes. `active-run` changes when a run begins or ends."""
    panel: LivePanel = wiring.shared["live-panel"]
    timer = gr.Timer(IDLE_TICK_S)
    seen = gr.State(Seen())
    active = wiring.shared["active-run"] = gr.State(None)
    drawn = [*panel.shown, timer, seen, active]
    wiring.on(start_button.click, start, form, drawn, **RAW)
    opened = [wiring.shared["tab-training"].select, panel.run.input]
    # A plot keeps the names of its curves until it has been empty.
    emptied = wiring.on(wiring.language.input, empty_plots, [], [panel.loss, panel.learning_rate])
    for trigger in (opened, emptied.then):
        wiring.on(trigger, show_run, [panel.run], drawn, **RAW)
    wiring.on(timer.tick, tick, [seen], drawn, concurrency_limit=None, trigger_mode="once")
    wiring.on(panel.stop.click, lambda workbench, lang: gr.update(visible=True), [], [panel.dialog])
    wiring.on(panel.delete.click, lambda workbench, lang: gr.update(visible=True), [], [panel.delete_dialog])
    ways = [panel.keep.click, panel.discard.click, panel.go_on.click]
    wiring.on(ways, lambda workbench, lang: gr.update(visible=False), [], [panel.dialog])
    answers = [panel.delete_yes.click, panel.delete_no.click]
    wiring.on(answers, lambda workbench, lang: gr.update(visible=False), [], [panel.delete_dialog])
    wiring.on(panel.delete_yes.click, delete_run, [panel.run], drawn, **RAW)
    for button, handler in ((panel.keep, stop_and_keep), (panel.discard, stop_and_discard)):
        stopped = wiring.on(button.click, handler, [panel.run], **RAW)
        wiring.on(stopped.then, tick, [seen], drawn)
    for resumed in resume_panel.connect(wiring, panel.resuming, panel.run):
        wiring.on(resumed.then, tick, [seen], drawn)
    outputs = [wiring.shared["tabs"], wiring.shared["chat-columns"]]
    wiring.on(panel.chat.click, chat_with_it, [panel.run], outputs, **RAW)


def empty_plots(workbench: Workbench, lang: Language) -> list[Any]:
    return [None, None]


def start(workbench: Workbench, lang: Language, *values: Any) -> list[Any]:
    """Start the run that the form describes and show it."""
    return show_run(workbench, lang, start_run(workbench, lang, *values))


def tick(workbench: Workbench, lang: Language, seen: Seen) -> list[Any]:
    """What has changed since `seen`; a run that began elsewhere is shown at once."""
    active = workbench.active_run()
    if lang != seen.lang:
        return nothing_new()  # the switch itself draws all anew
    if active != seen.active:
        return show_run(workbench, lang, active or seen.run_id)
    if not active or active != seen.run_id:
        return nothing_new()
    snapshot = workbench.snapshot(active)
    if snapshot.version == seen.version:
        return nothing_new()
    spec = spec_text(workbench, active)
    now = Seen(active, snapshot.version, lang, active, spec)
    drawn = draw(workbench, snapshot, lang, gr.skip() if spec == seen.spec else spec)
    return [*drawn, gr.skip(), gr.skip(), now, gr.skip()]


def show_run(workbench: Workbench, lang: Language, run_id: str | None) -> list[Any]:
    """A run as it stands: the wished one, else the one in progress, else the newest."""
    active = workbench.active_run()
    runs = workbench.runs()
    known = [run.run_id for run in runs]
    chosen = next((wish for wish in (run_id, active, *known) if wish in known), None)
    timer = gr.Timer(ACTIVE_TICK_S if active else IDLE_TICK_S)
    if chosen is None:
        return [*_nothing_yet(lang), timer, Seen(lang=lang, active=active), active]
    snapshot = workbench.snapshot(chosen)
    choice = gr.update(choices=run_views.run_choices(runs, lang), value=chosen)
    spec = spec_text(workbench, chosen)
    seen = Seen(chosen, snapshot.version, lang, active, spec)
    return [*draw(workbench, snapshot, lang, spec), choice, timer, seen, active]


def spec_text(workbench: Workbench, run_id: str) -> str:
    """The settings of a run as YAML; "" where the run has not written them yet or its file is damaged."""
    try:
        return workbench.run_spec_text(run_id)
    except WorkbenchError:
        return ""


def draw(workbench: Workbench, snapshot: Snapshot, lang: Language, spec: Any) -> list[Any]:
    """A snapshot as the updates of the panel's components, the choice of a run apart; `spec` is that of its settings.

    Settings that are shown already are not sent again: that would undo what a person has selected in them.
    """
    steps = snapshot.steps
    folders = [("run_folder", str(workbench.workspace.runs / snapshot.run_id))]
    if snapshot.adapter:
        folders.insert(0, ("adapter_folder", str(workbench.workspace.adapters / snapshot.adapter)))
    can_chat = bool(snapshot.adapter) or (snapshot.status.active and snapshot.checkpoint_step is not None)
    key = "training_tab.live.chat_now" if snapshot.status.active else "training_tab.live.chat"
    return [
        run_views.run_progress(snapshot, lang),
        run_views.run_result(snapshot, folders, lang),
        gr.update(visible=bool(snapshot.losses)),
        gr.update(**charts.loss_chart(snapshot.losses, snapshot.evals, steps, lang)),
        gr.update(**charts.learning_rate_chart(snapshot.learning_rates, steps, lang)),
        run_views.samples_table(snapshot.samples, lang),
        run_views.log_lines(snapshot.log, lang),
        spec,
        resume_panel.button(snapshot, lang),
        gr.update(visible=not snapshot.status.active),
        gr.update(visible=snapshot.status.active),
        gr.update(visible=can_chat, value=text(key, lang)),
    ]


def _nothing_yet(lang: Language) -> list[Any]:
    drawn = [
        run_views.no_run(lang),
        "",
        gr.update(visible=False),
        *[gr.update(value=None)] * 2,
        run_views.samples_table((), lang),
        "",
        "",
    ]
    return [*drawn, *[gr.update(visible=False)] * 4, gr.update(choices=[], value=None)]


def nothing_new() -> list[Any]:
    """No update of anything that `show_run` fills."""
    return [gr.skip()] * DRAWN


def stop_and_keep(workbench: Workbench, lang: Language, run_id: str | None) -> None:
    workbench.stop_run(run_id or "", keep=True)


def stop_and_discard(workbench: Workbench, lang: Language, run_id: str | None) -> None:
    workbench.stop_run(run_id or "", keep=False)


def delete_run(workbench: Workbench, lang: Language, run_id: str | None) -> list[Any]:
    """Delete the chosen run with its checkpoints and show the one in progress, else the newest."""
    workbench.delete_run(run_id or "")
    return show_run(workbench, lang, None)


def chat_with_it(workbench: Workbench, lang: Language, run_id: str | None) -> list[Any]:
    """Apply the run's adapter (as of its last checkpoint while it goes on) and open the chat beside the base model."""
    snapshot = workbench.snapshot(run_id or "")
    if snapshot.status.active:
        name = workbench.apply_run(snapshot.run_id)
    else:
        name = snapshot.adapter or ""
        workbench.apply_adapter(name)
    choices = [(text("training_tab.live.base", lang), ""), *((entry, entry) for entry in workbench.applied())]
    return [gr.Tabs(selected="chat"), gr.update(choices=choices, value=["", name])]
