"""What happens on the Chat tab: one function for each event, from what the browser sent to what the tab shows then.

Owns the order of inputs and outputs of these functions; `chat_tab` lays the components out and wires them. Answers
come through `chat_flow`, their look from `chat_views`.

    form  = open conversation, columns, typed system prompt, character, search words, blind, marked [, sampling values]
    shown = open conversation, columns, list, title, Send, Stop, note without a model, files without a list entry,
            the comparison of the last answers, panes
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import gradio as gr

from core.chat import conversations as talk
from core.chat.blind import Hidden
from core.chat.conversations import Conversation
from core.chat.system_prompt import SystemPrompt
from core.errors import WorkbenchError, refusal
from core.i18n import Language
from core.settings import SamplingSettings
from core.workbench import Workbench
from webui import chat_columns, chat_flow, side_by_side
from webui.browser_file import browser_file
from webui.chat_desk import Desk
from webui.chat_flow import Ask, Scene, checked_question, checked_text, open_conversation
from webui.chat_panes import growing_updates, pane_updates
from webui.chat_text import plain
from webui.chat_views import (
    PaneView,
    column_choices,
    conversation_choices,
    head_html,
    hidden_pane_view,
    pane_view,
    turn_at,
)
from webui.sampling_form import sampling_of
from webui.views import problem_list

SCENE_SIZE = 7  # values of a form before the sampling values
FIRST_UPDATES = 3  # of an answer: these set the tab up, the others only let the answer grow
RELOAD_WAIT_S = 2.0  # how long a reloaded page waits for the answer that its closing ended


def show(workbench: Workbench, lang: Language, desk: Desk, *form: Any) -> list[Any]:
    """The tab as it is now: after a change elsewhere, in another language, or after an answer."""
    scene = Scene.of(form[:SCENE_SIZE])
    conversation = open_conversation(workbench, lang, scene)
    if not form[1]:  # the page was loaded just now, and what `restore` answers is still on its way
        scene = _with_its_columns(workbench, desk, scene, conversation)
    return _shown(workbench, lang, desk, scene, conversation)


def restore(workbench: Workbench, lang: Language, desk: Desk, *form: Any) -> list[Any]:
    """The tab after the page was loaded: the last conversation with the columns that answered in it."""
    scene = Scene.of(form[:SCENE_SIZE])
    if scene.conversation_id:
        desk.wait(scene.conversation_id, RELOAD_WAIT_S)
    try:
        conversation = open_conversation(workbench, lang, scene)
    except WorkbenchError:  # it is gone, or its file is damaged: the list shows the others
        scene = replace(scene, conversation_id=None)
        conversation = open_conversation(workbench, lang, scene)
    return _shown(workbench, lang, desk, _with_its_columns(workbench, desk, scene, conversation), conversation)


def choose_conversation(workbench: Workbench, lang: Language, desk: Desk, chosen: Any, *form: Any) -> list[Any]:
    scene = replace(Scene.of(form[:SCENE_SIZE]), conversation_id=checked_text(chosen, "conversation"))
    conversation = workbench.conversations.load(scene.conversation_id or "")
    return _shown(workbench, lang, desk, _with_its_columns(workbench, desk, scene, conversation), conversation)


def new_conversation(workbench: Workbench, lang: Language, desk: Desk, *form: Any) -> list[Any]:
    """An empty chat with the chosen character's greeting; it gets a file with its first message."""
    scene = replace(Scene.of(form[:SCENE_SIZE]), conversation_id=None)
    return _shown(workbench, lang, desk, scene, open_conversation(workbench, lang, scene))


def search(workbench: Workbench, lang: Language, words: Any, current: Any) -> list[Any]:
    """The list of the conversations in which every word was said, and the files that could not be searched."""
    return _list_updates(workbench, lang, checked_text(words, "search"), current)


def rename(workbench: Workbench, lang: Language, desk: Desk, title: Any, *form: Any) -> list[Any]:
    scene = Scene.of(form[:SCENE_SIZE])
    conversation = workbench.conversations.rename(_open_id(scene), checked_text(title, "title"))
    return _shown(workbench, lang, desk, scene, conversation)


