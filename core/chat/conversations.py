"""Conversations: what was said, in which columns, with which variants; pure values and what can be done to them.

Owns the structure and every operation on it. A *column* is who answers: `BASE` or an adapter's name; side by side means
that a turn has answers in several columns. A column keeps all answers it was given to one turn (*variants*) and which
of them is chosen; the chosen ones are the history that the model sees. Files are `conversation_store`'s, answers come
from `engine`.

    Conversation ─ turns ─ Turn ─ columns ─ Column ─ variants ─ Answer

Every operation returns a new conversation; none changes one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.data.conversation import Message, whole_text
from core.i18n import Language, text

BASE = "base"  # the column of the model without an adapter; no adapter may have this name
FORMAT_VERSION = 1
TITLE_CHARACTERS = 60


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(_Value):
    """One answer and how it was made. `adapter` None is the base model; `step` is set for one still in training."""

    text: str
    adapter: str | None = None
    step: int | None = None
    seed: int | None = None
    tokens: int = 0
    prompt_tokens: int = 0
    context_tokens: int = 0
    dropped_turns: int = 0
    tokens_per_s: float = 0.0
    first_token_s: float = 0.0
    finished: Literal["stop", "length", "context", "cancelled", "error"] = "stop"


class Column(_Value):
    """The answers that one column gave to one turn, oldest first, and which of them counts."""

    variants: tuple[Answer, ...] = Field(min_length=1)
    chosen: int = Field(ge=0)

    @property
    def answer(self) -> Answer:
        return self.variants[min(self.chosen, len(self.variants) - 1)]


class Turn(_Value):
    """What the person said and what each column answered; a column without an answer is absent."""

    user: str
    columns: dict[str, Column] = {}


class Conversation(_Value):
    """A conversation. `updated` and `created` are ISO 8601; `greeting` is the character's first words."""

    format_version: int = FORMAT_VERSION
    id: str
    title: str = ""
    created: str
    updated: str
    model: str = ""
    character: str = ""
    greeting: str = ""
    system_prompt: str = ""
    turns: tuple[Turn, ...] = ()


def add_turn(conversation: Conversation, user: str) -> Conversation:
    """The person said something; the first words become the title of a conversation without one."""
    user = whole_text(user)
    title = conversation.title or " ".join(user.split())[:TITLE_CHARACTERS]
    return conversation.model_copy(update={"turns": (*conversation.turns, Turn(user=user)), "title": title})


def add_answer(conversation: Conversation, column: str, answer: Answer, turn: int = -1) -> Conversation:
    """A column answered a turn, for the first time or again (retry); the newest answer is the chosen one."""
    old = conversation.turns[turn].columns.get(column)
    variants = (*old.variants, answer) if old else (answer,)
    return _with_column(conversation, turn, column, Column(variants=variants, chosen=len(variants) - 1))


def replace_answer(conversation: Conversation, column: str, answer: Answer, turn: int = -1) -> Conversation:
    """Put an answer in the place of the chosen one: what *continue* made longer, or a person edited."""
    old = conversation.turns[turn].columns[column]
    chosen = min(old.chosen, len(old.variants) - 1)
    variants = (*old.variants[:chosen], answer, *old.variants[chosen + 1 :])
    return _with_column(conversation, turn, column, Column(variants=variants, chosen=chosen))


def choose_variant(conversation: Conversation, column: str, variant: int, turn: int = -1) -> Conversation:
    """Make another variant the chosen one; a number out of range becomes the nearest there is."""
    old = conversation.turns[turn].columns[column]
    chosen = max(0, min(variant, len(old.variants) - 1))
    return _with_column(conversation, turn, column, old.model_copy(update={"chosen": chosen}))


def edit_user(conversation: Conversation, turn: int, user: str) -> Conversation:
    """Change what the person said: its answers and all later turns no longer follow from it and go."""
    return conversation.model_copy(update={"turns": (*conversation.turns[:turn], Turn(user=whole_text(user)))})


