"""The last part of the Training tab: an evaluation to start, the one in progress, all of before, and a report.

Evaluations belong to the server; this part only reads. A timer runs while one goes on, and its report opens when it has
ended. Owns which report is open; the form is `evaluation_form_panel`'s, the report `evaluation_report_panel`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import WorkbenchError, refusal
from core.i18n import Language, text
from core.training.progress import Status
from core.workbench import Workbench
from webui import (
    evaluation_form_panel,
    evaluation_overview_panel,
    evaluation_report_panel,
    evaluation_views,
    run_actions,
)
from webui.evaluation_form import named, spec_from
from webui.evaluation_form_panel import EvaluationForm
from webui.evaluation_overview_panel import OverviewPanel
from webui.evaluation_report_panel import ReportPanel
from webui.part_choice import ALL, BY_RUN
from webui.preview_panel import CLICKS_JS
from webui.run_actions import Dialog
from webui.wiring import RAW, Wiring

TICK_S = 1.5
SHOW_JS = "() => document.getElementById('evaluate-part')?.scrollIntoView({block: 'start'})"
SHOW_REPORT_JS = "() => document.getElementById('evaluation-report')?.scrollIntoView({block: 'start'})"


@dataclass(frozen=True)
class EvaluatePanel:
    """The components. `going_on` holds the id of the evaluation that is watched, `opened` that of the report shown."""

    form: EvaluationForm
    progress: gr.HTML
    cancel: gr.Button
    listing: gr.HTML
    overview: OverviewPanel
    deleting: Dialog
    judging: Dialog  # again
    asked: gr.State  # the id that a question is about
    report: ReportPanel
    timer: gr.Timer
    going_on: gr.State
    opened: gr.State

    @property
    def watched(self) -> list[Any]:
        """What `watch` fills."""
        return [self.progress, self.cancel, self.timer, self.going_on, self.opened]


def build(wiring: Wiring) -> None:
    wiring.say(gr.Markdown(elem_classes="wb-section"), value="evaluate.heading")
    form = evaluation_form_panel.build(wiring)
    progress = gr.HTML(elem_id="evaluation-progress")
    with gr.Row(elem_classes="wb-buttons"):
        cancel = gr.Button(visible=False, variant="stop", elem_id="evaluation-cancel")
        wiring.say(cancel, value="evaluate.cancel")
    listing = gr.HTML(elem_id="evaluations", js_on_load=CLICKS_JS)
    overview = evaluation_overview_panel.build(wiring)
    deleting = run_actions.build_dialog(wiring, "evaluate.delete_evaluation", {"yes": "stop", "no": "secondary"})
    judging = run_actions.build_dialog(wiring, "evaluate.judge_again", {"yes": "primary", "no": "secondary"})
    report = evaluation_report_panel.build(wiring)
    wiring.shared["evaluate-panel"] = EvaluatePanel(
        form=form,
        progress=progress,
        cancel=cancel,
        listing=listing,
        overview=overview,
        deleting=deleting,
        judging=judging,
        asked=gr.State(""),
        report=report,
        timer=gr.Timer(TICK_S, active=False),
        going_on=gr.State(""),
        opened=gr.State(""),
    )


def connect(wiring: Wiring) -> None:
    panel: EvaluatePanel = wiring.shared["evaluate-panel"]
    form = panel.form
    describing = evaluation_form_panel.connect(wiring, form)
    evaluation_report_panel.connect(wiring, panel.report, panel.opened)
    evaluation_overview_panel.connect(wiring, panel.overview)
    states = [panel.going_on, panel.opened]
    drawn = [*form.offered, *form.described, *panel.watched, panel.listing, *panel.overview.shown]
    looked_at = [wiring.language.input, wiring.shared["tab-training"].select]
    wiring.on(looked_at, show, [*states, *form.inputs(wiring)], drawn, **RAW)
    wiring.on([panel.going_on.change, panel.opened.change], listed, [panel.opened], [panel.listing])
    wiring.on(panel.going_on.change, evaluation_overview_panel.draw, [], panel.overview.shown)
    describing.after(panel.going_on.change)
    wiring.on(form.start.click, start, form.inputs(wiring), panel.watched, **RAW)
    wiring.on(panel.timer.tick, watch, states, panel.watched, trigger_mode="once")
    wiring.on(panel.cancel.click, cancel, [panel.going_on])
    wiring.on(wiring.language.input, show_report, [panel.opened], panel.report.shown)
    shown = wiring.on(panel.opened.change, show_report, [panel.opened], panel.report.shown)
    shown.success(None, js=SHOW_REPORT_JS, api_visibility="private")
    wiring.on(panel.report.close.click, close_report, [], [panel.opened])
    _connect_list(wiring, panel)
    describing.after(_connect_run(wiring, panel))


def _connect_list(wiring: Wiring, panel: EvaluatePanel) -> None:
    """The buttons of the list: open, start again, delete; deleting and asking a judge again are asked about first."""
    dialogs = (panel.deleting, panel.judging)
    asking = [component for dialog in dialogs for component in (dialog.box, dialog.question)]
    wiring.on(panel.listing.click, choose, [], [panel.opened, panel.asked, *asking])
    wiring.on(panel.listing.click, again, [panel.opened], panel.watched)
    for dialog in dialogs:
        wiring.on([each.click for each in dialog.answers], run_actions.hide, [], [dialog.box])
    (yes, _), (agreed, _) = (dialog.answers for dialog in dialogs)
    gone = wiring.on(yes.click, delete, [panel.asked, panel.opened], [panel.opened])
    wiring.on(gone.then, listed, [panel.opened], [panel.listing])
    wiring.on(gone.then, evaluation_overview_panel.draw, [], panel.overview.shown)
    wiring.on(agreed.click, judge_again, [panel.asked, panel.opened], panel.watched)


def _connect_run(wiring: Wiring, panel: EvaluatePanel) -> Any:
    """“Evaluate” on the page of a run that has ended; gives the event after which the form holds that run."""
    live = wiring.shared["live-panel"]
    names = ("dataset", "part", "columns", "fields")
    filled = [panel.form.part, *(panel.form.form[name] for name in names)]
    event = wiring.on(live.actions.evaluate.click, from_run, [live.run], filled, **RAW)
    withdrawn = evaluation_form_panel.connect_withdrawal(wiring, panel.form, event.success)
    event.success(None, js=SHOW_JS, api_visibility="private")
    return withdrawn.then


def show(workbench: Workbench, lang: Language, going_on: Any, opened: Any, *values: Any) -> list[Any]:
    """All of this part but the report, as it is now: one answer, as each costs the browser time."""
    form = named(values)
    offered = evaluation_form_panel.offer(workbench, lang, *(form[name] for name in ("dataset", "part", "columns")))
    described = evaluation_form_panel.describe(workbench, lang, *values)
    watched = watch(workbench, lang, going_on, opened)
    overview = evaluation_overview_panel.draw(workbench, lang)
    return [*offered, *described, *watched, listed(workbench, lang, opened), *overview]


def start(workbench: Workbench, lang: Language, *values: Any) -> list[Any]:
    """Begin the evaluation that the form describes.

    Raises:
        WorkbenchError: A24 where a judge is asked for and nobody agreed; else what the form or the desk refuses.
    """
    status = workbench.model_status()
    spec = spec_from(status.name if status else "", values)
    if spec.judge and named(values)["consent"] is not True:
        raise refusal("A24_judge_not_agreed")
    evaluation_id = workbench.evaluations.start(spec)
    return watch(workbench, lang, evaluation_id, "")


def watch(workbench: Workbench, lang: Language, going_on: Any, opened: Any) -> list[Any]:
    """How far the evaluation in progress is; of one that has ended, its report or why there is none.

    As `EvaluatePanel.watched`. Another page may have started it.
    """
    active = workbench.evaluations.active()
    if active:
        card = evaluation_views.progress_card(workbench.evaluations.status(active), _name(workbench, active), lang)
        return [card, gr.update(visible=True), gr.Timer(active=True), active, opened]
    ended, card = _ended(workbench, lang, going_on)
    return [card, gr.update(visible=False), gr.Timer(active=False), "", ended or opened]


def _ended(workbench: Workbench, lang: Language, evaluation_id: Any) -> tuple[str, Any]:
    """The id of an evaluation that was watched, where it has a report; else why it has none."""
    if not evaluation_id:
        return "", gr.skip()
    try:
        status = workbench.evaluations.status(evaluation_id)
    except WorkbenchError:  # deleted meanwhile, perhaps on another page
        return "", ""
    if status.status == Status.FINISHED:
        return evaluation_id, ""
    return "", evaluation_views.ended_card(status, _name(workbench, evaluation_id), lang)


def _name(workbench: Workbench, evaluation_id: str) -> str:
    return workbench.evaluations.spec(evaluation_id).name


def cancel(workbench: Workbench, lang: Language, going_on: Any) -> None:
    if going_on:
        workbench.evaluations.cancel(going_on)


def listed(workbench: Workbench, lang: Language, opened: Any) -> str:
    """Every evaluation, the opened one marked."""
    return evaluation_views.evaluation_list(workbench.evaluations.list(), opened, lang)


def show_report(workbench: Workbench, lang: Language, opened: Any) -> list[Any]:
    """The report that is open; nothing where none is, or it is gone."""
    if not opened:
        return evaluation_report_panel.draw_nothing()
    return evaluation_report_panel.draw(workbench.evaluations.result(opened), lang)


def close_report(workbench: Workbench, lang: Language) -> str:
    return ""


def choose(workbench: Workbench, lang: Language, event: gr.EventData) -> list[Any]:
    """Open the report whose name was clicked, or ask whether one is to be deleted, or judged once more."""
    way, evaluation_id = _clicked(workbench, event)
    skipped, shown = [gr.skip()] * 2, gr.update(visible=True)
    if way == "open":
        return [evaluation_id, *[gr.skip()] * 5]
    if way == "delete":
        question = text("evaluate.delete_evaluation.question", lang, name=_name(workbench, evaluation_id))
        return [gr.skip(), evaluation_id, shown, question, *skipped]
    sent = workbench.evaluations.outgoing(workbench.evaluations.spec(evaluation_id)) if way == "again" else None
    if sent:
        question = text("evaluate.judge_again.question", lang, name=_name(workbench, evaluation_id))
        return [gr.skip(), evaluation_id, *skipped, shown, f"{question}\n\n{evaluation_views.leaving(sent, lang)}"]
    return [gr.skip()] * 6


def again(workbench: Workbench, lang: Language, event: gr.EventData, opened: Any) -> list[Any]:
    """Begin anew what has not finished, where that is what was clicked and nobody has to agree first."""
    way, evaluation_id = _clicked(workbench, event)
    if way != "again" or workbench.evaluations.spec(evaluation_id).judge:
        return [gr.skip()] * 5
    return watch(workbench, lang, workbench.evaluations.again(evaluation_id), opened)


def judge_again(workbench: Workbench, lang: Language, asked: Any, opened: Any) -> list[Any]:
    """Begin anew what has a judge, after somebody agreed."""
    return watch(workbench, lang, workbench.evaluations.again(asked, agreed=True), opened)


def _clicked(workbench: Workbench, event: gr.EventData) -> tuple[str, str]:
    """What a button of the list does, and to which evaluation; ("", "") where there is no such evaluation."""
    way, evaluation_id = getattr(event, "do", None), getattr(event, "evaluation", None)
    known = evaluation_id in [each.id for each in workbench.evaluations.list()]
    return (str(way), str(evaluation_id)) if known else ("", "")


def delete(workbench: Workbench, lang: Language, asked: Any, opened: Any) -> Any:
    """Delete the evaluation that the question was about; its report is closed."""
    workbench.evaluations.delete(asked)
    return "" if opened == asked else gr.skip()


def from_run(workbench: Workbench, lang: Language, run_id: str | None) -> list[Any]:
    """The form for what a run made: its adapter beside the base model, on the rows it held out, if it held out any."""
    snapshot = workbench.runs.snapshot(run_id or "")
    workbench.data.find(snapshot.dataset)
    held_out = bool(snapshot.plan and snapshot.plan.rows_validation)
    wish = f"{BY_RUN}{snapshot.run_id}" if held_out else ALL
    columns = [snapshot.adapter] if snapshot.adapter else []
    offered = evaluation_form_panel.offer(workbench, lang, snapshot.dataset, wish, columns)
    return [gr.update(open=True), *offered, evaluation_form_panel.proposed_fields(workbench, snapshot.dataset)]
