"""The second part of the Training tab: name, method, settings, the plan beside them and the buttons that start.

Owns the form's layout and what joins its parts: the method's list (`method_panel`), the plan (`plan_panel`), starting
(`start_panel`), several runs at once (`sweep_panel`), settings from a file (`reuse_panel`). What the values mean is in
`run_form`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from core.i18n import Language, text
from core.markup import escape, note
from core.settings import fields_of
from core.training.spec import RunSpec
from core.training.trackers import available_trackers
from core.workbench import Workbench
from webui import method_panel, plan_panel, reuse_panel, start_panel, sweep_panel
from webui.fields import component
from webui.plan_panel import PlanPanel
from webui.reuse_panel import ReusePanel
from webui.run_form import GROUPS, MAIN, SETTINGS, default_settings, form_values, owner
from webui.start_panel import StartPanel
from webui.sweep_panel import SweepPanel
from webui.wiring import LAST_ONLY, RAW, Joined, Properties, Wiring

# What these say depends on more than the language: `method_panel` says it.
DRAWN = {"method": ("choices",), "learning_rate": ("info", "placeholder"), "alpha": ("placeholder",)}


@dataclass(frozen=True)
class RunPanel:
    """The components. `form` are those that decide what the run is, but for the data set: `FORM` from its second on."""

    dataset: gr.Dropdown
    name: gr.Textbox
    name_check: gr.HTML
    start_from: gr.Dropdown
    prompts: gr.Textbox
    mode: gr.Radio
    method_card: gr.HTML
    method_fields: gr.HTML  # takes the settings that the method does not use off the page
    settings: dict[str, Any]
    plan: PlanPanel
    starting: StartPanel
    sweep: SweepPanel
    reuse: ReusePanel
    reset: gr.Button

    @property
    def inputs(self) -> list[Any]:
        """Every component of the form, in the order of `FORM`."""
        settings = [self.settings[name] for name in SETTINGS]
        return [self.dataset, self.name, self.start_from, self.prompts, *settings]

    @property
    def filled(self) -> list[Any]:
        """What `fill` fills."""
        return [*self.inputs, self.starting.said]

    @property
    def planned(self) -> list[Any]:
        """What `plan_panel.show_plan` fills."""
        return [self.method_card, self.settings["alpha"], self.plan.card, self.plan.refused]

    @property
    def method_chosen(self) -> list[Any]:
        """What `method_panel.draw_method` depends on."""
        return [self.settings["method"], self.start_from]

    @property
    def method_drawn(self) -> list[Any]:
        """What `method_panel.draw_method` fills."""
        names = ("method", "target_modules", "learning_rate")
        return [self.start_from, *(self.settings[name] for name in names), self.method_fields]

    @property
    def changed(self) -> list[Any]:
        """Events after which the plan is another, but for the name: choices at once, what is typed when it is left."""
        fields = [self.start_from, self.prompts, *(self.settings[name] for name in SETTINGS)]
        typed = [field for field in fields if isinstance(field, gr.Number | gr.Textbox)]
        left = [event for field in typed for event in (field.blur, field.submit)]
        return [*(field.input for field in fields if field not in typed), *left]


def build(wiring: Wiring) -> None:
    wiring.say(gr.Markdown(elem_classes="wb-section"), value="training_tab.run.heading")
    with gr.Row(equal_height=False, elem_classes="wb-columns"):
        with gr.Column(scale=2, min_width=320):
            name = gr.Textbox(elem_id="run-name", max_length=200)
            wiring.say(name, label="training_tab.run.name", placeholder="training_tab.run.name_example")
            name_check = gr.HTML(elem_id="run-name-check")
            starting = start_panel.build(wiring)
            settings = _build_settings(wiring, ("method",))
            method_card = gr.HTML(elem_id="method-card")
            method_fields = gr.HTML(elem_id="method-fields", elem_classes="wb-unseen")
        with gr.Column(scale=3, min_width=420):
            plan = plan_panel.build(wiring)
    with gr.Row(elem_classes="wb-fields", elem_id="run-main"):
        settings |= _build_settings(wiring, GROUPS[MAIN][1:])
    mode = wiring.say_with(gr.Radio(value="simple", elem_id="run-mode"), _mode_words)
    with gr.Column(elem_id="advanced-settings"):  # `run.css` shows it in the advanced mode
        for group in GROUPS:
            if group != MAIN:
                settings |= _build_group(wiring, group)
        with gr.Row(elem_classes="wb-columns"):
            start_from, prompts = _build_choices(wiring)
        sweep, reuse = sweep_panel.build(wiring), reuse_panel.build(wiring)
        reset = wiring.say(gr.Button(size="sm", elem_id="reset-settings"), value="training_tab.run.reset")
    wiring.shared["run-panel"] = RunPanel(
        dataset=wiring.shared["dataset-panel"].name,
        name=name,
        name_check=name_check,
        start_from=start_from,
        prompts=prompts,
        mode=mode,
        method_card=method_card,
        method_fields=method_fields,
        settings=settings,
        plan=plan,
        starting=starting,
        sweep=sweep,
        reuse=reuse,
        reset=reset,
    )


def _mode_words(lang: Language) -> dict[str, Any]:
    modes = [(text(f"training_tab.run.{mode}", lang), mode) for mode in ("simple", "advanced")]
    return {
        "label": text("training_tab.run.mode", lang),
        "info": text("training_tab.run.mode_info", lang),
        "choices": modes,
    }


def _build_group(wiring: Wiring, group: str) -> dict[str, Any]:
    accordion = wiring.say(gr.Accordion(open=False, elem_id=f"group-{group}"), label=f"run_form.group.{group}")
    with accordion, gr.Row(elem_classes="wb-fields"):
        return _build_settings(wiring, GROUPS[group])


def _build_settings(wiring: Wiring, names: Iterable[str]) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for name in names:
        spec = fields_of(owner(name))[name]
        offered = available_trackers() if name == "trackers" else ()
        built[name], properties = component(spec, f"run-{name}", wiring.start_language, offered=offered)
        wiring.say_with(built[name], partial(_own_words, properties, DRAWN.get(name, ())))
    return built


def _own_words(properties: Properties, drawn: Sequence[str], lang: Language) -> dict[str, Any]:
    return {name: value for name, value in properties(lang).items() if name not in drawn}


def _build_choices(wiring: Wiring) -> tuple[gr.Dropdown, gr.Textbox]:
    start_from = gr.Dropdown([""], value="", elem_id="run-start-from")
    wiring.say(start_from, label="run_form.start_from.label", info="run_form.start_from.help")
    prompts = gr.Textbox(lines=3, elem_id="run-sample-prompts", max_length=6000)
    wiring.say(prompts, label="training_tab.run.prompts", info="training_tab.run.prompts_info")
    return start_from, prompts


def connect(wiring: Wiring) -> list[Any]:
    """Wire the form; gives the events after which the whole form is another one."""
    panel: RunPanel = wiring.shared["run-panel"]
    settings = [panel.settings[name] for name in SETTINGS]
    chosen = [panel.settings["method"].input, panel.start_from.input]
    drawn = wiring.on(chosen, method_panel.draw_method, panel.method_chosen, panel.method_drawn, **LAST_ONLY)
    planning = _connect_plan(wiring, panel)
    suggested = plan_panel.connect(wiring, panel.plan, settings)
    for trigger in (panel.changed, drawn.then, suggested.then):
        planning.after(trigger)
    repeats = wiring.shared["repeats"]
    said, held = [panel.starting.said, panel.name, repeats], [repeats, *panel.inputs]
    wiring.on(panel.starting.queue.click, start_panel.queue_run, held, said, **RAW)
    sweep_panel.connect(wiring, panel.sweep, panel.inputs)
    reuse_panel.connect(wiring, panel.reuse)
    return [
        wiring.on(panel.reset.click, reset_settings, [], [panel.start_from, panel.prompts, *settings]),
        wiring.on(panel.reuse.use.click, use_yaml, [panel.reuse.written], panel.filled, **RAW),
        wiring.on(panel.starting.said.click, put_back, [], [panel.starting.said], **RAW),
    ]


def _connect_plan(wiring: Wiring, panel: RunPanel) -> Joined:
    """The plan, and after it what Start says and the forecast; `planning` is what other panels ask for a plan."""
    planning = wiring.shared["planning"] = wiring.joined(
        "plan-again", plan_panel.show_plan, panel.inputs, panel.planned
    )
    known = [panel.name, panel.dataset, panel.plan.refused, *panel.method_chosen]
    shown = [*panel.starting.shown, panel.name_check]
    checking = wiring.joined("start-again", start_panel.check_name, known, shown)
    for trigger in (panel.name.change, planning.done):  # by then the name may be another
        checking.after(trigger)
    forecasting = wiring.joined("forecast-again", plan_panel.show_forecast, panel.inputs, panel.plan.forecasted)
    for trigger in (panel.plan.timer.tick, planning.done):
        forecasting.after(trigger)
    return planning


def reset_settings(workbench: Workbench, lang: Language) -> list[Any]:
    """The declared defaults, in the order of the form from the adapter to start from on."""
    return ["", "", *(gr.update(value=value) for value in default_settings())]


def use_yaml(workbench: Workbench, lang: Language, written: str | None) -> list[Any]:
    """Fill the form from the YAML that was pasted."""
    return fill(workbench, lang, reuse_panel.written_spec(written))


def fill(workbench: Workbench, lang: Language, spec: RunSpec) -> list[Any]:
    """Put a run's settings into the form and its recipe to its data set; the updates of `RunPanel.filled`.

    What cannot be as it was is said: another base model, a data set that is gone, a name that is taken; and that the
    data set had another recipe, with a button that puts it back.
    """
    known = [info.name for info in workbench.data.list()]
    dataset, _, *others = form_values(spec)
    words, replaced = [text("run_form.reuse.filled", lang)], False
    if dataset in known:
        replaced = workbench.data.replace_recipe(dataset, spec.data)
    else:
        words.append(text("run_form.reuse.no_data", lang, name=dataset))
    status = workbench.model_status()
    if status is None or status.name != spec.base:
        words.append(text("run_form.reuse.other_base", lang, name=spec.base))
    name = workbench.free_result_name(spec.name or "adapter", spec.method.method)
    updates = [gr.update(choices=known, value=dataset if dataset in known else None), name, *others]
    return [
        *(update if isinstance(update, dict) else gr.update(value=update) for update in updates),
        note("\n".join(words)) + (_kept_recipe(dataset, lang) if replaced else ""),
    ]


def put_back(workbench: Workbench, lang: Language, event: gr.EventData) -> Any:
    """The recipe that a run's took the place of is its data set's again; what is said of that under the form."""
    dataset = getattr(event, "dataset", None)
    if not isinstance(dataset, str):
        return gr.skip()
    changed_since = workbench.data.put_back_recipe(dataset)
    said = note(text("run_form.reuse.put_back_done", lang, name=dataset), "good")
    return said + (_kept_recipe(dataset, lang) if changed_since else "")


def _kept_recipe(dataset: str, lang: Language) -> str:
    """That another recipe of a data set is kept, with the button that puts it back."""
    words, data = escape(text("run_form.reuse.put_back", lang)), escape(dataset)
    button = f'<button type="button" class="wb-use" data-do="put_back" data-dataset="{data}">{words}</button>'
    return note(text("run_form.reuse.kept", lang, name=dataset), "warning") + button
