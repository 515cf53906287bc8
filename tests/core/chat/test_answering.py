"""Answers of several columns: every prompt to each, together, a few at a time; cancelled or failed, all end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from core.chat import answering
from core.chat.answering import answer_prompts
from core.chat.streams import ChatRequest, Reply, Stream
from core.data.conversation import Message
from core.errors import WorkbenchError, refusal
from core.settings import SamplingSettings

OPEN = Reply("", None, 0, 5, 512, 1)
PROMPTS = [(Message(role="user", content=str(number)),) for number in range(10)]
COLUMNS = ("", "a", "b")
SAMPLING = SamplingSettings(do_sample=False, max_new_tokens=4)


class Chat:
    """Answers each group when the next look at it comes; remembers what was asked and what was open."""

    def __init__(self, ends: bool = True) -> None:
        self.asked: list[Sequence[ChatRequest]] = []
        self.streams: list[Stream] = []
        self.most_open = 0
        self.ends = ends

    def __call__(self, requests: Sequence[ChatRequest]) -> Stream:
        self.asked.append(requests)
        stream = Stream([OPEN] * len(requests))
        self.streams.append(stream)
        unfinished = [each for each in self.streams if not all(reply.finished for reply in each.replies)]
        self.most_open = max(self.most_open, sum(len(each.replies) for each in unfinished))
        if self.ends and len(self.streams) % 2 == 0:
            for each, told in zip(self.streams[-2:], self.asked[-2:], strict=True):
                each.publish(
                    [replace(OPEN, text=f"{r.adapter}/{r.messages[0]['content']}", finished="stop") for r in told]
                )
        return stream


def test_every_column_answers_every_prompt_once_beside_the_others() -> None:
    chat, reported = Chat(), list[tuple[int, int]]()
    found = list(answer_prompts(chat, PROMPTS, COLUMNS, SAMPLING, lambda *told: reported.append(told)))
    assert {(prompt, column): reply.text for prompt, column, reply in found} == {
        (prompt, column): f"{COLUMNS[column] or None}/{prompt}" for prompt in range(10) for column in range(3)
    }
    assert len(found) == 30 and reported == [(done, 30) for done in range(1, 31)]
    assert [[request.adapter for request in group] for group in chat.asked] == [[None, "a", "b"]] * 10
    assert chat.most_open <= answering.ROWS_AT_ONCE


def test_cancelling_ends_what_is_open_and_asks_no_more() -> None:
    chat = Chat(ends=False)
    looked = iter([False, False, True])
    assert list(answer_prompts(chat, PROMPTS, COLUMNS, SAMPLING, cancelled=lambda: next(looked))) == []
    assert len(chat.streams) == 2 and all(stream.is_cancelled for stream in chat.streams)


def test_a_reader_that_goes_away_ends_what_is_open() -> None:
    chat = Chat()
    answers: Any = answer_prompts(chat, PROMPTS[:3], COLUMNS, SAMPLING)
    next(answers)
    answers.close()
    assert chat.streams[0].is_cancelled


def test_what_goes_wrong_in_the_engine_is_raised_and_the_rest_ended() -> None:
    chat = Chat(ends=False)

    def fail() -> bool:
        if chat.streams:
            chat.streams[1].fail(refusal("A20_out_of_memory_in_chat", rows=3, tokens=9))
        return False

    with pytest.raises(WorkbenchError, match="A20"):
        list(answer_prompts(chat, PROMPTS, COLUMNS, SAMPLING, cancelled=fail))
    assert chat.streams[0].is_cancelled


def test_what_went_wrong_with_one_answer_is_not_hidden_by_another_of_its_group() -> None:
    """The answers of a group may be made in several batches: a published end of the others comes after the failure."""
    stream = Stream([OPEN, OPEN])
    stream.fail(refusal("A20_out_of_memory_in_chat", rows=1, tokens=9))
    stream.publish([OPEN, replace(OPEN, finished="cancelled")])
    assert [reply.finished for reply in stream.replies] == ["error", "error"]


def test_more_columns_than_are_asked_at_once_are_still_one_group() -> None:
    chat = Chat()
    columns = [f"c{number}" for number in range(answering.ROWS_AT_ONCE + 2)]
    assert len(list(answer_prompts(chat, PROMPTS[:2], columns, SAMPLING, cancelled=_after(chat)))) == 2 * len(columns)


def _after(chat: Chat) -> Any:
    """Let the open group end at each look."""

    def end() -> bool:
        for stream, requests in zip(chat.streams, chat.asked, strict=True):
            stream.publish([replace(OPEN, finished="stop") for _ in requests])
        return False

    return end
