"""A conversation as the chat tab shows it: messages of a pane, what stands over and under it, lists to choose from.

Pure: conversations and answers in, messages for gradio's chat window and escaped HTML out. An answer in progress is an
answer like any other in a conversation that has not been saved yet. Making text inert is `chat_text`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from core.chat.conversation_store import ConversationSummary
from core.chat.conversations import BASE, Answer, Conversation, Turn
from core.chat.desk import name_in_strength
from core.chat.system_prompt import SystemPrompt
from core.i18n import Language, text
from core.markup import escape, visible
from core.workbench import AT_STEP
from webui.chat_text import inert, parts

RUN_PREFIX = "run:"  # a column of the selector that is a run in progress, by its id
STEP_PREFIX = "step:"  # one that is a saved step of a run: `step:<id>:<step>`
ShownMessage = dict[str, Any]


@dataclass(frozen=True)
class PaneView:
    """What one pane shows. `variant` is the chosen variant of the last answer, from 1, of how many."""

    head: str
    messages: list[ShownMessage]
    variant: tuple[int, int]
    foot: str


def pane_view(
    conversation: Conversation,
    column: str,
    head: str,
    lang: Language,
    answering: bool = False,
    place: int = 0,
) -> PaneView:
    """A pane in which one column's side of a conversation is read, under its `head_html`.

    `answering` while its last answer still grows, for which it waits at `place` in the queue.
    """
    last = conversation.turns[-1].columns.get(column) if conversation.turns else None
    return PaneView(
        head=head,
        messages=window_messages(conversation, column, lang, answering),
        variant=(min(last.chosen + 1, len(last.variants)), len(last.variants)) if last else (0, 0),
        foot=foot_html(last.answer, lang, answering) if last else waiting_html(place, lang),
    )


def hidden_pane_view(
    conversation: Conversation, column: str, number: int, lang: Language, answering: bool = False, place: int = 0
) -> PaneView:
    """Pane `number` (from 1) of a blind comparison: the last message and its answer, nothing that tells whose it is.

    Neither are earlier turns, which names were shown with, nor how fast it was and how long its prompt.
    """
    turn = conversation.turns[-1]
    own = {column: turn.columns[column]} if column in turn.columns else {}
    last = conversation.model_copy(update={"turns": (Turn(user=turn.user, columns=own),), "greeting": ""})
    head = f'<div class="chat-head"><strong class="chat-who">{escape(hidden_name(number, lang))}</strong></div>'
    messages = window_messages(last, column, lang, answering)
    return PaneView(head, messages, (0, 0), "" if own else waiting_html(place, lang))


def hidden_name(number: int, lang: Language) -> str:
    """What a pane is called while names are hidden; `number` from 1."""
    return text("compare.answer", lang, letter="ABCDE"[number - 1])


def window_messages(
    conversation: Conversation, column: str, lang: Language, answering: bool = False
) -> list[ShownMessage]:
    """The messages of gradio's chat window for one column."""
    return [message for _, message in _shown(conversation, column, lang, answering)]


def turn_at(conversation: Conversation, column: str, message: int) -> int | None:
    """Which turn a message of the window belongs to, None where there is no such message or it is the greeting."""
    turns = [turn for turn, _ in _shown(conversation, column, "en", False)]
    return turns[message] if 0 <= message < len(turns) else None


def _shown(
    conversation: Conversation, column: str, lang: Language, answering: bool
) -> list[tuple[int | None, ShownMessage]]:
    shown: list[tuple[int | None, ShownMessage]] = []
    if conversation.greeting.strip():
        shown.append((None, _message("assistant", conversation.greeting)))
    for number, turn in enumerate(conversation.turns):
        growing = answering and number == len(conversation.turns) - 1
        shown.append((number, _message("user", turn.user)))
        shown += [(number, message) for message in _answer_messages(turn, column, lang, growing)]
    return shown


def _answer_messages(turn: Turn, column: str, lang: Language, growing: bool) -> list[ShownMessage]:
    """A column's answer; where it has none, the one it takes over from another column, folded under its name."""
    own = turn.columns.get(column)
    if own:
        return _own_messages(own.answer, lang, growing)
    if growing:
        return [_message("assistant", "…")]
    for name, other in turn.columns.items():
        title = text("chat_tab.taken_over", lang, who=visible(column_label(name, lang)))
        return [_message("assistant", other.answer.text, {"title": title, "status": "done"})]
    return []


def _own_messages(answer: Answer, lang: Language, growing: bool) -> list[ShownMessage]:
    messages: list[ShownMessage] = []
    for part in parts(answer.text, growing):
        title = text(f"chat_tab.{'thinking' if part.open and growing else 'reasoning'}", lang)
        folded = {"title": title, "status": "done"}  # gradio unfolds what is "pending", and folds it with a jump
        messages.append(_message("assistant", part.text, folded if part.reasoning else None))
    if not messages:
        messages.append(_message("assistant", "…" if growing else text("chat_tab.empty_answer", lang)))
    return messages


