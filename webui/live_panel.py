"""The third part of the Training tab: what waits, the run that is open, and all runs of before.

Runs belong to the server; this part only reads. The page notices that something has changed (`pulse`) and then asks
what, since it was drawn; so a reload, a second tab or a restarted server come back to the truth by themselves.
Everything that draws a run here goes one after the other: a page never mixes two runs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from core.errors import WorkbenchError
from core.i18n import Language
from core.training.progress import Snapshot, Status
from core.workbench import Workbench
from webui import (
    compare_panel,
    hints_panel,
    history_panel,
    open_run,
    proposals_panel,
    pulse,
    queue_panel,
    queue_views,
    run_actions,
    run_panel,
    run_views,
    start_panel,
)
from webui.changes import only_new
from webui.charts import ChartView
from webui.compare_panel import ComparePanel
from webui.history_panel import HistoryPanel
from webui.open_run import OpenRun
from webui.queue_panel import QueuePanel
from webui.run_actions import RunActions
from webui.run_panel import RunPanel
from webui.wiring import RAW, RUNS_IN_TURN, Wiring

if TYPE_CHECKING:
    from core.training.queue import QueueState

CHARTS_S = 2.0  # a browser draws the curves anew from nothing, so not at each tick
LISTS = 3  # outputs of `show_run`: queue, choice of a run, history
DRAWN = 25  # all of them: what is open, its buttons, the lists, what was seen, the run in progress
SHOW_FORM_JS = "() => document.getElementById('run-name')?.scrollIntoView({block: 'center'})"


@dataclass(frozen=True)
class Seen:
    """What a page has drawn last; `active` and `queue` are those of that time, `marks` as in `only_new`."""

    run_id: str = ""
    version: int = -1
    lang: str = ""
    active: str | None = None
    queue: QueueState | None = None
    marks: str = ""
    charts_at: float = 0.0


@dataclass(frozen=True)
class LivePanel:
    """The components. `run` is the choice of the run that is open."""

    queue: QueuePanel
    run: gr.Dropdown
    actions: RunActions
    opened: OpenRun
    history: HistoryPanel
    comparing: ComparePanel

    @property
    def wishes(self) -> list[Any]:
        """What a person has chosen to see: the runs that are compared, and how curves are drawn."""
        return [self.comparing.runs, *self.opened.view.values]

    @property
    def shown(self) -> list[Any]:
        """What `show_run` fills, before what was seen and the run in progress."""
        lists = [self.queue.listing, self.run, self.history.listing]
        return [*self.opened.shown, *self.actions.shown, *lists]


def build(wiring: Wiring) -> None:
    wiring.say(gr.Markdown(elem_classes="wb-section"), value="training_tab.live.heading")
    queue = queue_panel.build(wiring)
    run = gr.Dropdown([], elem_id="run-choice")
    wiring.say(run, label="training_tab.live.run", info="training_tab.live.run_info")
    actions = run_actions.build(wiring)
    opened = open_run.build(wiring)
    history = history_panel.build(wiring)
    comparing = compare_panel.build(wiring)
    wiring.shared["repeats"] = gr.State("")  # the id of the run whose settings the form was filled with
    wiring.shared["live-panel"] = LivePanel(queue, run, actions, opened, history, comparing)


def connect(wiring: Wiring) -> list[Any]:
    """Gives the events after which the form holds a run's settings. `active-run` changes as runs begin and end."""
    panel: LivePanel = wiring.shared["live-panel"]
    seen = gr.State(Seen())
    active = wiring.shared["active-run"] = gr.State(None)
    drawn = [*panel.shown, seen, active]
    ticked, chosen = [seen, *panel.wishes], [panel.run, *panel.wishes]
    changes = pulse.build(partial(state_of, wiring.workbench))
    wiring.on(changes.click, tick, ticked, drawn, trigger_mode="always_last", **RUNS_IN_TURN)
    for event in queue_panel.connect(wiring, panel.queue):
        wiring.on(event.then, tick, ticked, drawn, **RUNS_IN_TURN)
    opened = [wiring.language.input, wiring.shared["tab-training"].select, panel.run.input]
    form: RunPanel = wiring.shared["run-panel"]
    held = [wiring.shared["repeats"], *form.inputs]
    begun = wiring.on(form.starting.start.click, start, held, [panel.run, wiring.shared["repeats"]], **RAW).success
    hinted = wiring.on(panel.opened.hints.click, hints_panel.stop, [panel.run], **RAW)
    changed = [event.then for event in (hinted, *run_actions.connect(wiring, panel.actions, panel.run))]
    for trigger in (opened, begun, *changed):
        wiring.on(trigger, show_run, chosen, drawn, **RUNS_IN_TURN)
    clicked = [panel.queue.listing.click, panel.history.listing.click]
    wiring.on(clicked, open_clicked, panel.wishes, drawn, **RUNS_IN_TURN)
    open_run.connect(wiring, panel.opened, panel.run)
    compare_panel.connect(wiring, panel.comparing, panel.history.listing, panel.run, changed)
    return _connect_filling(wiring, panel)


