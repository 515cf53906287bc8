"""The way through training: a run, a slider over its saved steps, and the answer to the last message at each.

An answer is made when the slider comes to rest and remembered on the server (`Desk.steps`), so going back is instant.
The first place of the slider is the base model. Moving it on ends the answer in progress.

    values = desk, run, place of the slider, form of an answer
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import gradio as gr

from core.adapters.method_facts import METHODS
from core.chat import conversations as talk
from core.chat.conversations import BASE, Conversation
from core.chat.step_answers import answer_key
from core.chat.system_prompt import SystemPrompt
from core.errors import refusal
from core.i18n import Language, text
from core.settings import SamplingSettings
from core.training.history import RunSummary
from core.workbench import Workbench
from webui import chat_columns, chat_flow, chat_handlers, steps_views
from webui.chat_desk import Desk
from webui.chat_flow import Scene
from webui.chat_handlers import SCENE_SIZE
from webui.incoming import whole_number
from webui.sampling_form import sampling_of
from webui.steps_views import Place, Shown
from webui.wiring import RAW, Wiring

if TYPE_CHECKING:
    from core.chat.streams import ChatRequest, Reply

REST_S = 0.25  # so long the slider stands still before an answer is asked for


@dataclass(frozen=True)
class StepsPanel:
    """The components. The slider's value is a place among the saved steps; 0 is the base model."""

    part: gr.Accordion
    run: gr.Dropdown
    slider: gr.Slider
    head: gr.HTML
    buttons: gr.Row
    ask: gr.Button
    beside: gr.Button
    answer: gr.HTML

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        return [self.run, self.slider, self.buttons, self.head, self.answer]


def build(wiring: Wiring) -> None:
    with wiring.say(gr.Accordion(open=False, elem_id="steps-part"), label="steps.title") as part:
        wiring.say(gr.Markdown(elem_classes="compare-words"), value="steps.words")
        run = wiring.say(gr.Dropdown([], elem_id="steps-run"), label="steps.run")
        slider = gr.Slider(0, 1, 0, step=1, visible=False, buttons=[], elem_id="steps-slider")
        wiring.say(slider, label="steps.slider")
        head = gr.HTML(elem_id="steps-head", padding=False)
        with gr.Row(visible=False, elem_classes="compare-buttons") as buttons:
            ask = gr.Button(elem_id="steps-ask", size="sm", min_width=110, variant="primary")
            wiring.say(ask, value="steps.ask")
            beside = gr.Button(elem_id="steps-beside", size="sm", min_width=110)
            wiring.say(beside, value="steps.beside")
        answer = gr.HTML(elem_id="steps-answer", padding=False)
    wiring.shared["steps-panel"] = StepsPanel(part, run, slider, head, buttons, ask, beside, answer)


def connect(wiring: Wiring, form: list[Any], shown: list[Any]) -> None:
    """`form` is what the handlers of answers take, the desk first; `shown` is the Chat tab."""
    panel: StepsPanel = wiring.shared["steps-panel"]
    values = [form[0], panel.run, panel.slider, *form[1:]]
    drawn = [panel.part.expand, panel.run.input, wiring.language.input]
    wiring.on(drawn, draw, values, panel.shown, **RAW)
    answered: dict[str, Any] = {**RAW, "concurrency_limit": None, "trigger_mode": "multiple"}  # a newer one ends others
    wiring.on([panel.slider.input, panel.ask.click], answer, values, [panel.head, panel.answer], **answered)
    wiring.on(panel.beside.click, beside, values, shown, **RAW)


