"""The form of an evaluation: what is compared, on which rows, what is measured, and who judges.

Owns its components, what they offer, and what is said of it before it starts: what the patterns find, what a judge
would get, what Start still waits for. What the values mean is in `evaluation_form`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import WorkbenchError
from core.evaluation.field_match import check_patterns, match_field, propose_fields
from core.evaluation.spec import BASE, MAX_COLUMNS, EvaluationSpec, window_problems
from core.i18n import Language, text
from core.markup import note
from core.workbench import AT_STEP, Workbench
from webui import benchmark_panel, evaluation_views
from webui.background import awaited
from webui.benchmark_panel import BenchmarkPanel
from webui.evaluation_form import AS_IN_CHAT, FORM, GREEDY, JUDGE, MEASURED, named, spec_from
from webui.incoming import checked_type
from webui.part_choice import part_choices
from webui.views import problem_list
from webui.wiring import LAST_ONLY, RAW, Joined, Wiring

MAX_TYPED = 5000  # characters of the patterns
OFFERED_RUNS = 20  # the newest, whose saved steps can be compared


@dataclass(frozen=True)
class EvaluationForm:
    """The components. `form` are those of `FORM` by name."""

    part: gr.Accordion
    form: dict[str, Any]
    propose: gr.Button
    explained: gr.HTML
    leaving: gr.HTML
    benchmarks: BenchmarkPanel
    start: gr.Button
    said: gr.HTML

    def inputs(self, wiring: Wiring) -> list[Any]:
        """What `spec_from` takes; the sampling form is the Parameters tab's."""
        return [*(self.form[name] for name in FORM), *wiring.shared["sampling"]]

    @property
    def offered(self) -> list[Any]:
        """What `offer` fills."""
        return [self.form[name] for name in ("dataset", "part", "columns")]

    @property
    def kept(self) -> list[Any]:
        """What stays in the browser over a reload; which rows and adapters there are may be other ones by then."""
        return [self.form[name] for name in ("measured", "way", "max_new_tokens", "rows", "window", "stride", *JUDGE)]

    @property
    def described(self) -> list[Any]:
        """What `describe` fills."""
        return [self.explained, self.leaving, self.start, self.said]


def build(wiring: Wiring) -> EvaluationForm:
    with wiring.say(gr.Accordion(open=False, elem_id="evaluate-part"), label="evaluate.title") as part:
        wiring.say(gr.Markdown(), value="evaluate.intro")
        with gr.Row(equal_height=False, elem_classes="wb-columns"):
            with gr.Column(scale=3, min_width=320):
                form = _build_what(wiring)
            with gr.Column(scale=3, min_width=320):
                form |= _build_how(wiring)
                propose = wiring.say(gr.Button(size="sm", elem_id="evaluate-propose"), value="evaluate.fields.propose")
        explained = gr.HTML(elem_id="evaluate-explained")
        with wiring.say(gr.Accordion(open=False, elem_id="evaluate-judge"), label="evaluate.judge.title"):
            form |= _build_judge(wiring)
            leaving = gr.HTML(elem_id="evaluate-leaving")
            form["consent"] = _say(wiring, gr.Checkbox(False, elem_id="evaluate-consent"), "judge.consent")
        benchmarks = benchmark_panel.build(wiring)
        words = text("evaluate.start.model", wiring.start_language)
        start = gr.Button(words, variant="secondary", size="lg", elem_id="evaluate-start")
        said = gr.HTML(elem_id="evaluate-said")
    return EvaluationForm(part, form, propose, explained, leaving, benchmarks, start, said)


def _say(wiring: Wiring, component: Any, key: str, info: bool = False, placeholder: str = "") -> Any:
    keys = {"label": f"evaluate.{key}", **({"info": f"evaluate.{key}_info"} if info else {})}
    return wiring.say(component, **keys, **({"placeholder": f"evaluate.{placeholder}"} if placeholder else {}))


def _build_what(wiring: Wiring) -> dict[str, Any]:
    dataset = gr.Dropdown([], elem_id="evaluate-dataset", interactive=True)
    part = gr.Dropdown([], elem_id="evaluate-rows-of", interactive=True)
    most = {"multiselect": True, "max_choices": MAX_COLUMNS - 1}
    columns = gr.Dropdown([], value=[], elem_id="evaluate-columns", interactive=True, **most)
    measured = gr.CheckboxGroup(value=list(MEASURED), elem_id="evaluate-measured", interactive=True)
    return {
        "dataset": _say(wiring, dataset, "dataset", info=True),
        "part": _say(wiring, part, "part", info=True),
        "columns": _say(wiring, columns, "columns", info=True),
        "measured": wiring.say_with(measured, lambda lang: _choices("measured", MEASURED, lang)),
    }


