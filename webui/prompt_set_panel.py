"""Many prompts at once: one's own list or rows of a data set, answered by everyone who is chosen above, as a table.

The set belongs to the server (`Desk.prompt_set`), so a reload loses nothing: a timer that only goes while a set does
asks how far it is. Who answers and how is the Chat tab's form.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from core.chat.conversations import BASE
from core.chat.prompt_sets import MAX_PROMPTS, Prompt, PromptSet, own_prompts, set_csv, set_jsonl
from core.errors import Place, refusal
from core.evaluation.spec import EvaluationSpec
from core.i18n import Language, text
from core.settings import SamplingSettings
from core.workbench import Workbench
from core.workspace import now
from webui import chat_columns, chat_flow, prompt_set_views
from webui.background import awaited
from webui.browser_file import SAVE_FILE_JS, browser_file
from webui.chat_columns import Speaker
from webui.chat_desk import Desk
from webui.chat_flow import Scene, checked_text
from webui.chat_handlers import SCENE_SIZE
from webui.incoming import whole_number
from webui.part_choice import HELD_OUT, part_choices, part_fields
from webui.preview_panel import CLICKS_JS
from webui.prompt_set_views import PAGE_ROWS
from webui.sampling_form import sampling_of
from webui.wiring import LAST_ONLY, RAW, Wiring

TICK_S = 1.5
USUAL_ROWS = 20
OWN, ROWS = "own", "rows"
ASKED = 5  # values that say what is asked, before those of the form
MAX_SEED = 2**31


@dataclass(frozen=True)
class Seen:
    """What a page has drawn last, and which page of the table it looks at, from 1."""

    page: int = 1
    drawn: tuple[Any, ...] = ()


@dataclass(frozen=True)
class PromptSetPanel:
    """The components."""

    part: gr.Accordion
    source: gr.Radio
    prompts: gr.Textbox
    dataset: gr.Dropdown
    rows_of: gr.Dropdown
    rows: gr.Number
    chosen: gr.Row
    start: gr.Button
    cancel: gr.Button
    csv: gr.Button
    jsonl: gr.Button
    status: gr.HTML
    table: gr.HTML
    timer: gr.Timer
    seen: gr.State

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        return [self.status, self.table, self.start, self.cancel, self.csv, self.jsonl, self.timer, self.seen]


def build(wiring: Wiring) -> None:
    with wiring.say(gr.Accordion(open=False, elem_id="prompt-set-part"), label="prompt_set.title") as part:
        wiring.say(gr.Markdown(elem_classes="compare-words"), value="prompt_set.words")
        source = wiring.say_with(gr.Radio(value=OWN, elem_id="prompt-set-source"), _source_words)
        prompts = gr.Textbox(elem_id="prompt-set-prompts", lines=4, max_lines=12)
        wiring.say(prompts, label="prompt_set.prompts", placeholder="prompt_set.prompts_example")
        with gr.Row(visible=False, elem_id="prompt-set-data") as chosen:
            dataset = wiring.say(gr.Dropdown([], elem_id="prompt-set-dataset"), label="prompt_set.dataset")
            rows_of = wiring.say(gr.Dropdown([], elem_id="prompt-set-rows-of"), label="evaluate.part")
            rows = gr.Number(USUAL_ROWS, precision=0, minimum=1, elem_id="prompt-set-count")
            wiring.say(rows, label="prompt_set.rows")
        with gr.Row(elem_classes="compare-buttons"):
            start = _button(wiring, "start", variant="primary")
            cancel = _button(wiring, "cancel", variant="stop", visible=False)
            csv, jsonl = _button(wiring, "csv", visible=False), _button(wiring, "jsonl", visible=False)
        status = gr.HTML(elem_id="prompt-set-status", padding=False)
        table = gr.HTML(elem_id="prompt-set-table", padding=False, js_on_load=CLICKS_JS)
    timer, seen = gr.Timer(TICK_S, active=False), gr.State(Seen())
    wiring.shared["prompt-set-panel"] = PromptSetPanel(
        part, source, prompts, dataset, rows_of, rows, chosen, start, cancel, csv, jsonl, status, table, timer, seen
    )


def _button(wiring: Wiring, name: str, **options: Any) -> gr.Button:
    button = gr.Button(elem_id=f"prompt-set-{name}", size="sm", min_width=110, **options)
    return wiring.say(button, value=f"prompt_set.{name}")


def _source_words(lang: Language) -> dict[str, Any]:
    choices = [(text(f"prompt_set.source.{name}", lang), name) for name in (OWN, ROWS)]
    return {"label": text("prompt_set.source.label", lang), "choices": choices}


def connect(wiring: Wiring, form: list[Any]) -> None:
    """`form` is what the handlers of answers take, the desk first."""
    panel: PromptSetPanel = wiring.shared["prompt-set-panel"]
    desk = wiring.shared["chat-desk"]
    seen = [desk, panel.seen]
    expanded = wiring.on(panel.part.expand, opened, [*seen, panel.dataset], [panel.dataset, *panel.shown], **RAW)
    wiring.on(panel.source.input, choose_source, [panel.source], [panel.prompts, panel.chosen], **RAW)
    offering = [expanded.then, panel.source.input, panel.dataset.input, wiring.language.input]
    rows_of = [panel.source, panel.dataset, panel.rows_of]
    for trigger in offering:
        wiring.on(trigger, offer_rows, rows_of, panel.rows_of, **LAST_ONLY)
    wiring.on(wiring.language.input, draw_anew, seen, panel.shown, **RAW)
    wiring.on(panel.timer.tick, draw, seen, panel.shown, trigger_mode="once", **RAW)
    asked = [panel.source, panel.prompts, panel.dataset, panel.rows_of, panel.rows]
    wiring.on(panel.start.click, start, [*form[:1], *asked, *form[1:]], panel.shown, **RAW)
    wiring.on(panel.cancel.click, cancel, seen, panel.shown, **RAW)
    wiring.on(panel.table.click, turn, seen, panel.shown, **RAW)
    for button, kind in ((panel.csv, export_csv), (panel.jsonl, export_jsonl)):
        exported = wiring.on(button.click, kind, [desk], wiring.shared["chat-file"], **RAW)
        exported.success(None, [wiring.shared["chat-file"]], [], js=SAVE_FILE_JS, api_visibility="private")


def opened(workbench: Workbench, lang: Language, desk: Desk, seen: Seen, dataset: Any) -> list[Any]:
    """The panel as it was opened: data sets to choose from, and the set there is."""
    names = [info.name for info in workbench.data.list()]
    chosen = dataset if dataset in names else next(iter(names), None)
    return [gr.update(choices=names, value=chosen), *draw_anew(workbench, lang, desk, seen)]


def choose_source(workbench: Workbench, lang: Language, source: Any) -> list[Any]:
    return [gr.update(visible=source == OWN), gr.update(visible=source != OWN)]


def offer_rows(workbench: Workbench, lang: Language, source: Any, dataset: Any, rows_of: Any) -> Iterator[Any]:
    """Which rows of the data set can be asked, when it has been checked; one's own list needs no data set read."""
    if source == OWN:
        yield gr.skip()
        return
    name = checked_text(dataset, "dataset")
    for found in awaited(lambda: part_choices(workbench, lang, name, rows_of), "prompt-set-rows"):
        yield found or gr.update(choices=[], value=None)