def undo(conversation: Conversation) -> tuple[Conversation, str]:
    """Take the last turn back; also what the person had said in it, to be written anew ("" where there is no turn)."""
    if not conversation.turns:
        return conversation, ""
    return conversation.model_copy(update={"turns": conversation.turns[:-1]}), conversation.turns[-1].user


def columns_of(conversation: Conversation) -> tuple[str, ...]:
    """Every column that answered anything, in the order in which they came."""
    return tuple(dict.fromkeys(column for turn in conversation.turns for column in turn.columns))


def chosen_text(conversation: Conversation, column: str, turn: int = -1) -> str:
    """The chosen answer of a column; "" where it has none. *Continue* sends it as the start of the reply."""
    found = conversation.turns[turn].columns.get(column)
    return found.answer.text if found else ""


def messages_for(
    conversation: Conversation, column: str, system_prompt: str = "", turn: int = -1
) -> tuple[Message, ...]:
    """What the model of a column is given to answer a turn: everything before it, and the turn's question.

    Earlier turns come with the column's own chosen answers. A column that joined later takes over, for the turns it
    missed, the answer of the first column that has one; a turn nobody answered is left out. A greeting is shown, not
    sent: models are taught conversations that the user begins, and many templates refuse others.
    """
    number = range(len(conversation.turns))[turn]
    messages: list[Message] = []
    if system_prompt.strip():
        messages.append({"role": "system", "content": system_prompt})
    for earlier in conversation.turns[:number]:
        answered = earlier.columns.get(column) or next(iter(earlier.columns.values()), None)
        if answered and answered.answer.text.strip():
            messages.append({"role": "user", "content": earlier.user})
            messages.append({"role": "assistant", "content": answered.answer.text})
    messages.append({"role": "user", "content": conversation.turns[number].user})
    return tuple(messages)


def matches(conversation: Conversation, words: str) -> bool:
    """Whether every word is in the title or in something that was said, in whatever case."""
    said = [conversation.title, *(turn.user for turn in conversation.turns)]
    said += [
        answer.text for turn in conversation.turns for column in turn.columns.values() for answer in column.variants
    ]
    everything = "\n".join(said).casefold()
    return all(word in everything for word in words.casefold().split())


def export_json(conversation: Conversation) -> str:
    """All there is of a conversation, and the chosen answers of each column as plain `messages`."""
    columns = columns_of(conversation)
    values = conversation.model_dump()
    values["messages"] = {column: _said(conversation, column) for column in columns}
    return json.dumps(values, ensure_ascii=False, indent=2)


def export_markdown(conversation: Conversation, lang: Language = "en") -> str:
    """The conversation to read: the chosen answers, each under its column's name."""
    parts = [f"# {' '.join(conversation.title.split())}"]
    if conversation.system_prompt.strip():
        parts.append(f"**{text('chat.export.system', lang)}**\n\n{_quoted(conversation.system_prompt)}")
    if conversation.greeting.strip():
        parts.append(f"**{text('chat.export.greeting', lang)}**\n\n{_quoted(conversation.greeting)}")
    for turn in conversation.turns:
        parts.append(f"## {text('chat.export.user', lang)}\n\n{_quoted(turn.user)}")
        parts += [f"### {_speaker(name, lang)}\n\n{column.answer.text}" for name, column in turn.columns.items()]
    return "\n\n".join(parts) + "\n"


def _with_column(conversation: Conversation, turn: int, name: str, column: Column) -> Conversation:
    turns = list(conversation.turns)
    turns[turn] = turns[turn].model_copy(update={"columns": {**turns[turn].columns, name: column}})
    return conversation.model_copy(update={"turns": tuple(turns)})


def _said(conversation: Conversation, column: str) -> Sequence[Message]:
    if not conversation.turns:
        return ()
    asked = messages_for(conversation, column, conversation.system_prompt)
    answer = chosen_text(conversation, column)
    return (*asked, {"role": "assistant", "content": answer}) if answer else asked


def _speaker(column: str, lang: Language) -> str:
    return text("chat.export.base", lang) if column == BASE else column


def _quoted(words: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in words.splitlines())