def _message(role: str, words: str, metadata: dict[str, str] | None = None) -> ShownMessage:
    # As a list of parts: gradio strips the indentation of content that is a plain string.
    message: ShownMessage = {"role": role, "content": [{"type": "text", "text": inert(words)}]}
    return {**message, "metadata": metadata} if metadata else message


def head_html(column: str, prompt: SystemPrompt, lang: Language, strength: float = 1.0) -> str:
    """Who answers in a pane, in which strength, and the system prompt in force with where it comes from."""
    name = f'<strong class="chat-who">{escape(name_in_strength(column_label(column, lang), strength))}</strong>'
    if not prompt.text.strip():
        none = escape(text("chat_tab.no_system_prompt", lang))
        return f'<div class="chat-head">{name}<span class="chat-prompt">{none}</span></div>'
    source = escape(text(prompt.source_key, lang))
    summary = f"{escape(text('chat_tab.system_prompt', lang))} · {source}"
    prompt_html = f"<summary>{summary}</summary><div>{escape(prompt.text)}</div>"
    return f'<div class="chat-head">{name}<details class="chat-prompt">{prompt_html}</details></div>'


def foot_html(answer: Answer, lang: Language, answering: bool = False) -> str:
    """Under a pane: how full the context is, how fast the last answer came, its seed, and why it ended."""
    facts = [text("chat_tab.fact.tokens", lang, count=f"{answer.tokens:,}")]
    if answer.tokens_per_s:
        facts.append(text("chat_tab.fact.speed", lang, speed=f"{answer.tokens_per_s:.1f}"))
    if answer.first_token_s:
        facts.append(text("chat_tab.fact.first_token", lang, seconds=f"{answer.first_token_s:.2f}"))
    if answer.seed is not None:
        facts.append(text("chat_tab.fact.seed", lang, seed=answer.seed))
    if answer.step is not None:
        facts.append(text("chat_tab.fact.step", lang, step=f"{answer.step:,}"))
    line = "".join(f'<span class="chat-fact">{escape(fact)}</span>' for fact in facts)
    return f'<div class="chat-foot">{_meter(answer, lang)}{line}{_notes(answer, lang, answering)}</div>'


def waiting_html(place: int, lang: Language) -> str:
    """That others are answered first, where it is so."""
    words = escape(text("chat_tab.waiting", lang, place=place)) if place else ""
    return f'<div class="chat-foot"><span class="chat-note">{words}</span></div>' if words else ""


def _meter(answer: Answer, lang: Language) -> str:
    if not answer.context_tokens:
        return ""
    used = answer.prompt_tokens + answer.tokens
    percent = min(100, round(100 * used / answer.context_tokens))
    words = escape(text("chat_tab.context", lang, used=f"{used:,}", limit=f"{answer.context_tokens:,}"))
    bar = f'<span class="chat-meter" role="meter" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}">'
    title = escape(text("chat_tab.context_policy", lang))
    full = " chat-full" if percent >= 90 else ""
    bar += f'<i class="chat-fill{full}" style="width:{percent}%"></i></span>'
    return f'<span class="chat-context" title="{title}">{bar}<span>{words}</span></span>'


def _notes(answer: Answer, lang: Language, answering: bool) -> str:
    ended = answer.finished != "stop" and not answering
    notes = [text(f"chat.finished.{answer.finished}", lang)] if ended else []
    if answer.dropped_turns:
        notes.append(text("chat.dropped_turns", lang, count=answer.dropped_turns))
    return "".join(f'<span class="chat-note">{escape(words)}</span>' for words in notes)


def variant_label(variant: tuple[int, int]) -> str:
    return f"{variant[0]} / {variant[1]}"


def column_label(column: str, lang: Language) -> str:
    """The name of a column as people read it."""
    return text("chat_tab.base", lang) if column in ("", BASE) else column


def column_choices(
    applied: Mapping[str, float],
    adapters: Iterable[str],
    run: tuple[str, str, int] | None,
    lang: Language,
    steps: Iterable[tuple[str, str]] = (),
) -> list[tuple[str, str]]:
    """(words, value) of everything that can answer: base, applied adapters, others, the run (id, name, step).

    `applied` has the strength of each; `steps` are those saved steps that were chosen: their values and columns.
    """
    choices = [(text("chat_tab.base", lang), "")]
    others = [name for name in adapters if name not in applied]
    named = ((visible(name_in_strength(name, strength)), name) for name, strength in applied.items())
    choices += [(words, name) for words, name in named if AT_STEP not in name]
    choices += [(text("chat_tab.not_applied", lang, name=visible(name)), name) for name in others]
    if run:
        words = text("chat_tab.in_training", lang, name=visible(run[1]), step=f"{run[2]:,}")
        choices.append((words, f"{RUN_PREFIX}{run[0]}"))
    return [*choices, *((visible(column), value) for value, column in steps)]


def conversation_choices(summaries: Iterable[ConversationSummary], lang: Language) -> list[tuple[str, str]]:
    """(title, id) of conversations; the last changed first, as they come."""
    untitled = text("chat_tab.untitled", lang)
    return [(visible(summary.title) or untitled, summary.id) for summary in summaries]
