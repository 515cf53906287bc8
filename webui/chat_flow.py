"""From a question to answers that grow: who is asked, what they are sent, and what is kept of it.

Owns the scene (which conversation is open and who answers, as the browser sent it, checked here) and folding replies
into the conversation, which is saved when the question is asked and again when the answer ends, also when it is cut
off. What is shown is `chat_views`', how a model answers is `core.chat.engine`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.chat.blind import shuffled
from core.chat.characters import Character
from core.chat.conversations import BASE, Answer, Conversation, add_answer, chosen_text, messages_for, replace_answer
from core.chat.system_prompt import SystemPrompt
from core.errors import Place, WorkbenchError, excerpt, refusal
from core.i18n import LANGUAGES, Language
from core.settings import SamplingSettings
from core.workbench import Workbench
from webui.chat_columns import Speaker, settled_column
from webui.chat_desk import Desk

if TYPE_CHECKING:
    from core.chat.engine import ChatRequest
    from core.chat.streams import Reply

MAX_PANES = 5
MAX_TEXT_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Scene:
    """Which conversation is open, what shapes its next answers, and the words searched for in the list.

    `columns` are the selector's values: "" is the base model, `run:<id>` a run in progress, `step:<id>:<step>` a saved
    step of a run, all else an adapter; where they are `hidden`, in the secret order of the panes. `blind` asks for
    that, `marked` for the differences of answers.
    """

    conversation_id: str | None
    columns: tuple[str, ...]
    typed_prompt: str = ""
    character: str = ""
    search: str = ""
    blind: bool = False
    marked: bool = False
    hidden: bool = False

    @classmethod
    def of(cls, values: Sequence[object]) -> Scene:
        """The scene of what a browser sent: conversation, columns, typed prompt, character, search words, switches.

        Raises:
            WorkbenchError: H11 for a value of the wrong type, or too many columns.
        """
        current, columns, *others = values
        texts, (blind, marked) = others[:3], others[3:]
        chosen = columns if isinstance(columns, list) else []
        names = tuple(dict.fromkeys("" if name in ("", BASE) else name for name in chosen if isinstance(name, str)))
        if len(names) > MAX_PANES:
            raise refusal("H11_too_many_panes", count=len(names), limit=MAX_PANES)
        conversation_id = current if isinstance(current, str) and current else None
        fields = ("system_prompt", "character", "search")
        prompt, character, search = map(checked_text, texts, fields)
        return cls(conversation_id, names or ("",), prompt, character, search, blind is True, marked is True)


@dataclass(frozen=True)
class Ask:
    """What is asked for: an answer with these first words, or (`going_on`) more of the last; of all panes or of one."""

    sampling: SamplingSettings
    reply_start: str = ""
    going_on: bool = False
    pane: int | None = None

    def of(self, columns: Sequence[str]) -> Sequence[str]:
        """Those of the scene's columns that are asked."""
        return columns if self.pane is None else columns[self.pane : self.pane + 1]


def checked_text(value: object, field: str) -> str:
    """A text that a browser sent; nothing becomes "".

    Raises:
        WorkbenchError: H11 where it is no text or longer than a million characters.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise refusal("H11_message_not_text", Place(field=field, excerpt=excerpt(repr(value))), field=field)
    if len(value) > MAX_TEXT_CHARACTERS:
        count, limit = f"{len(value):,}", f"{MAX_TEXT_CHARACTERS:,}"
        raise refusal("H11_message_too_long", Place(field=field), count=count, limit=limit)
    return value


def checked_question(value: object) -> str:
    """A message to answer.

    Raises:
        WorkbenchError: H11 where there is nothing in it.
    """
    words = checked_text(value, "message").strip()
    if not words:
        raise refusal("H11_message_missing")
    return words


def character_of(workbench: Workbench, lang: Language, name: str) -> Character | None:
    """The chosen character; a shipped one keeps its own language when the page's changes. None where none is chosen."""
    if not name:
        return None
    for language in (lang, *LANGUAGES):
        found = [each for each in workbench.characters.list(language).characters if each.name == name]
        if found:
            return found[0]
    return workbench.characters.find(name, lang)  # refuses, with the names there are


def open_conversation(workbench: Workbench, lang: Language, scene: Scene) -> Conversation:
    """The conversation of the scene, or a new one that has no file yet.

    Raises:
        WorkbenchError: A30 where it is gone, A21 where its file is damaged.
    """
    if scene.conversation_id:
        return workbench.conversations.load(scene.conversation_id)
    character = character_of(workbench, lang, scene.character)
    status = workbench.model_status()
    return workbench.conversations.new(
        model=status.name if status else "",
        character=character.name if character else "",
        greeting=character.greeting if character else "",
    )


