"""A run's saved step as HTML: where the slider stands, and the answer there. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from core.chat.differences import compared
from core.i18n import Language, text
from core.markup import badge, escape, note, number
from webui.side_by_side_views import marked_text


@dataclass(frozen=True)
class Place:
    """Where the slider stands: place `number` (0 = the base model) of `count` saved steps of a run.

    `loss` is the validation loss after the step, where it was evaluated; `best` whether none was better.
    """

    number: int
    count: int
    step: int
    loss: float | None = None
    best: bool = False


def head(place: Place, lang: Language) -> str:
    """Which step it is, and how good it was."""
    if place.number == 0:
        words = text("steps.base", lang)
    else:
        words = text("steps.step", lang, step=f"{place.step:,}", number=place.number, count=place.count)
    facts = [] if place.loss is None else [text("steps.loss", lang, loss=number(place.loss))]
    shown = "".join(f'<span class="chat-fact">{escape(fact)}</span>' for fact in facts)
    mark = badge(text("steps.best", lang), "good") if place.best else ""
    return f'<div class="steps-head"><strong>{escape(words)}</strong>{mark}{shown}</div>'


@dataclass(frozen=True)
class Shown:
    """The answer at a place: its words, None where there are none yet; `growing` while more come.

    `earlier` (its name, its words) is the answer that it is marked by.
    """

    place: int
    words: str | None
    growing: bool = False
    earlier: tuple[str, str] | None = None


def answer(message: str, shown: Shown, lang: Language) -> str:
    """The answer to a message at a place."""
    words, earlier = shown.words, shown.earlier
    question = f'<div class="steps-question">{escape(message)}</div>'
    if words is None:
        return question + note(text("steps.not_asked", lang))
    if earlier is None:
        content, hint = escape(words or text("chat_tab.empty_answer", lang)), ""
    else:
        content = marked_text(compared([earlier[1], words])[1])
        hint = note(text("compare.since", lang, name=earlier[0]))
    state = f'data-place="{shown.place}" aria-busy="{str(shown.growing).lower()}"'
    return f'{question}{hint}<div class="compare-text" tabindex="0" {state}>{content}</div>'


def say_something(lang: Language) -> str:
    """There is no message yet that could be answered."""
    return note(text("steps.say_something", lang))


def nothing(lang: Language) -> str:
    """No run has a step that could be applied here."""
    return note(text("steps.none", lang))