def _build_how(wiring: Wiring) -> dict[str, Any]:
    way = gr.Radio(value=GREEDY, elem_id="evaluate-way", interactive=True)
    form = {"way": wiring.say_with(way, lambda lang: _choices("way", (GREEDY, AS_IN_CHAT), lang))}
    with gr.Row(elem_classes="wb-fields"):
        default = EvaluationSpec.model_fields["sampling"].default.max_new_tokens
        longest, rows, window, stride = (
            gr.Number(value, step=1, elem_id=f"evaluate-{name}", min_width=150)
            for name, value in (("longest", default), ("rows", None), ("window", None), ("stride", None))
        )
        form["max_new_tokens"] = _say(wiring, longest, "max_new_tokens")
        form["rows"] = _say(wiring, rows, "rows", info=True, placeholder="every_row")
        form["window"] = _say(wiring, window, "window", info=True, placeholder="usual_window")
        form["stride"] = _say(wiring, stride, "stride", info=True, placeholder="apart")
    fields = gr.Textbox(lines=3, max_lines=12, max_length=MAX_TYPED, elem_id="evaluate-fields")
    form["fields"] = wiring.say(fields, label="evaluate.fields.title", info="evaluate.fields.info")
    return form


def _build_judge(wiring: Wiring) -> dict[str, Any]:
    wiring.say(gr.Markdown(), value="evaluate.judge.info")
    form = {"judging": _say(wiring, gr.Checkbox(False, elem_id="evaluate-judging"), "judge.use")}
    with gr.Row(elem_classes="wb-fields"):
        url, model, key = (gr.Textbox(max_length=2000, max_lines=1, elem_id=f"evaluate-{name}") for name in JUDGE)
        form["judge_url"] = _say(wiring, url, "judge.url")
        form["judge_model"] = _say(wiring, model, "judge.model")
        form["judge_key"] = _say(wiring, key, "judge.key", info=True)
    return form


def _choices(key: str, names: Sequence[str], lang: Language) -> dict[str, Any]:
    choices = [(text(f"evaluate.{name}", lang), name) for name in names]
    return {"label": text(f"evaluate.{key}", lang), "choices": choices}


def connect(wiring: Wiring, panel: EvaluationForm) -> Joined:
    """Give the call that says anew what the form describes."""
    form = panel.form
    benchmark_panel.connect(wiring, panel.benchmarks, form["columns"])
    filled = [form["part"], form["fields"]]
    chosen = wiring.on(form["dataset"].input, choose_data, [form["dataset"]], [*filled, panel.start], **LAST_ONLY)
    proposed = wiring.on(panel.propose.click, propose, panel.inputs(wiring), [form["fields"], panel.said], **RAW)
    connect_withdrawal(wiring, panel, [form[name].input for name in (*JUDGE, "dataset", "rows")])
    withdrawn = connect_withdrawal(wiring, panel, [form[name].input for name in ("judging", "part", "columns")])
    typed = [field for field in form.values() if isinstance(field, gr.Number | gr.Textbox)]
    left = [event for field in typed for event in (field.blur, field.submit)]
    picked = [form[name].input for name in ("measured", "way", "consent")]
    triggers = ([*left, *picked], withdrawn.then, chosen.then, proposed.then)
    describing = wiring.joined("evaluate-again", describe, panel.inputs(wiring), panel.described)
    for trigger in (*triggers, wiring.shared["data-checked"].change):
        describing.after(trigger)
    return describing


def connect_withdrawal(wiring: Wiring, panel: EvaluationForm, trigger: Any) -> Any:
    """Ask for consent anew when a trigger fires, for it was given for something else; the event."""
    return wiring.on(trigger, withdraw, [], [panel.form["consent"]])