def delete(workbench: Workbench, lang: Language, desk: Desk, *form: Any) -> list[Any]:
    """Delete the open conversation; an answer in progress is ended first."""
    scene = Scene.of(form[:SCENE_SIZE])
    desk.stop(_open_id(scene))
    workbench.conversations.delete(_open_id(scene))
    desk.blind.reveal(_open_id(scene))
    return new_conversation(workbench, lang, desk, *form)


def choose_columns(workbench: Workbench, lang: Language, desk: Desk, *form: Any) -> Iterator[list[Any]]:
    """Lay the panes out for other columns; adapters among them get applied, one that is refused is taken out again."""
    scene, _ = chat_flow.settled(workbench, Scene.of(form[:SCENE_SIZE]))
    refused: list[WorkbenchError] = []
    for value in scene.columns if workbench.model_status() else ():
        try:
            chat_columns.speaker_of(workbench, value)
        except WorkbenchError as error:
            refused.append(error)
            scene = replace(scene, columns=tuple(name for name in scene.columns if name != value) or ("",))
    yield _shown(workbench, lang, desk, scene, open_conversation(workbench, lang, scene), sent=form[1])
    if refused:
        raise WorkbenchError([problem for error in refused for problem in error.problems])


def send(
    workbench: Workbench, lang: Language, desk: Desk, message: Any, reply_start: Any, *form: Any
) -> Iterator[list[Any]]:
    """Ask everyone the same at once."""
    scene, _, sampling = _asking(workbench, desk, form)
    conversation = talk.add_turn(open_conversation(workbench, lang, scene), checked_question(message))
    ask = Ask(sampling, reply_start=checked_text(reply_start, "reply_start"))
    yield from _answering(workbench, lang, desk, chat_flow.drawn(scene), conversation, ask)


def again(
    workbench: Workbench, lang: Language, desk: Desk, reply_start: Any, *form: Any, pane: int | None = None
) -> Iterator[list[Any]]:
    """Answer the last message once more, in every pane or in one: a new variant."""
    scene, asked, sampling = _asking(workbench, desk, form, pane)
    ask = Ask(sampling, reply_start=checked_text(reply_start, "reply_start"), pane=asked)
    scene = chat_flow.drawn(scene) if pane is None else scene
    yield from _answering(workbench, lang, desk, scene, _with_turns(workbench, scene), ask)


def carry_on(workbench: Workbench, lang: Language, desk: Desk, *form: Any) -> Iterator[list[Any]]:
    """Make the last answers longer."""
    scene, _, sampling = _asking(workbench, desk, form)
    conversation = _with_turns(workbench, scene)
    ask = Ask(sampling, going_on=True)
    yield from _answering(workbench, lang, desk, scene, conversation, ask)


def edit(
    workbench: Workbench, lang: Language, event: gr.EventData, desk: Desk, *form: Any, pane: int = 0
) -> Iterator[list[Any]]:
    """Change something the person said: what followed goes, and it is answered anew."""
    scene, edited, sampling = _asking(workbench, desk, form, pane)
    conversation = _with_turns(workbench, scene)
    column = chat_columns.column_of(workbench, scene.columns[edited or 0])
    index = getattr(event, "index", None)  # as the browser sent it: it may be missing or anything
    turn = _turn_of(conversation, column, index, scene.hidden) if isinstance(index, int) else None
    if turn is None:
        raise refusal("H11_no_such_message")
    changed = talk.edit_user(conversation, turn, plain(checked_question(getattr(event, "value", None))))
    yield from _answering(workbench, lang, desk, chat_flow.drawn(scene), changed, Ask(sampling))


def take_back(workbench: Workbench, lang: Language, desk: Desk, *form: Any) -> list[Any]:
    """Take the last message and its answers back; its words are in the message box again (first output)."""
    scene = Scene.of(form[:SCENE_SIZE])
    with desk.claimed(_open_id(scene)):
        conversation, words = talk.undo(workbench.conversations.load(_open_id(scene)))
        workbench.conversations.save(conversation)
        desk.blind.reveal(conversation.id)
    return [words, *_shown(workbench, lang, desk, scene, conversation)]


