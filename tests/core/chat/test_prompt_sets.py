"""A prompt set: a job of its own, whose table grows, ends, is cancelled, and is taken away as a file."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from core.chat.prompt_sets import MAX_PROMPTS, Prompt, PromptSet, PromptSets, own_prompts, set_csv, set_jsonl
from core.chat.streams import ChatRequest, Reply
from core.errors import WorkbenchError
from core.settings import SamplingSettings

WAIT_S = 20.0


class Answering:
    """Stands for `answer_prompts`: one answer at a time, each let through by `go`; or an error where there is one."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.error: Exception | None = None
        self.sent: list[list[str]] = []

    def __call__(self, chat: Any, prompts: Any, columns: Any, sampling: Any, cancelled: Any) -> Iterator[Any]:
        for number, messages in enumerate(prompts):
            group = chat([ChatRequest(messages, sampling, adapter) for adapter in columns])
            self.sent += [[said["content"] for said in request.messages] for request in group]
            for column, adapter in enumerate(columns):
                assert self.go.acquire(timeout=WAIT_S)
                if cancelled():
                    return
                if self.error:
                    raise self.error
                words = f"{adapter or 'base'}: {messages[-1]['content']}"
                yield number, column, Reply(words, "stop", 1, 1, 10, 0)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Answering:
    scripted = Answering()
    monkeypatch.setattr("core.chat.prompt_sets.answer_prompts", scripted)
    return scripted


def asked(*questions: str, system_prompts: tuple[str, ...] = ()) -> PromptSet:
    prompts = tuple(Prompt(({"role": "user", "content": each},), reference=f"={each}") for each in questions)
    return PromptSet(prompts, ("base", "poet"), (None, "poet"), SamplingSettings(), system_prompts)


def begun(answering: Answering, *questions: str, answers: int, system_prompts: tuple[str, ...] = ()) -> PromptSets:
    sets = PromptSets()
    assert sets.status() is None and sets.rows() == []
    sets.start(asked(*questions, system_prompts=system_prompts), lambda requests: requests)  # type: ignore[arg-type,return-value]
    for _ in range(answers):
        answering.go.release()
    return sets


def test_a_set_is_answered_by_all_columns_and_its_table_stays(answering: Answering) -> None:
    sets = begun(answering, "q1", "q2", answers=4)
    assert sets.wait(WAIT_S)
    status = sets.status()
    assert status and (status.done, status.total, status.running, status.cancelled, status.error) == (
        4,
        4,
        False,
        False,
        None,
    )
    assert [answers for _, answers in sets.rows()] == [("base: q1", "poet: q1"), ("base: q2", "poet: q2")]
    assert [answers for _, answers in sets.rows(1, 1)] == [("base: q2", "poet: q2")]
    (first, _) = csv.DictReader(io.StringIO(set_csv(status.asked, sets.rows()).removeprefix("\ufeff")))
    assert first == {"number": "1", "prompt": "q1", "reference": "'=q1", "base": "base: q1", "poet": "poet: q1"}
    line = json.loads(set_jsonl(status.asked, sets.rows()).splitlines()[1])
    assert (line["reference"], line["answers"]["poet"]) == ("=q2", "poet: q2")


def test_each_column_is_asked_with_its_own_system_prompt(answering: Answering) -> None:
    sets = begun(answering, "q1", answers=2, system_prompts=("", "Rhyme."))
    assert sets.wait(WAIT_S)
    status = sets.status()
    assert status and status.error is None
    assert answering.sent == [["q1"], ["Rhyme.", "q1"]]
    (line,) = map(json.loads, set_jsonl(status.asked, sets.rows()).splitlines())
    assert line["system_prompts"] == {"base": "", "poet": "Rhyme."}
    assert line["messages"] == [{"role": "user", "content": "q1"}]


def test_a_prompt_that_brings_its_system_prompt_is_asked_with_it_of_all(answering: Answering) -> None:
    row = Prompt(({"role": "system", "content": "Grade."}, {"role": "user", "content": "q1"}), "A")
    sets = PromptSets()
    everyone = replace(asked(), prompts=(row,))
    sets.start(everyone, lambda requests: requests)  # type: ignore[arg-type,return-value]
    answering.go.release(2)
    assert sets.wait(WAIT_S)
    assert answering.sent == [["Grade.", "q1"]] * 2
    line = json.loads(set_jsonl(everyone, sets.rows()))
    assert line["system_prompts"] == {"base": "Grade.", "poet": "Grade."}


def test_one_at_a_time_and_what_is_cancelled_keeps_its_answers(answering: Answering) -> None:
    sets = begun(answering, "q1", "q2", answers=1)
    with pytest.raises(WorkbenchError) as refused:
        sets.start(asked("q3"), lambda requests: None)  # type: ignore[arg-type,return-value]
    assert refused.value.key == "A01_prompt_set_going_on"
    sets.cancel()
    answering.go.release()
    assert sets.wait(WAIT_S)
    status = sets.status()
    assert status and (status.done <= 1, status.cancelled, status.eta_s) == (True, True, None)
    assert sets.rows()[1][1] == (None, None)


def test_what_it_died_of_is_told(answering: Answering) -> None:
    answering.error = ValueError("a bug")
    sets = begun(answering, "q1", answers=1)
    assert sets.wait(WAIT_S)
    status = sets.status()
    assert status and status.error is answering.error and not status.cancelled


def test_a_list_is_one_prompt_a_line() -> None:
    prompts = own_prompts(" one \n\n二\r\n")
    assert [prompt.question for prompt in prompts] == ["one", "二"]
    assert prompts[0].messages == ({"role": "user", "content": "one"},)


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        (" \n ", "H11_no_prompts"),
        ("q\n" * (MAX_PROMPTS + 1), "H11_too_many_prompts"),
        ("x" * 100_001, "H11_message_too_long"),
    ],
)
def test_a_list_that_cannot_be_asked_is_refused(typed: str, key: str) -> None:
    with pytest.raises(WorkbenchError) as refused:
        own_prompts(typed)
    assert refused.value.key == key