def settled(workbench: Workbench, scene: Scene, pane: int | None = None) -> tuple[Scene, int | None]:
    """The scene in which runs that have ended are the adapters they became, and where its column `pane` is then.

    Raises:
        WorkbenchError: H11 where there is no such column any more.
    """
    columns = [value for column in scene.columns for value in settled_column(workbench, column)] or [""]
    after = replace(scene, columns=tuple(dict.fromkeys(columns)))
    if pane is None:
        return after, None
    wanted = settled_column(workbench, scene.columns[pane]) if pane < len(scene.columns) else ()
    if not wanted:
        raise refusal("H11_no_such_pane")
    return after, after.columns.index(wanted[0])


def seated(desk: Desk, scene: Scene) -> Scene:
    """The scene with its columns as the panes stand: in the secret order where names are hidden."""
    hidden = desk.blind.get(scene.conversation_id or "")
    return replace(scene, columns=hidden.asked, hidden=True) if hidden else scene


def drawn(scene: Scene) -> Scene:
    """The scene for a new question: in a secret order where several are asked and that is wished for."""
    blind = scene.blind and len(scene.columns) > 1
    return replace(scene, columns=shuffled(scene.columns) if blind else scene.columns, hidden=blind)


def prompts_of(workbench: Workbench, lang: Language, scene: Scene, columns: Sequence[str]) -> dict[str, SystemPrompt]:
    """The system prompt in force in each column."""
    character = character_of(workbench, lang, scene.character)
    return {
        column: workbench.system_prompt(scene.typed_prompt, character, None if column == BASE else column)
        for column in columns
    }


def answers(
    workbench: Workbench,
    desk: Desk,
    conversation: Conversation,
    speakers: dict[Speaker, SystemPrompt],
    ask: Ask,
) -> Iterator[tuple[Conversation, int]]:
    """The conversation with the last turn's answers as they grow, and its place in the queue.

    Closing the iterator cancels and keeps what is there.

    Raises:
        WorkbenchError: as `Workbench.chat`, before anything is saved; A01 where the conversation is being answered.
    """
    with desk.claimed(conversation.id):
        stream = workbench.chat([_request(conversation, speaker, prompt, ask) for speaker, prompt in speakers.items()])
        desk.attach(conversation.id, stream)
        latest = workbench.conversations.save(conversation)
        try:
            yield latest, stream.place
            for replies in stream:
                if any(reply.tokens or reply.finished for reply in replies):
                    latest = _folded(conversation, list(speakers), replies, ask)
                yield latest, stream.place
        finally:
            stream.cancel()
            _keep(workbench, latest)


def _request(conversation: Conversation, speaker: Speaker, prompt: SystemPrompt, ask: Ask) -> ChatRequest:
    from core.chat.engine import ChatRequest

    return ChatRequest(
        messages=messages_for(conversation, speaker.column, prompt.sent),
        adapter=speaker.adapter,
        sampling=ask.sampling,
        reply_start=chosen_text(conversation, speaker.column) if ask.going_on else ask.reply_start,
    )


def _folded(conversation: Conversation, speakers: list[Speaker], replies: Sequence[Reply], ask: Ask) -> Conversation:
    put = replace_answer if ask.going_on else add_answer
    for speaker, reply in zip(speakers, replies, strict=True):
        conversation = put(conversation, speaker.column, _answer(speaker, reply))
    return conversation


def _answer(speaker: Speaker, reply: Reply) -> Answer:
    """A reply as an answer to keep; one in progress counts as cut off, which it is if nothing more comes."""
    return Answer(
        text=reply.text,
        adapter=speaker.adapter,
        step=speaker.step,
        seed=reply.seed,
        tokens=reply.tokens,
        prompt_tokens=reply.prompt_tokens,
        context_tokens=reply.context_tokens,
        dropped_turns=reply.dropped_turns,
        tokens_per_s=reply.tokens_per_s,
        first_token_s=reply.first_token_s or 0.0,
        finished=reply.finished or "cancelled",
    )


def _keep(workbench: Workbench, conversation: Conversation) -> None:
    """Save a conversation after its answer, with the title it has by now; one that was deleted meanwhile stays so."""
    try:
        title = workbench.conversations.load(conversation.id).title
    except WorkbenchError:
        return
    workbench.conversations.save(conversation.model_copy(update={"title": title}))
