"""Answers to one message at the saved steps of a run: which were made before, and which one is wanted last.

Owns the memory of finished answers, by which going back to a step is instant, and the wishes of people who move along
the steps: a newer wish for the same conversation ends the older one. Who answers how is the page's question.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from core.chat.streams import Reply

REMEMBERED = 500
WHOLE = ("stop", "length", "context")  # how an answer ends that nobody broke off


class StepAnswers:
    """The last answers and the wishes in progress. Safe to use from several threads."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, Reply] = OrderedDict()
        self._wishes: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> Reply | None:
        """An answer that was made before."""
        with self._lock:
            return self._answers.get(key)

    def keep(self, key: str, reply: Reply) -> None:
        """Remember an answer that is whole; the oldest is forgotten where there are too many."""
        if reply.finished not in WHOLE:
            return
        with self._lock:
            self._answers[key] = reply
            while len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)

    @contextmanager
    def wish(self, conversation_id: str) -> Iterator[threading.Event]:
        """Want an answer at one step; the event is set as soon as another is wanted for this conversation."""
        superseded = threading.Event()
        with self._lock:
            older = self._wishes.get(conversation_id)
            self._wishes[conversation_id] = superseded
        if older:
            older.set()
        try:
            yield superseded
        finally:
            with self._lock:
                if self._wishes.get(conversation_id) is superseded:
                    del self._wishes[conversation_id]


def answer_key(*asked: object) -> str:
    """What identifies an answer, of all that it depends on."""
    return hashlib.sha256(repr(asked).encode("utf-8", "replace")).hexdigest()
