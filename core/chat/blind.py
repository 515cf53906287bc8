"""Comparisons whose names are hidden until there is a vote: who was asked, in an order that nobody is told.

Owns the secret orders, in memory, at most one for each conversation: that of its last message. A restarted server has
forgotten them, and then the names are shown.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

ThingT = TypeVar("ThingT")
_CHANCE = random.SystemRandom()


@dataclass(frozen=True)
class Hidden:
    """Who answered a conversation's last message, in the order of the panes.

    `asked` is what was chosen in the selector, `columns` are the conversation's columns for them.
    """

    asked: tuple[str, ...]
    columns: tuple[str, ...]


class BlindComparisons:
    """The secret orders of all conversations. Safe to use from several threads."""

    def __init__(self) -> None:
        self._hidden: dict[str, Hidden] = {}
        self._lock = threading.Lock()

    def hide(self, conversation_id: str, hidden: Hidden) -> None:
        with self._lock:
            self._hidden[conversation_id] = hidden

    def get(self, conversation_id: str) -> Hidden | None:
        """What is hidden of a conversation; None where its names are shown."""
        with self._lock:
            return self._hidden.get(conversation_id)

    def reveal(self, conversation_id: str) -> Hidden | None:
        """Hide nothing any more; gives what was hidden, if anything was."""
        with self._lock:
            return self._hidden.pop(conversation_id, None)


def shuffled(things: Sequence[ThingT]) -> tuple[ThingT, ...]:
    """In an order that no seed reproduces."""
    return tuple(_CHANCE.sample(things, len(things)))