def other_variant(
    workbench: Workbench, lang: Language, desk: Desk, *form: Any, pane: int, by: Literal[-1, 1]
) -> list[Any]:
    """Show the variant before or after the chosen one; what follows goes on from the one that is shown."""
    scene, turned = chat_flow.settled(workbench, Scene.of(form[:SCENE_SIZE]), pane)
    _refuse_hidden(desk, scene.conversation_id)
    column = chat_columns.column_of(workbench, scene.columns[turned or 0])
    with desk.claimed(_open_id(scene)):
        conversation = _with_turns(workbench, scene)
        if answered := conversation.turns[-1].columns.get(column):
            conversation = talk.choose_variant(conversation, column, answered.chosen + by)
            workbench.conversations.save(conversation)
    return _shown(workbench, lang, desk, scene, conversation)


def stop(workbench: Workbench, lang: Language, desk: Desk, current: Any) -> None:
    """End the answers in progress; what is there stays. Without one this does nothing."""
    desk.stop(checked_text(current, "conversation"))


def export_json(workbench: Workbench, lang: Language, desk: Desk, current: Any) -> str:
    _refuse_hidden(desk, current)
    conversation = workbench.conversations.load(checked_text(current, "conversation"))
    return _file(conversation, "json", talk.export_json(conversation))


def export_markdown(workbench: Workbench, lang: Language, desk: Desk, current: Any) -> str:
    _refuse_hidden(desk, current)
    conversation = workbench.conversations.load(checked_text(current, "conversation"))
    return _file(conversation, "md", talk.export_markdown(conversation, lang))


def _asking(
    workbench: Workbench, desk: Desk, form: tuple[Any, ...], pane: int | None = None
) -> tuple[Scene, int | None, SamplingSettings]:
    """What an answer is asked with: the scene as the panes stand, with its runs as they are now, where the pane is in
    it, the sampling.
    """
    scene = chat_flow.seated(desk, Scene.of(form[:SCENE_SIZE]))
    scene, asked = chat_flow.settled(workbench, scene, pane)
    return scene, asked, sampling_of(form[SCENE_SIZE:])


def _turn_of(conversation: Conversation, column: str, message: int, hidden: bool) -> int | None:
    """Which turn a message of a window belongs to; while names are hidden it shows the last one alone."""
    if hidden:
        return len(conversation.turns) - 1 if message == 0 else None
    return turn_at(conversation, column, message)


def _refuse_hidden(desk: Desk, conversation_id: object) -> None:
    """Refuse what would tell who answered.

    Raises:
        WorkbenchError: H11 while the names are hidden.
    """
    if isinstance(conversation_id, str) and desk.blind.get(conversation_id):
        raise refusal("H11_names_are_hidden")


def _answering(
    workbench: Workbench, lang: Language, desk: Desk, scene: Scene, conversation: Conversation, ask: Ask
) -> Iterator[list[Any]]:
    """Updates of open conversation, message, Send, Stop, comparison, panes: first with an empty message box, then as
    they grow.
    """
    columns = [chat_columns.column_of(workbench, value) for value in scene.columns]
    speakers = [chat_columns.speaker_of(workbench, value) for value in ask.of(scene.columns)]
    prompts = chat_flow.prompts_of(workbench, lang, scene, columns)  # a saved step has its own once it is applied
    asked = {speaker: prompts[speaker.column] for speaker in speakers}
    heads = _heads(workbench, lang, scene, prompts)
    growing = {speaker.column for speaker in speakers}
    state = [gr.update(visible=False), gr.update(visible=True)]
    stream = chat_flow.answers(workbench, desk, conversation, asked, ask)
    for number, (latest, place) in enumerate(stream):
        if number == 0:
            _hide(desk, conversation.id, scene, columns)
        views = [
            hidden_pane_view(latest, name, seat, lang, name in growing, place)
            if scene.hidden
            else pane_view(latest, name, heads[name], lang, name in growing, place)
            for seat, name in enumerate(columns, 1)
        ]
        # The browser may drop an update that another follows at once, so what must arrive is sent more than once.
        emptied = "" if number < FIRST_UPDATES else gr.skip()
        panes = pane_updates(views) if number < FIRST_UPDATES else growing_updates(views)
        yield [conversation.id, emptied, *state, emptied, *panes]


def _hide(desk: Desk, conversation_id: str, scene: Scene, columns: Sequence[str]) -> None:
    """From now on the names of a conversation's last answers are hidden, or shown."""
    if scene.hidden:
        desk.blind.hide(conversation_id, Hidden(scene.columns, tuple(columns)))
    else:
        desk.blind.reveal(conversation_id)


