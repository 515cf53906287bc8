"""What a run's curves say, as cards of hints above its charts. Pure: `core/training/health.py` says when to give one.

The button of each hint is the page's: `action_label` has its words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.i18n import Language, text
from core.markup import Kind, card, escape, heading, note

if TYPE_CHECKING:
    from core.training.health import Hint

MILD = ("health.rate_too_low", "health.flat")


def hint_card(hint: Hint, lang: Language) -> str:
    """One hint: what is seen with its numbers, and what would help."""
    kind: Kind = "info" if hint.key in MILD else "warning"
    title = heading(text(f"{hint.key}.title", lang, **hint.values))
    seen = note(text(f"{hint.key}.seen", lang, **hint.values))
    advice = note(text(f"{hint.key}.{_advice(hint)}", lang, **hint.values))
    button = (
        f'<button type="button" class="wb-chip" data-do="{hint.action}">{escape(action_label(hint, lang))}</button>'
    )
    return card(f"{title}{seen}{advice}<div>{button}</div>", kind)


def hint_cards(hints: Sequence[Hint], lang: Language) -> str:
    """All hints of a run; nothing where there are none."""
    return "".join(hint_card(hint, lang) for hint in hints)


def action_label(hint: Hint, lang: Language) -> str:
    """The words of the one button that a hint has."""
    return text(f"health.action.{hint.action}", lang, **(hint.values | hint.action_values))


def _advice(hint: Hint) -> str:
    """A flat loss may ask for a higher or a lower rate."""
    return f"help_{hint.action}" if hint.key == "health.flat" else "help"
