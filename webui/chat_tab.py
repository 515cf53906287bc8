"""The Chat tab: conversations at the side, up to five panes that answer the same message, and what is done with them.

Owns the layout and the wiring; what happens on an event is in `chat_handlers`, and in the panels under the panes:
votes, the way through training, prompt sets. Shares `chat-columns`, the selector of who answers: its value is a list of
"" (the base model), adapter names, `run:<id>`, or `step:<id>:<step>`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from webui import chat_handlers as handlers
from webui import prompt_set_panel, steps_panel, vote_panel
from webui.browser_file import SAVE_FILE_JS
from webui.chat_desk import Desk
from webui.chat_flow import MAX_PANES
from webui.chat_panes import Pane, build_panes, outputs_of
from webui.chat_text import COPY_PLAIN_JS
from webui.wiring import LAST_ONLY, RAW, Wiring

# What shapes the next answers beside the open conversation, in the order of a handler's form.
SCENE = ("chat-columns", "system-prompt", "character", "chat-search", "compare-blind", "compare-marked")
ANSWER: dict[str, Any] = {**RAW, "concurrency_limit": None}  # the engine has its own queue


def build(wiring: Wiring) -> None:
    wiring.shared["chat-desk"] = gr.State(Desk())
    with gr.Row(equal_height=False, elem_id="chat"):
        with gr.Column(scale=1, min_width=230, elem_id="chat-side"):
            _build_side(wiring)
        with gr.Column(scale=5, min_width=320, elem_id="chat-main"):
            _build_main(wiring)


def _button(wiring: Wiring, name: str, **options: Any) -> None:
    button = gr.Button(elem_id=f"chat-{name}", **{"size": "sm", "min_width": 80, **options})
    wiring.shared[f"chat-{name}"] = wiring.say(button, value=f"chat_tab.{name.replace('-', '_')}")


def _build_side(wiring: Wiring) -> None:
    shared = wiring.shared
    _button(wiring, "new", variant="primary", size="md")
    search = gr.Textbox(elem_id="chat-search", show_label=False, container=False, max_lines=1)
    shared["chat-search"] = wiring.say(search, placeholder="chat_tab.search", label="chat_tab.search")
    listing = gr.Radio([], elem_id="chat-list", show_label=False, container=False, interactive=True)
    shared["chat-list"] = wiring.say(listing, label="chat_tab.list")
    shared["chat-problems"] = gr.HTML(elem_id="chat-problems", padding=False)
    with wiring.say(gr.Accordion(open=False, elem_id="chat-this"), label="chat_tab.this"):
        title = gr.Textbox(elem_id="chat-title", max_lines=1)
        shared["chat-title"] = wiring.say(title, label="chat_tab.title")
        with gr.Row():
            _button(wiring, "rename")
            _button(wiring, "delete", variant="stop")
        with gr.Column(visible=False, elem_id="chat-delete-ask") as ask:
            wiring.say(gr.Markdown(elem_id="chat-delete-words"), value="chat_tab.delete_words")
            with gr.Row():
                _button(wiring, "delete-yes", variant="stop")
                _button(wiring, "delete-no")
        shared["chat-delete-ask"] = ask
        with gr.Row():
            _button(wiring, "export-json")
            _button(wiring, "export-markdown")
    shared["chat-file"] = gr.Textbox(visible=False, elem_id="chat-file")


def _build_main(wiring: Wiring) -> None:
    shared = wiring.shared
    with gr.Row(visible=False, elem_id="chat-no-model") as no_model:
        wiring.say(gr.Markdown(elem_id="chat-no-model-words", container=False), value="chat_tab.no_model")
        _button(wiring, "open-model", scale=0, min_width=160)
    shared["chat-no-model"] = no_model
    columns = gr.Dropdown(
        [], value=[], multiselect=True, max_choices=MAX_PANES, allow_custom_value=True, elem_id="chat-columns"
    )
    shared["chat-columns"] = wiring.say(columns, label="chat_tab.columns", info="chat_tab.columns_info")
    vote_panel.build_switches(wiring)
    shared["chat-panes"] = build_panes(wiring)
    vote_panel.build_compared(wiring)
    with gr.Row(equal_height=True, elem_id="chat-ask"):
        message = gr.Textbox(elem_id="chat-message", show_label=False, lines=1, max_lines=10, scale=8, min_width=220)
        shared["chat-message"] = wiring.say(message, placeholder="chat_tab.message", label="chat_tab.message")
        _button(wiring, "send", variant="primary", scale=1, size="lg")
        _button(wiring, "stop", variant="stop", scale=1, size="lg", visible=False)
    with gr.Row(elem_id="chat-actions"):
        for name in ("retry", "continue", "undo"):
            _button(wiring, name, scale=0, min_width=110)
        start = gr.Textbox(elem_id="chat-reply-start", show_label=False, container=False, max_lines=3, scale=1)
        shared["chat-reply-start"] = wiring.say(start, placeholder="chat_tab.reply_start", label="chat_tab.reply_start")
    for panel in (steps_panel, prompt_set_panel, vote_panel):
        panel.build(wiring)


def connect(wiring: Wiring) -> None:
    shared = wiring.shared
    # Outside the tabs: what is in a tab that is not open is not in the page, and cannot read what the browser kept.
    # The secret keeps the entry readable after a restart; the id of a conversation is checked when it is used.
    current = gr.BrowserState(None, storage_key="workbench.conversation", secret="conversation")  # noqa: S106
    shared["chat-current"] = current
    desk, panes = shared["chat-desk"], shared["chat-panes"]
    scene = [current, *(shared[name] for name in SCENE)]
    selector = [shared[name] for name in ("chat-columns", "chat-list", "chat-title")]
    buttons = [shared["chat-send"], shared["chat-stop"]]
    notes = [shared["chat-no-model"], shared["chat-problems"], shared["chat-compared"]]
    shown = [current, *selector, *buttons, *notes, *outputs_of(panes)]
    form = [desk, *scene, *shared["sampling"]]
    wiring.page.load(None, js=COPY_PLAIN_JS, api_visibility="private")
    wiring.on(wiring.page.load, handlers.restore, [desk, *scene], shown, **RAW)
    refreshed = [shared["tab-chat"].select, wiring.language.change]
    wiring.on(refreshed, handlers.show, [desk, *scene], shown, **RAW)
    wiring.on(shared["chat-columns"].input, handlers.choose_columns, [desk, *scene], shown, **RAW)
    wiring.on(shared["chat-open-model"].click, open_model_tab, [], shared["tabs"], **RAW)
    _connect_side(wiring, [desk, *scene], shown)
    _connect_answers(wiring, form, shown)
    _connect_panes(wiring, panes, form, shown)
    vote_panel.connect(wiring, [desk, *scene], shown)
    steps_panel.connect(wiring, form, shown)
    prompt_set_panel.connect(wiring, form)


def open_model_tab(workbench: Any, lang: Any) -> Any:
    return gr.Tabs(selected="model")


def _connect_side(wiring: Wiring, scene: list[Any], shown: list[Any]) -> None:
    shared = wiring.shared
    desk, current, ask = shared["chat-desk"], shared["chat-current"], shared["chat-delete-ask"]
    listing, words, title, file = (shared[f"chat-{name}"] for name in ("list", "search", "title", "file"))
    wiring.on(shared["chat-new"].click, handlers.new_conversation, scene, shown, **RAW)
    found = [listing, shared["chat-problems"]]
    wiring.on(words.change, handlers.search, [words, current], found, **LAST_ONLY)
    wiring.on(listing.input, handlers.choose_conversation, [desk, listing, *scene[1:]], shown, **RAW)
    renaming = [shared["chat-rename"].click, title.submit]
    wiring.on(renaming, handlers.rename, [desk, title, *scene[1:]], shown, **RAW)
    for name, asking in (("delete", True), ("delete-no", False), ("delete-yes", False)):
        click = shared[f"chat-{name}"].click
        click(None, [], [ask], js=f"() => ({{visible: {str(asking).lower()}, __type__: 'update'}})")
    wiring.on(shared["chat-delete-yes"].click, handlers.delete, scene, shown, **RAW)
    exports = {"export-json": handlers.export_json, "export-markdown": handlers.export_markdown}
    for name, handler in exports.items():
        exported = wiring.on(shared[f"chat-{name}"].click, handler, [desk, current], file, **RAW)
        exported.success(None, [file], [], js=SAVE_FILE_JS, api_visibility="private")


def _connect_answers(wiring: Wiring, form: list[Any], shown: list[Any]) -> None:
    """Everything that makes answers; when it ends, in whatever way, the tab is shown as it is kept."""
    shared = wiring.shared
    message, start = shared["chat-message"], shared["chat-reply-start"]
    desk, *rest = form
    sending = [shared["chat-send"].click, message.submit]
    _answer(wiring, sending, handlers.send, [desk, message, start, *rest], shown)
    _answer(wiring, shared["chat-retry"].click, handlers.again, [desk, start, *rest], shown)
    _answer(wiring, shared["chat-continue"].click, handlers.carry_on, form, shown)
    wiring.on(shared["chat-undo"].click, handlers.take_back, form, [message, *shown], **RAW)
    wiring.on(shared["chat-stop"].click, handlers.stop, [desk, shared["chat-current"]], None, **RAW)


def _answer(wiring: Wiring, trigger: Any, handler: Any, inputs: list[Any], shown: list[Any]) -> None:
    shared = wiring.shared
    growing = [shared[f"chat-{name}"] for name in ("current", "message", "send", "stop", "compared")]
    event = wiring.on(trigger, handler, inputs, [*growing, *outputs_of(shared["chat-panes"])], **ANSWER)
    kept = [shared["chat-desk"], shared["chat-current"], *(shared[name] for name in SCENE)]
    for ended in (event.then, event.failure):  # gradio calls the one after an end, the other after an error
        wiring.on(ended, handlers.show, kept, shown, **RAW)


def _connect_panes(wiring: Wiring, panes: list[Pane], form: list[Any], shown: list[Any]) -> None:
    shared = wiring.shared
    desk, *rest = form
    for number, pane in enumerate(panes):
        _answer(wiring, pane.window.edit, partial(handlers.edit, pane=number), form, shown)
        again = partial(handlers.again, pane=number)
        _answer(wiring, pane.window.retry, again, [desk, shared["chat-reply-start"], *rest], shown)
        undone = [shared["chat-message"], *shown]
        wiring.on(pane.window.undo, handlers.take_back, form, undone, **RAW)
        older, newer = (partial(handlers.other_variant, pane=number, by=by) for by in (-1, 1))
        wiring.on(pane.older.click, older, form, shown, **RAW)
        wiring.on(pane.newer.click, newer, form, shown, **RAW)