def start(workbench: Workbench, lang: Language, desk: Desk, *values: Any) -> list[Any]:
    """Ask everyone who is chosen above; the values are the source, its four fields, then the form of an answer."""
    asked, form = values[:ASKED], values[ASKED:]
    scene, _ = chat_flow.settled(workbench, Scene.of(form[:SCENE_SIZE]))
    sampling = sampling_of(form[SCENE_SIZE:])
    if sampling.seed is None:  # the same for all columns
        sampling = sampling.model_copy(update={"seed": secrets.randbelow(MAX_SEED)})
    source, typed, *chosen = asked
    if source == ROWS:
        prompt_set = _of_rows(workbench, scene, sampling, *chosen)
    else:
        prompt_set = _of_list(workbench, lang, scene, sampling, typed)
    desk.prompt_set.start(prompt_set, workbench.chat)
    return draw_anew(workbench, lang, desk, Seen())


def _of_list(workbench: Workbench, lang: Language, scene: Scene, sampling: SamplingSettings, typed: Any) -> PromptSet:
    """One's own list, of which each column is asked with its own system prompt.

    Raises:
        WorkbenchError: as `own_prompts` and `speaker_of`.
    """
    prompts = own_prompts(checked_text(typed, "prompts"))
    speakers = _speakers(workbench, scene)
    own = chat_flow.prompts_of(workbench, lang, scene, [each.adapter or BASE for each in speakers])
    names, adapters = tuple(each.column for each in speakers), tuple(each.adapter for each in speakers)
    return PromptSet(prompts, names, adapters, sampling, tuple(own[each or BASE].sent for each in adapters))