def offer(workbench: Workbench, lang: Language, dataset: str | None, part: Any, columns: Any) -> list[Any]:
    """What there is to choose from; what is chosen stays, where it is still there."""
    names, known = [info.name for info in workbench.data.list()], column_choices(workbench)
    chosen = dataset if dataset in names else None
    kept = [each for each in columns if each in known] if isinstance(columns, list) else []
    return [
        gr.update(choices=names, value=chosen),
        part_choices(workbench, lang, chosen, part),
        gr.update(choices=known, value=kept),
    ]


def column_choices(workbench: Workbench) -> list[str]:
    """The adapters, then the saved steps of the newest runs."""
    steps = [
        f"{run.name}{AT_STEP}{step}"
        for run in workbench.runs.list()[:OFFERED_RUNS]
        for step in workbench.runs.saved_steps(run.run_id)
    ]
    return [*(info.name for info in workbench.adapters() if not info.errors), *dict.fromkeys(steps)]


def choose_data(workbench: Workbench, lang: Language, dataset: str | None) -> Iterator[list[Any]]:
    """The rows and the fields of another data set, when it has been checked."""

    def read() -> list[Any]:
        return [part_choices(workbench, lang, dataset, None), proposed_fields(workbench, dataset), gr.skip()]

    for found in awaited(read, "evaluation-data"):
        yield found or [gr.update(choices=[], value=None), "", _start("checking", lang)]


def proposed_fields(workbench: Workbench, dataset: str | None) -> str:
    """The patterns that suit a data set, one a line; none where it cannot be read (the description says why)."""
    if not dataset:
        return ""
    try:
        spec = EvaluationSpec(name="", base="", columns=(BASE,), dataset=dataset, part="all")
        return "\n".join(propose_fields(workbench.evaluations.references(spec)))
    except WorkbenchError:
        return ""


def propose(workbench: Workbench, lang: Language, *values: Any) -> list[Any]:
    """The patterns that suit the data in the place of those that stand there."""
    found = proposed_fields(workbench, checked_type(named(values)["dataset"], "dataset"))
    return [found, "" if found else note(text("evaluate.fields.nothing_found", lang), "warning")]


def withdraw(workbench: Workbench, lang: Language) -> bool:
    """The consent, after what it was given for has changed."""
    return False


def describe(workbench: Workbench, lang: Language, *values: Any) -> list[Any]:
    """What the patterns find, what a judge would get, what Start waits for, and what is wrong with the form."""
    form = named(values)
    lacking = missing(workbench, form)
    if lacking in ("model", "data", "checking"):
        return ["", "", _start(lacking, lang), ""]
    try:
        spec = spec_from("", values)
        _check_windows(workbench, spec)
        explained = _explained(workbench, spec, lang) if spec.answers else ""
        sent = workbench.evaluations.outgoing(spec) if lacking != "judge" else None
    except WorkbenchError as error:
        return ["", "", _start("settings", lang), problem_list(error.problems, lang, error.total)]
    return [explained, evaluation_views.leaving(sent, lang) if sent else "", _start(lacking or "ready", lang), ""]


def _check_windows(workbench: Workbench, spec: EvaluationSpec) -> None:
    """Raises H01 for windows that the model in memory cannot read, before Start says so."""
    status = workbench.model_status()
    problems = window_problems(spec, status.max_length if status else None)
    if problems:
        raise WorkbenchError(problems)


def _explained(workbench: Workbench, spec: EvaluationSpec, lang: Language) -> str:
    references = workbench.evaluations.references(spec)
    check_patterns(spec.fields, references)
    found = [match_field(pattern, references, references) for pattern in spec.fields]
    return evaluation_views.fields_explained(found, len(references), lang)


def _start(lacking: str, lang: Language) -> Any:
    variant = "primary" if lacking == "ready" else "secondary"
    return gr.update(value=text(f"evaluate.start.{lacking}", lang), variant=variant)


def missing(workbench: Workbench, form: dict[str, Any]) -> str | None:
    """What an evaluation still lacks, a key under `evaluate.start`, in the order a person would bring it; or None."""
    dataset, judging = form["dataset"], bool(form["judging"])
    known = isinstance(dataset, str) and bool(dataset)
    lacks = {
        "model": workbench.model_status() is None,
        "data": not known,
        "checking": known and workbench.data.is_checking(dataset),
        "measure": not form["measured"],
        "judge": judging and not (form["judge_url"] and form["judge_model"]),
        "consent": judging and form["consent"] is not True,
        "running": workbench.evaluations.active() is not None,
    }
    return next((key for key, holds in lacks.items() if holds), None)
