"""The second part of the Training tab: name, settings, the plan card and Start.

Owns the components that make a `RunSpec` together with the data set's; `spec_from` reads them. The plan is worked out
anew when something changes; until there is one, the Start button says what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import WorkbenchError
from core.i18n import Language, text
from core.settings import MethodSettings, TrainingSettings, fields_of
from core.training.spec import RunSpec
from core.workbench import Workbench
from core.workspace import free_name
from webui import run_views
from webui.dataset_panel import LAST_ONLY, DatasetPanel, options_from
from webui.fields import build_fields, settings_from
from webui.incoming import checked_type
from webui.wiring import RAW, Wiring

ALL_LAYERS = "all-linear"
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
    start: gr.Button
    reset: gr.Button

    @property
    def form(self) -> list[Any]:
        return [self.name, self.targets, self.prompts, *(self.settings[name] for name in (*METHOD, *TRAINING))]

    @property
    def planned(self) -> list[Any]:
        """What `show_plan` fills."""
        return [self.plan, self.start, self.name_check]

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
    mode = wiring.say_with(gr.Radio(value="simple", elem_id="run-mode"), _mode_words)
    settings = _build_settings(wiring, advanced=False)
    with gr.Column(visible=False, elem_id="advanced-settings") as advanced:
        settings |= _build_settings(wiring, advanced=True)
        with gr.Row():
            targets, prompts = _build_choices(wiring)
    reset = wiring.say(gr.Button(size="sm", elem_id="reset-settings"), value="training_tab.run.reset")
    wiring.shared["run-panel"] = RunPanel(
        name, name_check, mode, advanced, settings, targets, prompts, plan, start, reset
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
    data: DatasetPanel = wiring.shared["dataset-panel"]
    inputs, planned = [*data.inputs, *panel.form], panel.planned
    wiring.on(panel.changed, show_plan, inputs, planned, **LAST_ONLY)
    wiring.on(panel.name.change, check_name, [panel.name, data.name], [panel.start, panel.name_check], **LAST_ONLY)
    wiring.on(wiring.shared["tab-training"].select, show_targets, [], [panel.targets])
    wiring.on(panel.mode.change, show_mode, [panel.mode], [panel.advanced], **RAW)
    cleared = wiring.on(panel.reset.click, reset_settings, [], panel.form[1:])
    wiring.on(cleared.then, show_plan, inputs, planned, **RAW)


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


def spec_from(base: str, precision: str, values: Sequence[Any]) -> RunSpec:
    """The run that the form describes: `values` are the data panel's inputs and this panel's form.

    Raises:
        WorkbenchError: H01 with every value that is wrong.
    """
    data, form = values[:-FORM_SIZE], values[-FORM_SIZE:]
    dataset, options = options_from(data[0], data[1:])
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
    """What a run still lacks, in the order a person would bring it: model, data, name; None where nothing is."""
    if workbench.active_run():
        return "running"
    if workbench.model_status() is None:
        return "model"
    if not dataset:
        return "data"
    return "name" if not (name or "").strip() else None


def show_plan(workbench: Workbench, lang: Language, *values: Any) -> list[Any]:
    """The plan card, the Start button's words, and what is to be said of the name."""
    dataset = values[1]
    name_check, name = _checked(workbench, lang, values[-FORM_SIZE])
    lacking = missing(workbench, name, dataset)
    status = workbench.model_status()
    if status is None or not dataset:
        return [run_views.plan_missing(lacking or "model", lang), _start_button(lacking, lang), name_check]
    try:
        spec = spec_from(status.name, status.precision.precision, values)
        stand_in = name or free_name(workbench.workspace.adapters, "adapter")  # a plan does not depend on the name
        spec = spec.model_copy(update={"name": stand_in})
        card = run_views.plan_card(workbench.plan(spec), spec, lang)
    except WorkbenchError as error:
        return [run_views.plan_refused(error, lang), _start_button(lacking or "settings", lang), name_check]
    return [card, _start_button(lacking, lang), name_check]


def check_name(workbench: Workbench, lang: Language, typed: str | None, dataset: str | None) -> list[Any]:
    """What Start says now, and whether the name is free: both said while it is typed."""
    name_check, name = _checked(workbench, lang, typed)
    return [_start_button(missing(workbench, name, dataset), lang), name_check]


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
    status = workbench.model_status()
    base, precision = (status.name, status.precision.precision) if status else ("", "auto")
    return workbench.start_run(spec_from(base, precision, values), started_by=STARTED_BY)
