"""Which system prompt is in force, and where it comes from.

Owns that order and finding out what a chat template puts in by itself. The conversation is rendered elsewhere
(`core.data.rendering`); a template's own default is shown, never sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from core.adapters.card import AdapterCard
from core.chat.characters import Character
from core.data.conversation import Message
from core.data.templates import render_text
from core.errors import WorkbenchError

Source = Literal["typed", "character", "adapter", "template", "none"]

_PROBE = "\ue000probe\ue000"


@dataclass(frozen=True)
class SystemPrompt:
    """The prompt in force. `sent` is what becomes a system message; "" where the template writes its own or none."""

    text: str
    source: Source

    @property
    def sent(self) -> str:
        return "" if self.source == "template" else self.text

    @property
    def source_key(self) -> str:
        """The catalogue key of the words for where it comes from."""
        return f"chat.system_prompt.source.{self.source}"


def effective_system_prompt(
    typed: str | None,
    character: Character | None = None,
    card: AdapterCard | None = None,
    template_default: str = "",
) -> SystemPrompt:
    """The first there is of: typed in chat, the character's, the one the adapter's data had, the template's default."""
    wishes: tuple[tuple[str | None, Source], ...] = (
        (typed, "typed"),
        (character.system_prompt if character else None, "character"),
        (card.system_prompt if card else None, "adapter"),
        (template_default, "template"),
    )
    for text, source in wishes:
        if text and text.strip():
            return SystemPrompt(text, source)
    return SystemPrompt("", "none")


def template_system_prompt(tokenizer: Any) -> str:
    """What the chat template says as system when a conversation brings no system message; "" where nothing."""
    question: Message = {"role": "user", "content": "?"}
    try:
        given = render_text(tokenizer, [{"role": "system", "content": _PROBE}, question], True)
        own = render_text(tokenizer, [question], True)
    except WorkbenchError:  # the template knows no system messages
        return ""
    before, found, after = given.partition(_PROBE)
    if not found or not own.startswith(before) or not own.endswith(after) or len(own) < len(before) + len(after):
        return ""
    return own[len(before) : len(own) - len(after)].strip()