def _of_rows(workbench: Workbench, scene: Scene, sampling: SamplingSettings, *chosen: Any) -> PromptSet:
    """Rows of a data set, which bring their system prompts.

    Raises:
        WorkbenchError: as `EvaluationDesk.rows` and `speaker_of`; H11 where none of the rows asks anything.
    """
    dataset, rows_of, most = chosen
    name, wanted = checked_text(dataset, "dataset"), min(whole_number(most, 1, USUAL_ROWS), MAX_PROMPTS)
    values = {"name": name, "base": "", "columns": ("",), "dataset": name, "rows": wanted}
    rows = workbench.evaluations.rows(EvaluationSpec.checked({**values, **part_fields(rows_of or HELD_OUT)}))
    asked = [row for row in rows if row.prompt]
    if not asked:
        raise refusal("H11_no_prompts", Place(file=name))
    prompts = tuple(Prompt(row.prompt, row.reference) for row in asked)
    speakers = _speakers(workbench, scene)
    names, adapters = tuple(each.column for each in speakers), tuple(each.adapter for each in speakers)
    seen = workbench.evaluations.rows_seen(name, asked, [each for each in adapters if each])
    seen_by = {each.column: seen[each.adapter] for each in speakers if each.adapter in seen}
    return PromptSet(prompts, names, adapters, sampling, seen=seen_by)


def _speakers(workbench: Workbench, scene: Scene) -> list[Speaker]:
    return [chat_columns.speaker_of(workbench, value) for value in scene.columns]


def cancel(workbench: Workbench, lang: Language, desk: Desk, seen: Seen) -> list[Any]:
    """End the set where it is; what is answered stays."""
    desk.prompt_set.cancel()
    return draw_anew(workbench, lang, desk, seen)


def turn(workbench: Workbench, lang: Language, event: gr.EventData, desk: Desk, seen: Seen) -> list[Any]:
    """Another page of the table."""
    page = getattr(event, "page", None)
    number = int(page) if isinstance(page, str) and page.isascii() and page.isdecimal() and len(page) < 6 else 1
    return draw_anew(workbench, lang, desk, Seen(number))


def draw_anew(workbench: Workbench, lang: Language, desk: Desk, seen: Seen) -> list[Any]:
    return draw(workbench, lang, desk, Seen(seen.page))


def draw(workbench: Workbench, lang: Language, desk: Desk, seen: Seen) -> list[Any]:
    """How far the set is, and the open page of its table where that has grown."""
    status = desk.prompt_set.status()
    progress = prompt_set_views.progress(status, lang)
    if status is None:
        return [progress, "", *_buttons(False, False), gr.Timer(active=False), seen]
    page = min(max(1, seen.page), prompt_set_views.pages_of(status))
    rows = desk.prompt_set.rows(PAGE_ROWS * (page - 1), PAGE_ROWS)
    mark = (lang, page, id(status.asked), tuple(tuple(answer is None for answer in answers) for _, answers in rows))
    table = gr.skip() if mark == seen.drawn else prompt_set_views.table(status, rows, page, lang)
    timer = gr.Timer(active=status.running)
    return [progress, table, *_buttons(status.running, status.done > 0), timer, Seen(page, mark)]


def _buttons(running: bool, answered: bool) -> list[Any]:
    """Start, Cancel, CSV, JSONL."""
    shown = (not running, running, answered, answered)
    return [gr.update(visible=each) for each in shown]


def export_csv(workbench: Workbench, lang: Language, desk: Desk) -> str:
    return _file(desk, "csv")


def export_jsonl(workbench: Workbench, lang: Language, desk: Desk) -> str:
    return _file(desk, "jsonl")


def _file(desk: Desk, suffix: Literal["csv", "jsonl"]) -> str:
    """The table as it is now: a file for the browser to keep, as JSON of its name and content.

    Raises:
        WorkbenchError: H11 where nothing was asked.
    """
    status = desk.prompt_set.status()
    if status is None:
        raise refusal("H11_no_prompts")
    rows = desk.prompt_set.rows()
    content = set_csv(status.asked, rows) if suffix == "csv" else set_jsonl(status.asked, rows)
    return browser_file(f"answers-{now()[:10]}.{suffix}", content)
