"""What the Chat tab keeps on the server, for all browsers: the answers in progress, by conversation, and comparisons.

Owns who may begin an answer, how it is stopped, how its end is waited for; no answer itself: a stream comes from
`Workbench.chat`, what it brings is kept by `chat_flow`. Holds secret orders, answers of saved steps and the prompt set,
which belong to `core.chat`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from core.chat.blind import BlindComparisons
from core.chat.prompt_sets import PromptSets
from core.chat.step_answers import StepAnswers
from core.errors import refusal

if TYPE_CHECKING:
    from core.chat.streams import Stream


class Desk:
    """The answers in progress, at most one group for each conversation. One for the whole page, for all browsers."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream | None] = {}
        self._stopped: set[str] = set()  # conversations whose answer is to be ended as soon as there is one
        self._changed = threading.Condition()
        self.blind = BlindComparisons()
        self.steps = StepAnswers()
        self.prompt_set = PromptSets()

    def __deepcopy__(self, memo: object) -> Desk:
        return self  # gradio copies the value of a State for every session; this one is shared on purpose

    @contextmanager
    def claimed(self, conversation_id: str) -> Iterator[None]:
        """Be the only one who changes a conversation.

        Raises:
            WorkbenchError: A01 where it is being answered already.
        """
        with self._changed:
            if conversation_id in self._streams:
                raise refusal("A01_conversation_busy")
            self._streams[conversation_id] = None
        try:
            yield
        finally:
            with self._changed:
                del self._streams[conversation_id]
                self._stopped.discard(conversation_id)
                self._changed.notify_all()

    def attach(self, conversation_id: str, stream: Stream) -> None:
        """The answer that a claim was made for; it is cancelled at once where that was asked for meanwhile."""
        with self._changed:
            self._streams[conversation_id] = stream
            if conversation_id in self._stopped:
                stream.cancel()

    def stop(self, conversation_id: str) -> None:
        """End the answer in progress where it is; without one this does nothing."""
        with self._changed:
            stream = self._streams.get(conversation_id)
            if stream:
                stream.cancel()
            elif conversation_id in self._streams:
                self._stopped.add(conversation_id)

    def busy(self, conversation_id: str | None) -> bool:
        return conversation_id in self._streams

    def wait(self, conversation_id: str, timeout_s: float) -> bool:
        """Wait until nothing is in progress for a conversation; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: conversation_id not in self._streams, timeout_s)