def _connect_filling(wiring: Wiring, panel: LivePanel) -> list[Any]:
    form: RunPanel = wiring.shared["run-panel"]
    actions, repeats = panel.actions, wiring.shared["repeats"]
    others = [form.reset.click, form.reuse.use.click, form.settings["method"].input, form.start_from.input]
    wiring.on(others, repeat_nothing, [], [repeats])
    # Not `input`: a file that is added and a set that is saved as another are chosen for the person.
    wiring.on(form.dataset.change, repeat_on_same_data, [repeats, form.dataset], [repeats], **RAW)
    ways = ((actions.reuse, use_settings), (actions.further, train_further))
    filled = [*form.filled, repeats]
    events = [wiring.on(button.click, handler, [panel.run], filled, **RAW) for button, handler in ways]
    elsewhere = [wiring.shared["tabs"], wiring.shared["model-panel"].precision]
    proposed = panel.opened.progress.click
    events.append(wiring.on(proposed, proposals_panel.fill, [panel.run], [*filled, *elsewhere], **RAW))
    for event in events:
        event.success(None, js=SHOW_FORM_JS, api_visibility="private")
    return [*events, wiring.on(panel.opened.hints.click, hints_panel.fill, [panel.run], filled, **RAW)]


def start(workbench: Workbench, lang: Language, repeats: str, *values: Any) -> list[Any]:
    """Start the run that the form describes and choose it; the form's next run repeats nothing."""
    run_id = start_panel.start_run(workbench, lang, repeats, *values)
    return [gr.update(choices=run_views.run_choices(workbench.runs.list(), lang), value=run_id), ""]


def repeat_nothing(workbench: Workbench, lang: Language) -> str:
    """The form holds other settings than a run's."""
    return ""


def repeat_on_same_data(workbench: Workbench, lang: Language, repeats: str, dataset: str | None) -> str:
    """The run that the form repeats, as long as its data set is that run's and the run is there."""
    try:
        same = bool(repeats) and workbench.runs.spec(repeats).dataset == dataset
    except WorkbenchError:  # it was deleted
        same = False
    return repeats if same else ""


def use_settings(workbench: Workbench, lang: Language, run_id: str | None) -> list[Any]:
    """A run's settings in the form, to change one thing and run it again; and its id."""
    return [*run_panel.fill(workbench, lang, workbench.runs.spec(run_id or "")), run_id]


def train_further(workbench: Workbench, lang: Language, run_id: str | None) -> list[Any]:
    """A run's settings in the form, starting from the adapter it made; that is no repetition."""
    return [*run_panel.fill(workbench, lang, workbench.runs.further(run_id or "")), ""]


def state_of(workbench: Workbench) -> str:
    """A word that is another one when `tick` would draw something."""
    active = workbench.runs.active()
    version = workbench.runs.snapshot(active).version if active else 0
    return f"{active}/{version}/{hash(workbench.runs.queue()):x}"


def tick(workbench: Workbench, lang: Language, seen: Seen, *wishes: Any) -> list[Any]:
    """What has changed since `seen`. A run that begins is followed by a page that does not look at another one."""
    active, queue = workbench.runs.active(), workbench.runs.queue()
    if lang != seen.lang:
        return nothing_new()  # the switch itself draws all anew
    if active != seen.active or queue != seen.queue:
        follows = active and seen.active in (None, seen.run_id)
        return show_run(workbench, lang, active if follows else seen.run_id, *wishes)
    if not active or active != seen.run_id:
        return nothing_new()
    snapshot = workbench.runs.snapshot(active)
    if snapshot.version == seen.version:
        return nothing_new()
    now = time.monotonic()
    due = now - seen.charts_at >= CHARTS_S
    updates = draw(workbench, snapshot, ChartView.of(*wishes[1:]) if due else None, lang)
    sent, marks = only_new(updates, seen.marks)
    seen = replace(seen, version=snapshot.version, marks=marks, charts_at=now if due else seen.charts_at)
    return [*sent, *[gr.skip()] * LISTS, seen, gr.skip()]


def open_clicked(workbench: Workbench, lang: Language, event: gr.EventData, *wishes: Any) -> list[Any]:
    """The run whose name was clicked in the list of all."""
    run_id = history_panel.clicked(workbench, event, "open")
    return show_run(workbench, lang, run_id, *wishes) if run_id else nothing_new()


def show_run(workbench: Workbench, lang: Language, run_id: str | None, *wishes: Any) -> list[Any]:
    """All that this part shows, with a run as it stands: the wished one, else the one in progress, else the newest.

    The newest that has begun, where one has.
    """
    queue, runs = workbench.runs.queue(), workbench.runs.list()
    active, known = workbench.runs.active(), [run.run_id for run in runs]
    begun = [run.run_id for run in runs if run.status != Status.QUEUED]
    chosen = next((wish for wish in (run_id, active, *begun, *known) if wish in known), None)
    lists = [
        queue_views.queue_card(queue, lang),
        gr.update(choices=run_views.run_choices(runs, lang), value=chosen),
        history_panel.draw(runs, chosen, wishes[0], lang),
    ]
    seen = Seen(lang=lang, active=active, queue=queue)
    if chosen is None:
        updates = [*open_run.draw_nothing(lang), *run_actions.draw_nothing()]
    else:
        snapshot = workbench.runs.snapshot(chosen)
        every_output = ",".join("?" * (DRAWN - LISTS - 2))  # the page may show another run in each of them
        updates, marks = only_new(draw(workbench, snapshot, ChartView.of(*wishes[1:]), lang), every_output)
        seen = replace(seen, run_id=chosen, version=snapshot.version, marks=marks, charts_at=time.monotonic())
    return [*updates, *lists, seen, active]


def draw(workbench: Workbench, snapshot: Snapshot, view: ChartView | None, lang: Language) -> list[Any]:
    """A run as the updates of what is open and of its buttons; without a view its curves stay as they are."""
    return [*open_run.draw(workbench, snapshot, view, lang), *run_actions.draw(snapshot, lang)]


def nothing_new() -> list[Any]:
    """No update of anything that `show_run` fills."""
    return [gr.skip()] * DRAWN
