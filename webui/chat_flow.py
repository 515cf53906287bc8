"""From a question to answers that grow: who is asked, what they are sent, and what is kept of it.

Owns the scene (which conversation is open and who answers, as the browser sent it, checked here) and folding replies
into the conversation, which is saved when the question is asked and again when the answer ends, also when it is cut
off. What is shown is `chat_views`', how a model answers is `core.chat.engine`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.chat.characters import Character
from core.chat.conversations import BASE, Answer, Conversation, add_answer, chosen_text, messages_for, replace_answer
from core.chat.system_prompt import SystemPrompt
from core.errors import Place, WorkbenchError, excerpt, refusal
from core.i18n import LANGUAGES, Language
from core.settings import SamplingSettings
from core.workbench import AT_STEP, Workbench
from webui.chat_desk import Desk
from webui.chat_views import RUN_PREFIX

if TYPE_CHECKING:
    from core.chat.engine import ChatRequest
    from core.chat.streams import Reply

MAX_PANES = 4
MAX_TEXT_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Scene:
    """Which conversation is open, what shapes its next answers, and the words searched for in the list.

    `columns` are the selector's values: "" is the base model, `run:<id>` a run in progress, all else an adapter.
    """

    conversation_id: str | None
    columns: tuple[str, ...]
    typed_prompt: str = ""
    character: str = ""
    search: str = ""

    @classmethod
    def of(cls, values: Sequence[object]) -> Scene:
        """The scene of what a browser sent: open conversation, columns, typed prompt, character, search words.

        Raises:
            WorkbenchError: H11 for a value of the wrong type, or too many columns.
        """
        current, columns, *texts = values
        chosen = columns if isinstance(columns, list) else []
        names = tuple(dict.fromkeys("" if name in ("", BASE) else name for name in chosen if isinstance(name, str)))
        if len(names) > MAX_PANES:
            raise refusal("H11_too_many_panes", count=len(names), limit=MAX_PANES)
        conversation_id = current if isinstance(current, str) and current else None
        fields = ("system_prompt", "character", "search")
        return cls(conversation_id, names or ("",), *map(checked_text, texts, fields))


@dataclass(frozen=True)
class Speaker:
    """Who answers in a pane. `column` keeps its answers; `adapter` is what the engine is asked for (None = base)."""

    column: str
    adapter: str | None
    step: int | None = None


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


def column_of(workbench: Workbench, value: str) -> str:
    """The column in which a value of the selector answers: a run answers in that of the adapter it will become."""
    if value.startswith(RUN_PREFIX):
        return workbench.runs.snapshot(value.removeprefix(RUN_PREFIX)).name
    return value or BASE


def offered_run(workbench: Workbench) -> tuple[str, str, int] | None:
    """The run in progress that can be chatted with: id, name and the step of its last checkpoint."""
    run_id = workbench.runs.active()
    snapshot = workbench.runs.snapshot(run_id) if run_id else None
    if run_id is None or snapshot is None or snapshot.checkpoint_step is None:
        return None
    return run_id, snapshot.name, snapshot.checkpoint_step


def present_columns(workbench: Workbench, columns: Sequence[str]) -> tuple[str, ...]:
    """Those columns that there still are; base where none is left.

    The adapter of a run is the run while it goes on (also by the name under which it is applied, `name @ step`), and
    the adapter that it became afterwards.
    """
    run = offered_run(workbench)
    known = {info.name for info in workbench.adapters()} | {""}
    present: list[str] = []
    for value in columns:
        name = _adapter_of(workbench, value)
        if run and name == run[1]:
            present.append(f"{RUN_PREFIX}{run[0]}")
        elif name in known:
            present.append(name)
    return tuple(dict.fromkeys(present)) or ("",)


def _adapter_of(workbench: Workbench, value: str) -> str | None:
    """The adapter behind a column: of a run the one it will have, after its end the one it kept, if any."""
    if not value.startswith(RUN_PREFIX):
        return value.partition(AT_STEP)[0]
    try:
        snapshot = workbench.runs.snapshot(value.removeprefix(RUN_PREFIX))
    except WorkbenchError:  # the run was deleted
        return None
    return snapshot.name if snapshot.status.active else snapshot.adapter


def settled(workbench: Workbench, scene: Scene, pane: int | None = None) -> tuple[Scene, int | None]:
    """The scene in which runs that have ended are the adapters they became, and where its column `pane` is then.

    Raises:
        WorkbenchError: H11 where there is no such column any more.
    """
    columns = [value for column in scene.columns for value in _settled_column(workbench, column)] or [""]
    after = replace(scene, columns=tuple(dict.fromkeys(columns)))
    if pane is None:
        return after, None
    wanted = _settled_column(workbench, scene.columns[pane]) if pane < len(scene.columns) else ()
    if not wanted:
        raise refusal("H11_no_such_pane")
    return after, after.columns.index(wanted[0])


def _settled_column(workbench: Workbench, value: str) -> tuple[str, ...]:
    """The column with its run as it is now; nothing where the run has ended and kept nothing."""
    if not value.startswith(RUN_PREFIX) and AT_STEP not in value:
        return (value,)
    return tuple(found for found in present_columns(workbench, [value]) if found)


def forget_steps(workbench: Workbench) -> None:
    """Take those adapters off that a run applied while it went on and that has ended since."""
    run_id = workbench.runs.active()
    running = workbench.runs.snapshot(run_id).name if run_id else None
    for name in workbench.applied():
        if AT_STEP in name and name.partition(AT_STEP)[0] != running:
            with suppress(WorkbenchError):  # somebody else was quicker
                workbench.remove_adapter(name)


def speaker_of(workbench: Workbench, value: str) -> Speaker:
    """Who answers for a value of the selector; an adapter that is not applied yet gets applied.

    Raises:
        WorkbenchError: A03 without a model, A09 where a run has saved nothing yet, M… where an adapter does not fit.
    """
    if value.startswith(RUN_PREFIX):
        name = workbench.apply_run(value.removeprefix(RUN_PREFIX))
        column, _, step = name.rpartition(AT_STEP)
        return Speaker(column, name, int(step))
    if value:
        workbench.apply_adapter(value)
    return Speaker(value or BASE, value or None)


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
    """The conversation with the last turn's answers as they grow, and how many groups are asked before this one.

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
