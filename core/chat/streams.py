"""What is asked of the engine, and the answers on their way from its thread to whoever asked.

Owns the hand-over: the newest state of a group of answers, at most 20 times a second, however slow the reader is. A
reader that goes away cancels its answers; what went wrong in the engine is raised in the reader. It needs no torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from core.data.conversation import Message
from core.settings import SamplingSettings

Finished = Literal["stop", "length", "context", "cancelled", "error"]

MIN_INTERVAL_S = 0.05


@dataclass(frozen=True)
class ChatRequest:
    """One answer that is wanted. `adapter` is the name of an applied adapter, None for the base model.

    With `raw_prompt` that text is continued as it is, without template; `messages` are empty then. `logprobs` is how
    many of the most probable tokens are reported at each place (0: the chosen one's probability alone), None for none.
    """

    messages: tuple[Message, ...]
    sampling: SamplingSettings
    adapter: str | None = None
    reply_start: str = ""
    raw_prompt: str | None = None
    logprobs: int | None = None


@dataclass(frozen=True)
class TokenLogprob:
    """A token of an answer and how probable it was: natural logarithms of the model's own distribution.

    That is the softmax of its logits, before penalties, temperature and filters. `top` are the most probable tokens
    there, the most probable first: (text, bytes, log probability). A token that is no whole character shows as �.
    """

    token: str
    token_bytes: bytes
    logprob: float
    top: tuple[tuple[str, bytes, float], ...] = ()


@dataclass(frozen=True)
class Reply:
    """One answer so far. `text` includes the start that was given for it.

    `dropped_turns` is how many of the oldest turns did not fit `context_tokens`, the most that prompt and answer may
    have together. `tokens_per_s` counts from the first token; `first_token_s` is the wait for it. `remembered_tokens`
    of the prompt were read for an earlier answer and not again. `logprobs` has an entry for each token where asked for.
    """

    text: str
    finished: Finished | None
    tokens: int
    prompt_tokens: int
    context_tokens: int
    seed: int
    tokens_per_s: float = 0.0
    first_token_s: float | None = None
    dropped_turns: int = 0
    remembered_tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


class Stream:
    """The answers of one group, in the order of its requests. Iterate it once; each item is the state of them all."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._changed = threading.Condition()
        self._replies = list(replies)
        self._version = 0
        self._error: BaseException | None = None
        self._is_cancelled = False
        self._place = 0

    def __iter__(self) -> Iterator[list[Reply]]:
        """The state now, then each new one; ends after the last.

        Raises:
            WorkbenchError: A27 or A20 from the engine; any other exception is a bug there.
        """
        seen = -1
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda version=seen: self._version != version)  # type: ignore[misc]
                    replies, seen, error = list(self._replies), self._version, self._error
                shown_at = time.monotonic()
                yield replies
                if error:
                    raise error
                if all(reply.finished for reply in replies):
                    return
                with self._changed:
                    self._changed.wait_for(self._is_over, timeout=shown_at + MIN_INTERVAL_S - time.monotonic())
        finally:
            self.cancel()

    def wait(self) -> list[Reply]:
        """The finished answers.

        Raises:
            WorkbenchError: as iterating does.
        """
        last: list[Reply] = []
        for replies in self:
            last = replies
        return last

    def cancel(self) -> None:
        """End the answers where they are; those that are finished stay as they are."""
        with self._changed:
            self._is_cancelled = True

    @property
    def replies(self) -> list[Reply]:
        """The newest state, without waiting for it."""
        with self._changed:
            return list(self._replies)

    @property
    def is_cancelled(self) -> bool:
        return self._is_cancelled

    @property
    def place(self) -> int:
        """Its place in the queue, 1 for the next in line; 0 once it is being answered."""
        return self._place

    def publish(self, replies: Sequence[Reply], place: int = 0) -> None:
        """The engine's side: this is the state now; after `fail` nothing is any more."""
        with self._changed:
            if self._error is not None:  # of rows of the group that are answered in another batch
                return
            self._replies = list(replies)
            self._place = place
            self._version += 1
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """The engine's side: unfinished answers end with an error, which the reader is given."""
        with self._changed:
            self._replies = [reply if reply.finished else replace(reply, finished="error") for reply in self._replies]
            self._error = error
            self._version += 1
            self._changed.notify_all()

    def _is_over(self) -> bool:
        return self._error is not None or all(reply.finished for reply in self._replies)
