"""A list of prompts answered by several columns: a job of the server's, whose table grows and outlives the page.

Owns the table, how far it is, its end, and its files. How prompts become batches is `core.chat.answering`'s. One
set at a time; the last one stays until the next begins or the server ends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.chat.answering import answer_prompts
from core.chat.streams import ChatRequest, Stream
from core.data.conversation import Message
from core.errors import Place, WorkbenchError, refusal
from core.jobs import Job, Watch, asks
from core.settings import SamplingSettings
from core.tables import csv_text, jsonl_text

MAX_PROMPTS = 2000
MAX_PROMPT_CHARACTERS = 100_000
log = logging.getLogger("workbench.chat")


@dataclass(frozen=True)
class Prompt:
    """What is asked in one row: messages that end with the person's, and the answer the data has, if any."""

    messages: tuple[Message, ...]
    reference: str | None = None

    @property
    def question(self) -> str:
        """What the person says last."""
        return self.messages[-1]["content"]


Rows = Sequence[tuple[Prompt, tuple[str | None, ...]]]
"""Prompts, each with its answers by column; None for one that is not there (yet)."""


@dataclass(frozen=True)
class PromptSet:
    """What is asked of whom. `columns` are names as they are shown, `adapters` the engine's (None = base), in step.

    `system_prompts` are the columns' own, in step with them; () where the prompts bring theirs. `seen` says on how many
    of the prompts a column was trained.
    """

    prompts: tuple[Prompt, ...]
    columns: tuple[str, ...]
    adapters: tuple[str | None, ...]
    sampling: SamplingSettings
    system_prompts: tuple[str, ...] = ()
    seen: Mapping[str, int] = field(default_factory=dict)

    def sent(self, messages: tuple[Message, ...], column: int) -> tuple[Message, ...]:
        """The messages of a prompt as a column is asked them."""
        own = self.system_prompts[column] if self.system_prompts else ""
        return ({"role": "system", "content": own}, *messages) if own.strip() else messages


@dataclass(frozen=True)
class SetStatus:
    """How far a set is, in answers. `eta_s` is None where nothing can be said; `error` is what it died of."""

    asked: PromptSet
    done: int
    total: int
    running: bool
    cancelled: bool
    elapsed_s: float
    error: Exception | None = None

    @property
    def eta_s(self) -> float | None:
        return self.elapsed_s / self.done * (self.total - self.done) if self.running and self.done else None


class PromptSets:
    """The set in progress, or the last one. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: PromptSet | None = None
        self._job: Job[int, None] | None = None
        self._answers: dict[tuple[int, int], str] = {}

    def start(self, asked: PromptSet, chat: Callable[[Sequence[ChatRequest]], Stream]) -> None:
        """Begin a set; what was answered before goes.

        Raises:
            WorkbenchError: A01 where a set is in progress.
        """
        with self._lock:
            if self._job and self._job.running:
                raise refusal("A01_prompt_set_going_on")
            answers = self._answers = {}
            self._asked = asked
            self._job = Job("prompt-set", lambda watch: self._answer(asked, chat, answers, watch))

    def cancel(self) -> None:
        """End it where it is; what is answered stays. Without one this does nothing."""
        if self._job:
            self._job.cancel()

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end, at most so long; whether it has come."""
        return self._job is None or self._job.wait(timeout_s)

    def status(self) -> SetStatus | None:
        with self._lock:
            asked, job, done = self._asked, self._job, len(self._answers)
        if asked is None or job is None:
            return None
        total = len(asked.prompts) * len(asked.columns)
        error = None if job.running else _error_of(job)
        return SetStatus(asked, done, total, job.running, job.cancelled and done < total, job.elapsed_s, error)

    def rows(self, start: int = 0, count: int | None = None) -> Rows:
        """The table from `start` on, or `count` of its rows."""
        with self._lock:
            asked, answers = self._asked, dict(self._answers)
        if asked is None:
            return []
        end = len(asked.prompts) if count is None else start + count
        columns = range(len(asked.columns))
        return [
            (prompt, tuple(answers.get((number, column)) for column in columns))
            for number, prompt in enumerate(asked.prompts[start:end], start)
        ]

    def _answer(
        self,
        asked: PromptSet,
        chat: Callable[[Sequence[ChatRequest]], Stream],
        answers: dict[tuple[int, int], str],
        watch: Watch[int],
    ) -> None:
        prompts, cancelled = [prompt.messages for prompt in asked.prompts], asks(watch, lambda: len(answers))

        def ask(group: Sequence[ChatRequest]) -> Stream:  # one prompt, a request for each column
            return chat([replace(each, messages=asked.sent(each.messages, at)) for at, each in enumerate(group)])

        try:
            replies = answer_prompts(ask, prompts, asked.adapters, asked.sampling, cancelled=cancelled)
            for prompt, column, reply in replies:
                with self._lock:
                    answers[prompt, column] = reply.text
        except WorkbenchError:
            raise
        except Exception:
            log.exception("a prompt set ended with an error")
            raise


def own_prompts(typed: str) -> tuple[Prompt, ...]:
    """The prompts of a list that a person wrote, one a line; empty lines are passed over.

    Raises:
        WorkbenchError: H11 where there is none, there are too many, or one is too long.
    """
    lines = [line.strip() for line in typed.splitlines()]
    prompts = [line for line in lines if line]
    if not prompts:
        raise refusal("H11_no_prompts", Place(field="prompts"))
    if len(prompts) > MAX_PROMPTS:
        raise refusal("H11_too_many_prompts", Place(field="prompts"), count=len(prompts), limit=MAX_PROMPTS)
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_PROMPT_CHARACTERS:
            limit = f"{MAX_PROMPT_CHARACTERS:,}"
            raise refusal("H11_message_too_long", Place(line=number), count=f"{len(line):,}", limit=limit)
    return tuple(Prompt(({"role": "user", "content": line},)) for line in prompts)


def set_csv(asked: PromptSet, rows: Rows) -> str:
    """The table as CSV: number, prompt, the data's answer where there is one, then a column each."""
    header = ["number", "prompt", "reference", *asked.columns]
    numbered = enumerate(rows, 1)
    return csv_text(header, ([at, asks.question, asks.reference, *answers] for at, (asks, answers) in numbered))


def set_jsonl(asked: PromptSet, rows: Rows) -> str:
    """The table as JSON lines, with what was said before the answers and which system prompt each column had."""
    columns = list(enumerate(asked.columns))
    return jsonl_text(
        {
            "messages": list(prompt.messages),
            "system_prompts": {name: _system_prompt(asked.sent(prompt.messages, at)) for at, name in columns},
            "reference": prompt.reference,
            "answers": dict(zip(asked.columns, answers, strict=True)),
        }
        for prompt, answers in rows
    )


def _system_prompt(messages: tuple[Message, ...]) -> str:
    first = messages[0]
    return first["content"] if first["role"] == "system" else ""


def _error_of(job: Job[int, None]) -> Exception | None:
    """What a job that has ended died of."""
    try:
        job.result()
    except Exception as error:  # noqa: BLE001 - whoever asks for the status gets it
        return error
    return None
