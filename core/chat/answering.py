"""Answers of several columns to the same prompts, through the chat engine.

Owns how prompts and columns become groups of requests, how many are asked at a time, and how they end early. All
columns answer a prompt in one group, so they share its seed. Template, batch and queue are the engine's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from core.chat.streams import ChatRequest, Reply, Stream
from core.data.conversation import Message
from core.settings import SamplingSettings

Chat = Callable[[Sequence[ChatRequest]], Stream]
Report = Callable[[int, int], None]
"""Told how many answers are there, of how many."""

ROWS_AT_ONCE = 8  # half of what the engine answers together: people who chat find room beside a table of answers
LOOKS_EVERY_S = 0.02


def answer_prompts(
    chat: Chat,
    prompts: Sequence[tuple[Message, ...]],
    columns: Sequence[str | None],
    sampling: SamplingSettings,
    report: Report = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, int, Reply]]:
    """(prompt index, column index, finished answer) in order of arrival.

    A column is "" or None for the base model, else the name of an applied adapter. Once `cancelled` says so, the
    answers in progress end and no more come. A reader that goes away ends them too.

    Raises:
        WorkbenchError: as `Workbench.chat`, and what its streams raise.
    """
    done, total = 0, len(prompts) * len(columns)
    waiting = deque(range(len(prompts)))
    open_groups: dict[Stream, tuple[int, set[int]]] = {}  # the prompt, and the columns that have yet to answer
    try:
        while (waiting or open_groups) and not cancelled():
            while waiting and sum(len(left) for _, left in open_groups.values()) + len(columns) <= max(
                ROWS_AT_ONCE, len(columns)
            ):
                number = waiting.popleft()
                group = chat([ChatRequest(prompts[number], sampling, column or None) for column in columns])
                open_groups[group] = number, set(range(len(columns)))
            for stream, (number, left) in list(open_groups.items()):
                for column, reply in _ended(stream, left):
                    done += 1
                    report(done, total)
                    yield number, column, reply
                if not left:
                    del open_groups[stream]
            time.sleep(LOOKS_EVERY_S)
    finally:
        for stream in open_groups:
            stream.cancel()


def _ended(stream: Stream, left: set[int]) -> Iterator[tuple[int, Reply]]:
    """The answers of a group that have ended since the last look, which are taken out of `left`."""
    replies = stream.replies
    if any(reply.finished == "error" for reply in replies):
        stream.wait()  # raises what went wrong
    for column in sorted(left):
        if replies[column].finished:
            left.remove(column)
            yield column, replies[column]
