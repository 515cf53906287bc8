"""The second part of the Training tab: name, settings, the plan card and Start.

Owns the components that make a `RunSpec` together with the data set's; `spec_from` reads them. The plan is worked out
anew when something changes; until there is one, the Start button says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from core.data.options import DataOptions
from core.errors import WorkbenchError
from core.i18n import Language, text
from core.settings import MethodSettings, TrainingSettings, fields_of
from core.training.spec import RunSpec
from core.workbench import Workbench
from core.workspace import free_name
from webui import run_views
from webui.background import awaited
from webui.data_view import LAST_ONLY
from webui.dataset_panel import DatasetPanel
from webui.fields import build_fields, settings_from
from webui.incoming import checked_type
from webui.wiring import RAW, Wiring

ALL_LAYERS = "all-linear"
HIDDEN: Any = "hidden"  # there but not seen: a button taken off the page and put back in a moment may stay away
ALL_TOO_LONG = "D30_all_too_long"
STARTED_BY = "page"  # a key under `training_tab.started_by`
METHOD = tuple(name for name in fields_of(MethodSettings) if name != "target_modules")
TRAINING = tuple(fields_of(TrainingSettings))
FIELDS_BEFORE_SETTINGS = 3  # name, targets, prompts
FORM_SIZE = FIELDS_BEFORE_SETTINGS + len(METHOD) + len(TRAINING)


@dataclass(frozen=True)
class RunPanel:
    """The components. `form` are those that decide what the run is, in the order `spec_from` takes them."""

    name: gr.Textbox
    name_check: gr.HTML
    mode: gr.Radio
    advanced: gr.Column
    settings: dict[str, Any]
    targets: gr.Dropdown
    prompts: gr.Textbox
    plan: gr.HTML
    fit: gr.Button
    fit_length: gr.Number  # never shown: what `fit` sets the maximum length to
    refused: gr.Checkbox  # never shown: whether the plan was refused
    start: gr.Button
    reset: gr.Button

    @property
    def form(self) -> list[Any]:
        return [self.name, self.targets, self.prompts, *(self.settings[name] for name in (*METHOD, *TRAINING))]

    @property
    def planned(self) -> list[Any]:
        """What `show_plan` fills."""
        return [self.plan, self.refused, self.fit, self.fit_length]

    @property
    def changed(self) -> list[Any]:
        """Events after which the plan is another, but for the name: choices at once, what is typed when it is left."""
        fields = [self.targets, self.prompts, *self.settings.values()]
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
            # What Start says depends on the form, so `show_plan` says it, in the language switch's stead too.
            words = text("training_tab.start.model", wiring.start_language)
            start = gr.Button(words, variant="secondary", elem_id="start-run", size="lg")
        with gr.Column(scale=3, min_width=420):
            plan = gr.HTML(elem_id="plan-card")
            fit = gr.Button(visible=HIDDEN, variant="primary", elem_id="fit-length")  # `show_plan` says its words
            fit_length = gr.Number(visible=False, elem_id="fit-length-tokens")
            refused = gr.Checkbox(visible=False, elem_id="plan-refused")
    mode = wiring.say_with(gr.Radio(value="simple", elem_id="run-mode"), _mode_words)
    settings = _build_settings(wiring, advanced=False)
    with gr.Column(visible=False, elem_id="advanced-settings") as advanced:
        settings |= _build_settings(wiring, advanced=True)
        with gr.Row():
            targets, prompts = _build_choices(wiring)
    reset = wiring.say(gr.Button(size="sm", elem_id="reset-settings"), value="training_tab.run.reset")
    wiring.shared["run-panel"] = RunPanel(
        name, name_check, mode, advanced, settings, targets, prompts, plan, fit, fit_length, refused, start, reset
    )


def _mode_words(lang: Language) -> dict[str, Any]:
    modes = [(text(f"training_tab.run.{mode}", lang), mode) for mode in ("simple", "advanced")]
    return {
        "label": text("training_tab.run.mode", lang),
        "info": text("training_tab.run.mode_info", lang),
        "choices": modes,
    }


def _build_settings(wiring: Wiring, advanced: bool) -> dict[str, Any]:
    built: dict[str, Any] = {}
    with gr.Row(elem_classes="wb-fields"):
        for model, names in ((TrainingSettings, TRAINING), (MethodSettings, METHOD)):
            chosen = [name for name in names if fields_of(model)[name].scale.advanced == advanced]
            built |= build_fields(wiring, model, chosen, "run-")
    return built


def _build_choices(wiring: Wiring) -> tuple[gr.Dropdown, gr.Textbox]:
    targets = gr.Dropdown(
        [ALL_LAYERS], value=[ALL_LAYERS], multiselect=True, allow_custom_value=True, elem_id="run-target_modules"
    )
    words = "settings.MethodSettings.target_modules"
    wiring.say(targets, label=f"{words}.label", info=f"{words}.help")
    prompts = gr.Textbox(lines=3, elem_id="run-sample-prompts", max_length=6000)
    wiring.say(prompts, label="training_tab.run.prompts", info="training_tab.run.prompts_info")
    return targets, prompts


def connect(wiring: Wiring) -> None:
    panel: RunPanel = wiring.shared["run-panel"]
    wiring.on(wiring.shared["tab-training"].select, show_targets, [], [panel.targets])
    wiring.on(panel.mode.change, show_mode, [panel.mode], [panel.advanced], **RAW)
    cleared = wiring.on(panel.reset.click, reset_settings, [], panel.form[1:])
    fitted = wiring.on(panel.fit.click, fit_length, [panel.fit_length], [panel.settings["max_length"]], **RAW)
    for trigger in (panel.changed, cleared.then, fitted.then):
        connect_plan(wiring, trigger)
    _connect_start(wiring, panel.name.change)


def connect_plan(wiring: Wiring, trigger: Any) -> None:
    """Work out the plan when a trigger fires, then what Start says."""
    panel: RunPanel = wiring.shared["run-panel"]
    data: DatasetPanel = wiring.shared["dataset-panel"]
    planned = wiring.on(trigger, show_plan, [data.name, *panel.form], panel.planned, **LAST_ONLY, **_in_turn("plan"))
    _connect_start(wiring, planned.then)  # by then the name may be another


def _connect_start(wiring: Wiring, trigger: Any) -> None:
    panel: RunPanel = wiring.shared["run-panel"]
    known = [panel.name, wiring.shared["dataset-panel"].name, panel.refused]
    wiring.on(trigger, check_name, known, [panel.start, panel.name_check], **LAST_ONLY, **_in_turn("start-button"))


def _in_turn(what: str) -> dict[str, Any]:
    """One after the other, whatever asked: else an answer to an older form that took longer is the one that stays."""
    return {"concurrency_limit": 1, "concurrency_id": what}


def show_targets(workbench: Workbench, lang: Language) -> Any:
    """The layers that the loaded model offers."""
    return gr.update(choices=[ALL_LAYERS, *workbench.module_names()])


def show_mode(workbench: Workbench, lang: Language, mode: str | None) -> Any:
    return gr.update(visible=mode == "advanced")


def reset_settings(workbench: Workbench, lang: Language) -> list[Any]:
    """The declared defaults, in the order of the form without its name."""
    method, training = fields_of(MethodSettings), fields_of(TrainingSettings)
    specs = [*(method[name] for name in METHOD), *(training[name] for name in TRAINING)]
    defaults = ["auto" if spec.boolean and spec.automatic else spec.default for spec in specs]
    return [[ALL_LAYERS], "", *(gr.update(value=value) for value in defaults)]


def spec_from(base: str, precision: str, options: DataOptions, values: Sequence[Any]) -> RunSpec:
    """The run that the form describes: `values` are the data set's name and this panel's form.

    Raises:
        WorkbenchError: H01 with every value that is wrong.
    """
    dataset, form = checked_type(values[0], "dataset"), values[-FORM_SIZE:]
    name, targets, prompts, *numbers = form
    checked_type(name, "name")
    checked_type(prompts, "sample_prompts")
    method = settings_from(MethodSettings, METHOD, numbers[: len(METHOD)])
    fields: dict[str, Any] = {
        "name": (name or "").strip(),
        "base": base,
        "dataset": dataset or "",
        "data": options.model_dump(),
        "load": {"precision": precision},
        "method": {**method, "target_modules": targets or ["all-linear"]},
        "training": settings_from(TrainingSettings, TRAINING, numbers[len(METHOD) :]),
        "sample_prompts": [line.strip() for line in (prompts or "").splitlines() if line.strip()],
    }
    return RunSpec.checked(fields)


def missing(workbench: Workbench, name: str | None, dataset: str | None) -> str | None:
    """What a run still lacks, in the order a person would bring it: model, data, its check, name; None for nothing."""
    if workbench.active_run():
        return "running"
    if workbench.model_status() is None:
        return "model"
    if not dataset:
        return "data"
    if _is_checking(workbench, dataset):
        return "checking"
    return "name" if not (name or "").strip() else None


def _is_checking(workbench: Workbench, dataset: str) -> bool:
    try:
        return workbench.data.check(dataset, again=False).running
    except WorkbenchError:  # the plan says why
        return False


def show_plan(workbench: Workbench, lang: Language, *values: Any) -> Iterator[list[Any]]:
    """The plan card, whether it was refused, and the way out of a maximum length that is too short."""
    dataset = checked_type(values[0], "dataset")
    lacking = missing(workbench, None, dataset)
    if workbench.model_status() is None or not dataset or lacking == "checking":
        yield [run_views.plan_missing(lacking or "model", lang), False, *_way_out(None, lang)]
        return
    try:
        if error := workbench.data.check(dataset, again=False).error:
            raise error
        for card in _cards(workbench, lang, values):
            yield [card, False, *_way_out(None, lang)]
    except WorkbenchError as error:
        yield [run_views.plan_refused(error, lang), True, *_way_out(fitting_length(workbench, error), lang)]


def _cards(workbench: Workbench, lang: Language, values: Sequence[Any]) -> Iterator[str]:
    """The plan of what the form describes; before it, where it takes a while, that it is being worked out."""
    spec = _spec(workbench, values)
    _, name = _checked(workbench, lang, spec.name)
    stand_in = name or free_name(workbench.workspace.adapters, "adapter")  # a plan does not depend on the name
    spec = spec.model_copy(update={"name": stand_in})
    for plan in awaited(partial(workbench.plan, spec), "plan"):
        yield run_views.plan_card(plan, spec, lang) if plan else run_views.plan_missing("planning", lang)


def _spec(workbench: Workbench, values: Sequence[Any]) -> RunSpec:
    """What the form describes, with the recipe of its data set and the loaded model."""
    status = workbench.model_status()
    base, precision = (status.name, status.precision.precision) if status else ("", "auto")
    dataset = checked_type(values[0], "dataset")
    options = workbench.data.recipe(dataset) if dataset else DataOptions()
    return spec_from(base, precision, options, values)


def fitting_length(workbench: Workbench, error: WorkbenchError) -> int | None:
    """The maximum length with which every row is used that the model can take, where the one chosen loses them all."""
    problem = next((each for each in error.problems if each.key == ALL_TOO_LONG), None)
    if problem is None:
        return None
    status = workbench.model_status()
    longest = int(problem.values["longest"])
    return min(longest, status.max_length) if status and status.max_length else longest


def _way_out(length: int | None, lang: Language) -> list[Any]:
    if length is None:
        return [gr.update(visible=HIDDEN), None]
    return [gr.update(visible=True, value=text("training_tab.plan.fit", lang, tokens=f"{length:,}")), length]


def fit_length(workbench: Workbench, lang: Language, length: float | None) -> Any:
    """The maximum length that was offered, for the form."""
    return gr.skip() if length is None else length


def check_name(workbench: Workbench, lang: Language, typed: str | None, dataset: str | None, refused: Any) -> list[Any]:
    """What Start says now, and whether the name is free: both said while it is typed."""
    name_check, name = _checked(workbench, lang, typed)
    lacking = missing(workbench, name, dataset) or ("settings" if refused else None)
    return [_start_button(lacking, lang), name_check]


def _checked(workbench: Workbench, lang: Language, typed: object) -> tuple[str, str | None]:
    """What is to be said of a name, and the name itself where it can be used."""
    name = str(typed or "").strip()
    problem = workbench.check_adapter_name(name) if name else None
    return run_views.name_check(problem, name, lang), name if name and not problem else None


def _start_button(lacking: str | None, lang: Language) -> Any:
    variant = "secondary" if lacking else "primary"
    return gr.update(value=text(f"training_tab.start.{lacking or 'ready'}", lang), variant=variant)


def start_run(workbench: Workbench, lang: Language, *values: Any) -> str:
    """Start what the form describes and return the run's id.

    Raises:
        WorkbenchError: A03 naming what is missing, else whatever the form or the core refuses.
    """
    return workbench.start_run(_spec(workbench, values), started_by=STARTED_BY)