@dataclass(frozen=True)
class _Steps:
    """What is asked at which steps: the saved ones of a run, the last message of a conversation, the settings."""

    workbench: Workbench
    desk: Desk
    run_id: str
    steps: tuple[int, ...]
    scene: Scene
    conversation: Conversation
    sampling: SamplingSettings
    prompt: SystemPrompt  # of the base

    @classmethod
    def of(cls, workbench: Workbench, lang: Language, desk: Desk, run_id: str, form: Sequence[Any]) -> _Steps:
        """Raises: WorkbenchError: A30 for an unknown run, H11 where nothing was said yet."""
        scene = Scene.of(form[:SCENE_SIZE])
        conversation = chat_flow.open_conversation(workbench, lang, scene)
        if not conversation.turns:
            raise refusal("H11_nothing_said")
        sampling = sampling_of(form[SCENE_SIZE:])
        if sampling.seed is None:  # that of the panes, so that only the weights differ
            seeds = [column.answer.seed for column in conversation.turns[-1].columns.values()]
            sampling = sampling.model_copy(update={"seed": next((seed for seed in seeds if seed is not None), 0)})
        prompt = chat_flow.prompts_of(workbench, lang, scene, [BASE])[BASE]
        steps = workbench.runs.saved_steps(run_id)
        return cls(workbench, desk, run_id, steps, scene, conversation, sampling, prompt)

    def at(self, wanted: object) -> int:
        """The place of the slider, within what there is."""
        return min(whole_number(wanted, 0, 0), len(self.steps))

    def step(self, place: int) -> int:
        return self.steps[place - 1] if place else 0

    def known(self, place: int) -> Reply | None:
        return self.desk.steps.get(self.key(place))

    def key(self, place: int) -> str:
        """What the answer at a place depends on; that of the base on no run.

        Where nothing is typed and no character has a prompt, a step brings that of its run, for which its number
        stands.
        """
        status = self.workbench.model_status()
        model = (status.fingerprint, status.precision.precision, status.precision.compute) if status else ()
        run = (self.run_id, self.step(place)) if place else ()
        return answer_key(model, run, self._messages(""), self.prompt, self.sampling.model_dump_json())

    def request(self, place: int, lang: Language) -> ChatRequest:
        """What is asked at a place; the adapter of its step is applied."""
        from core.chat.streams import ChatRequest

        adapter = self.workbench.apply_checkpoint(self.run_id, self.step(place)) if place else None
        column = adapter or BASE
        prompt = chat_flow.prompts_of(self.workbench, lang, self.scene, [column])[column]
        return ChatRequest(self._messages(prompt.sent), self.sampling, adapter)

    def head(self, place: int, lang: Language) -> str:
        seen, step = self._snapshot, self.step(place)
        best = bool(place) and seen.best_step == step
        loss = dict(seen.evals).get(step) if place else None
        return steps_views.head(Place(place, len(self.steps), step, loss, best), lang)

    def answer(self, place: int, reply: Reply | None, lang: Language) -> str:
        """The answer at a place, marked by the one before that is known where that is wished for."""
        earlier = None
        if self.scene.marked and reply is not None:
            before = ((at, self.known(at)) for at in range(place - 1, -1, -1))
            found = next(((at, known) for at, known in before if known), None)
            earlier = (self._name(found[0], lang), found[1].text) if found else None
        growing = reply is not None and reply.finished is None
        shown = Shown(place, reply.text if reply else None, growing, earlier)
        return steps_views.answer(self.conversation.turns[-1].user, shown, lang)

    def _name(self, place: int, lang: Language) -> str:
        return text("steps.at", lang, step=f"{self.step(place):,}") if place else text("chat_tab.base", lang)

    def _messages(self, system_prompt: str) -> Any:
        """Every step reads the same conversation: as the first column of the last turn had it."""
        column = next(iter(self.conversation.turns[-1].columns), BASE)
        return talk.messages_for(self.conversation, column, system_prompt)

    @cached_property
    def _snapshot(self) -> Any:
        return self.workbench.runs.snapshot(self.run_id)


def draw(workbench: Workbench, lang: Language, desk: Desk, chosen: Any, place: Any, *form: Any) -> list[Any]:
    """The panel as it is now: the runs to choose from, the slider over the steps of one, what is known there."""
    runs = _usable(workbench)
    choices = [(f"{run.name} · {run.started_at[:16].replace('T', ' ')}", run.run_id) for run in runs]
    run_id = chosen if chosen in [run.run_id for run in runs] else next((run.run_id for run in runs), None)
    choice = gr.update(choices=choices, value=run_id)
    if run_id is None:
        return [choice, gr.update(visible=False), gr.update(visible=False), "", steps_views.nothing(lang)]
    steps = workbench.runs.saved_steps(run_id)
    at = min(whole_number(place, 0, 0), len(steps)) if run_id == chosen else len(steps)
    slider = gr.update(visible=True, minimum=0, maximum=len(steps), value=at)
    shown = [choice, slider, gr.update(visible=True)]
    scene = Scene.of(form[:SCENE_SIZE])
    if not chat_flow.open_conversation(workbench, lang, scene).turns:
        return [*shown, "", steps_views.say_something(lang)]
    asked = _Steps.of(workbench, lang, desk, run_id, form)
    return [*shown, asked.head(at, lang), asked.answer(at, asked.known(at), lang)]


def answer(
    workbench: Workbench, lang: Language, desk: Desk, run_id: Any, place: Any, *form: Any
) -> Iterator[list[str]]:
    """The answer at the slider's place: at once where it is known, else as it grows, until another place is wanted."""
    asked = _Steps.of(workbench, lang, desk, _run(run_id), form)
    at = asked.at(place)
    head = asked.head(at, lang)
    with desk.steps.wish(asked.conversation.id) as superseded:
        known = asked.known(at)
        yield [head, asked.answer(at, known, lang)]
        if known or superseded.wait(REST_S):
            return
        key = asked.key(at)
        stream = workbench.chat([asked.request(at, lang)])
        try:
            for (reply,) in stream:
                if superseded.is_set():
                    return
                desk.steps.keep(key, reply)
                yield [head, asked.answer(at, reply, lang)]
        finally:
            stream.cancel()


def beside(workbench: Workbench, lang: Language, desk: Desk, run_id: Any, place: Any, *form: Any) -> list[Any]:
    """Put the step beside those who answer in the panes."""
    steps = workbench.runs.saved_steps(_run(run_id))
    at = min(whole_number(place, 0, 0), len(steps))
    value = chat_columns.step_value(_run(run_id), steps[at - 1]) if at else ""
    scene = Scene.of([form[0], [*(form[1] if isinstance(form[1], list) else []), value], *form[2:SCENE_SIZE]])
    chat_columns.speaker_of(workbench, value)
    return chat_handlers.show(workbench, lang, desk, form[0], list(scene.columns), *form[2:])


def _run(run_id: object) -> str:
    """The id of a run; whether there is one is asked where it is looked up."""
    return run_id if isinstance(run_id, str) else ""


def _usable(workbench: Workbench) -> list[RunSummary]:
    """The runs whose steps can be applied to the model in memory, the newest first."""
    status = workbench.model_status()
    if status is None:
        return []
    fitting = (run for run in workbench.runs.list() if run.base == status.name)
    adapters = (run for run in fitting if run.method in METHODS and METHODS[run.method].makes == "adapter")
    return [run for run in adapters if workbench.runs.saved_steps(run.run_id)]
