"""Voting on answers that stand side by side, and what all votes come to: as a table, as a file, cleared when asked.

Owns the two switches over the panes (blind, differences), the events of the buttons under them, and the accordion with
the tally. The buttons' look is `side_by_side_views`', the counting `core.chat.votes`'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.chat.conversations import Conversation
from core.chat.votes import Vote, tally, vote_on, votes_csv, votes_jsonl
from core.errors import refusal
from core.i18n import Language
from core.workbench import Workbench
from core.workspace import now
from webui import chat_columns, chat_flow, chat_handlers, side_by_side, side_by_side_views
from webui.browser_file import SAVE_FILE_JS, browser_file
from webui.chat_desk import Desk
from webui.chat_flow import Scene
from webui.preview_panel import CLICKS_JS
from webui.wiring import RAW, Wiring


@dataclass(frozen=True)
class VotePanel:
    """The components."""

    part: gr.Accordion
    table: gr.HTML
    csv: gr.Button
    jsonl: gr.Button
    clear: gr.Button
    ask: gr.Column
    yes: gr.Button
    no: gr.Button


def build_switches(wiring: Wiring) -> None:
    """Over the panes."""
    with gr.Row(elem_id="compare-switches"):
        for name in ("blind", "marked"):
            switch = gr.Checkbox(False, elem_id=f"compare-{name}", container=False, min_width=160)
            wiring.shared[f"compare-{name}"] = wiring.say(switch, label=f"compare.{name}", info=f"compare.{name}_info")


def build_compared(wiring: Wiring) -> None:
    """Under the panes."""
    wiring.shared["chat-compared"] = gr.HTML(elem_id="chat-compared", padding=False, js_on_load=CLICKS_JS)


def build(wiring: Wiring) -> None:
    with wiring.say(gr.Accordion(open=False, elem_id="votes-part"), label="compare.tally.title") as part:
        shown = gr.HTML(elem_id="votes-table", padding=False)
        with gr.Row(elem_classes="compare-buttons"):
            names = ("csv", "jsonl", "clear")
            csv, jsonl, empty = (_button(wiring, f"votes-{name}", f"compare.{name}") for name in names)
        with gr.Column(visible=False, elem_id="votes-clear-ask") as ask:
            wiring.say(gr.Markdown(), value="compare.clear_words")
            with gr.Row(elem_classes="compare-buttons"):
                yes = _button(wiring, "votes-clear-yes", "compare.clear_yes", variant="stop")
                no = _button(wiring, "votes-clear-no", "compare.clear_no")
    wiring.shared["vote-panel"] = VotePanel(part, shown, csv, jsonl, empty, ask, yes, no)


def _button(wiring: Wiring, name: str, words: str, **options: Any) -> gr.Button:
    return wiring.say(gr.Button(elem_id=name, size="sm", min_width=110, **options), value=words)


def connect(wiring: Wiring, scene: list[Any], shown: list[Any]) -> None:
    """`scene` and `shown` are what `chat_handlers.show` takes and fills."""
    shared = wiring.shared
    panel: VotePanel = shared["vote-panel"]
    clicked = shared["chat-compared"].click
    voted = wiring.on(clicked, vote, scene, [*shown, panel.table], **RAW)
    wiring.on(voted.failure, chat_handlers.show, scene, shown, **RAW)
    wiring.on(shared["compare-marked"].input, chat_handlers.show, scene, shown, **RAW)
    wiring.on([panel.part.expand, wiring.language.input], draw_tally, [], panel.table, **RAW)
    for button, kind in ((panel.csv, export_csv), (panel.jsonl, export_jsonl)):
        exported = wiring.on(button.click, kind, [], shared["chat-file"], **RAW)
        exported.success(None, [shared["chat-file"]], [], js=SAVE_FILE_JS, api_visibility="private")
    for button, asking in ((panel.clear, True), (panel.no, False), (panel.yes, False)):
        js = f"() => ({{visible: {str(asking).lower()}, __type__: 'update'}})"
        button.click(None, [], [panel.ask], js=js, api_visibility="private")
    wiring.on(panel.yes.click, clear, scene, [*shown, panel.table], **RAW)


def vote(workbench: Workbench, lang: Language, event: gr.EventData, desk: Desk, *form: Any) -> list[Any]:
    """What a button under the panes says: a vote, after which names are shown, or to show the names without one."""
    scene = Scene.of(form)
    conversation = chat_flow.open_conversation(workbench, lang, scene)
    with desk.claimed(conversation.id):
        hidden = desk.blind.get(conversation.id)
        if getattr(event, "do", None) == "vote":
            columns = hidden.columns if hidden else [chat_columns.column_of(workbench, each) for each in scene.columns]
            workbench.votes.add(_given(conversation, columns, getattr(event, "choice", None), hidden is not None))
        if getattr(event, "do", None) in ("vote", "reveal"):
            desk.blind.reveal(conversation.id)
    seated = [form[0], list(hidden.asked) if hidden else form[1], *form[2:]]
    return [*chat_handlers.show(workbench, lang, desk, *seated), draw_tally(workbench, lang)]


def _given(conversation: Conversation, columns: Sequence[str], choice: object, blind: bool) -> Vote:
    """The vote for the pane of this number, or for none.

    Raises:
        WorkbenchError: H11 where there is no answer in it, or fewer than two.
    """
    seats = side_by_side.seats_of(conversation, columns, "en", blind)
    chosen = [seat.column for seat in seats if str(seat.number) == choice]
    if len(seats) < 2 or not (chosen or choice == side_by_side_views.EQUAL):
        raise refusal("H11_no_such_answer")
    return vote_on(conversation, [seat.column for seat in seats], chosen[0] if chosen else None, blind)


def draw_tally(workbench: Workbench, lang: Language) -> str:
    return side_by_side_views.tally_tables(tally(workbench.votes.list()), lang)


def export_csv(workbench: Workbench, lang: Language) -> str:
    return _file("csv", votes_csv(workbench.votes.list()))


def export_jsonl(workbench: Workbench, lang: Language) -> str:
    return _file("jsonl", votes_jsonl(workbench.votes.list()))


def clear(workbench: Workbench, lang: Language, desk: Desk, *form: Any) -> list[Any]:
    """Forget all votes."""
    workbench.votes.clear()
    return [*chat_handlers.show(workbench, lang, desk, *form), draw_tally(workbench, lang)]


def _file(suffix: str, content: str) -> str:
    """A file for the browser to keep, as JSON of its name and content."""
    return browser_file(f"votes-{now()[:10]}.{suffix}", content)