def _shown(
    workbench: Workbench, lang: Language, desk: Desk, scene: Scene, conversation: Conversation, sent: Any = None
) -> list[Any]:
    """The whole tab. `sent` is what the browser has in the selector, where it should only change if it must."""
    scene = replace(scene, columns=chat_columns.present_columns(workbench, scene.columns))
    busy = desk.busy(conversation.id)
    hidden = desk.blind.get(conversation.id)
    columns = hidden.columns if hidden else [chat_columns.column_of(workbench, value) for value in scene.columns]
    under = (conversation, columns, scene.marked, hidden is not None)
    listing, unreadable = _list_updates(workbench, lang, scene.search, scene.conversation_id)
    return [
        scene.conversation_id,
        _selector_update(workbench, lang, scene, sent),
        listing,
        conversation.title,
        gr.update(visible=not busy),
        gr.update(visible=busy),
        gr.update(visible=workbench.model_status() is None),
        unreadable,
        "" if busy else side_by_side.draw(workbench, lang, *under),
        *pane_updates(_views(workbench, lang, scene, conversation, columns, hidden is not None)),
    ]


def _views(
    workbench: Workbench, lang: Language, scene: Scene, conversation: Conversation, columns: Sequence[str], hidden: bool
) -> list[PaneView]:
    if hidden:
        return [hidden_pane_view(conversation, column, seat, lang) for seat, column in enumerate(columns, 1)]
    heads = _heads(workbench, lang, scene, chat_flow.prompts_of(workbench, lang, scene, columns))
    return [pane_view(conversation, column, heads[column], lang) for column in columns]


def _heads(workbench: Workbench, lang: Language, scene: Scene, prompts: dict[str, SystemPrompt]) -> dict[str, str]:
    """What stands over the pane of each column, with the strength in which its adapter is applied."""
    strengths, heads = workbench.strengths(), {}
    for value in scene.columns:
        column = chat_columns.column_of(workbench, value)
        heads[column] = head_html(column, prompts[column], lang, strengths.get(value, 1.0))
    return heads


def _selector_update(workbench: Workbench, lang: Language, scene: Scene, sent: Any) -> Any:
    names = [info.name for info in workbench.adapters()]
    saved = [value for value in scene.columns if chat_columns.step_of(value)]
    steps = [(value, chat_columns.column_of(workbench, value)) for value in saved]
    choices = column_choices(workbench.strengths(), names, chat_columns.offered_run(workbench), lang, steps)
    chosen = list(scene.columns)
    return gr.update(choices=choices) if sent == chosen else gr.update(choices=choices, value=chosen)


def _list_updates(workbench: Workbench, lang: Language, words: str, current: Any) -> list[Any]:
    """The list of conversations, and what is said under it of files that could not be read."""
    found = workbench.conversations.search(words)
    choices = conversation_choices(found.summaries, lang)
    chosen = current if any(value == current for _, value in choices) else None
    return [gr.update(choices=choices, value=chosen), problem_list(found.problems, lang)]


def _with_its_columns(workbench: Workbench, desk: Desk, scene: Scene, conversation: Conversation) -> Scene:
    """The scene with the columns that answered in the conversation, where any did."""
    columns = talk.columns_of(conversation)[: chat_flow.MAX_PANES]
    values = ["" if name == talk.BASE else chat_columns.value_of_column(workbench, name) for name in columns]
    ordered = sorted(values) if desk.blind.get(conversation.id) else values  # they came in the secret order
    return replace(scene, columns=tuple(ordered) or scene.columns)


def _file(conversation: Conversation, suffix: str, content: str) -> str:
    """A file for the browser to keep, as JSON of its name and content: it never lies where a URL could reach it."""
    name = f"chat-{conversation.created[:10]}-{conversation.id[:8]}.{suffix}"
    return browser_file(name, content)


def _with_turns(workbench: Workbench, scene: Scene) -> Conversation:
    """The open conversation; refused where nothing was said in it yet."""
    conversation = workbench.conversations.load(_open_id(scene))
    if not conversation.turns:
        raise refusal("H11_nothing_said")
    return conversation


def _open_id(scene: Scene) -> str:
    if scene.conversation_id is None:
        raise refusal("H11_nothing_said")
    return scene.conversation_id
