"""A model elsewhere that marks answers; nothing leaves the machine unless a person entered an endpoint for it.

Owns what is asked, saying beforehand what would be sent (`outgoing`), and reading the mark. Each answer is marked by
itself, from 1 to 10, beside its question and reference. Not in pairs: with one answer there is no first place to favour
(https://arxiv.org/abs/2306.05685 finds single marks about as true to people as pairs), five columns cost five questions
a row where pairs in both orders cost eight or more, and marks can be compared across evaluations. What stays: a judge
likes long answers and answers like its own, and an answer may hold orders to it. Its marks are opinions.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import regex

from core.cancelling import GivenUpError, run_until
from core.data.conversation import Message
from core.evaluation.judge_endpoint import DeclinedError, Endpoint, Messages, ask, connected
from core.evaluation.spec import JudgeSettings
from core.evaluation.text_units import is_chinese
from core.i18n import Language, text

if TYPE_CHECKING:
    from core.evaluation.rows import ChosenRow

LOWEST, HIGHEST = 1, 10
MAX_REASON_CHARACTERS = 1000
MAX_PROMPT_CHARACTERS = 16_000  # the beginning has the rules, the end the question
LEFT_OUT = "\n\n[…]\n\n"
AT_ONCE = 4
THOUGHT_END = "</think>"
JSON_OBJECT = regex.compile(r"\{[^{}]*\}")
NAMED_MARK = regex.compile(r"(?:score|rating|mark|评分|得分|分数|打分)\W{0,6}(\d+(?:\.\d+)?)", flags=regex.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """One answer to be marked, with the row of the data set that it belongs to; None: it is still to come.

    `question` is all that the answer answers: the rules and turns before the question, too.
    """

    row: int
    question: str
    reference: str
    answer: str | None

    @classmethod
    def of(cls, row: ChosenRow, answer: str | None) -> Item:
        """The answer to a row's prompt, of which at most `MAX_PROMPT_CHARACTERS` are sent."""
        return cls(row.row, _prompt_text(row.prompt, _language(row.reference)), row.reference, answer)


@dataclass(frozen=True)
class Outgoing:
    """What would leave this machine: `requests` to `host`, with `characters` of text in all, a model's name, and a key.

    The characters of `answers_to_come` are not among them yet. `key_variable` names the variable whose value is sent,
    "" where none is. `is_encrypted` is false for http, which everyone on the way can read.
    """

    host: str
    model: str
    rows: tuple[int, ...]
    requests: int
    characters: int
    answers_to_come: int
    key_variable: str
    is_encrypted: bool
    is_this_machine: bool


@dataclass(frozen=True)
class Verdict:
    """A mark from 1 to 10 and its reason in the judge's words; no mark where its reply held none."""

    mark: float | None
    reason: str


def outgoing(settings: JudgeSettings, items: Sequence[Item]) -> Outgoing:
    """Exactly what `judge_answers` would send for these items. Nothing is sent.

    Raises:
        WorkbenchError: H01 where the URL or the name of the key's variable can't be used.
    """
    endpoint = Endpoint.of(settings)
    messages = [message for item in items for message in _messages(item)]
    return Outgoing(
        host=endpoint.host,
        model=endpoint.model,
        rows=tuple(dict.fromkeys(item.row for item in items)),
        requests=len(items),
        characters=sum(len(message["content"]) for message in messages),
        answers_to_come=sum(item.answer is None for item in items),
        key_variable=endpoint.key_variable if endpoint.key else "",
        is_encrypted=endpoint.url.scheme == "https",
        is_this_machine=endpoint.is_this_machine,
    )


def judge_answers(
    settings: JudgeSettings,
    items: Sequence[Item],
    arrived: Callable[[int, Verdict], None],
    cancelled: Callable[[], bool],
) -> None:
    """Have all items marked, a few at a time; `arrived` is told the index of each and its verdict, in any order.

    Returns early, within a second, where `cancelled` says so.

    Raises:
        WorkbenchError: H01 as `outgoing`; A24 as `judge_endpoint.ask`. What arrived before stays valid.
    """
    try:
        run_until(_judge_all(Endpoint.of(settings), items, arrived), cancelled)
    except GivenUpError:
        return


def verdict_in(reply: str) -> Verdict:
    """The mark in what a judge wrote: the last JSON object with a `score`, else a number after a word for it."""
    answer = reply.rpartition(THOUGHT_END)[2].strip()
    for found in reversed(JSON_OBJECT.findall(answer)):
        try:
            values = json.loads(found, strict=False)
            mark = float(values["score"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        return _verdict(mark, str(values.get("reason", "")))
    named = NAMED_MARK.findall(answer)
    return _verdict(float(named[-1]) if named else None, answer)


def _verdict(mark: float | None, reason: str) -> Verdict:
    is_mark = mark is not None and LOWEST <= mark <= HIGHEST
    return Verdict(mark if is_mark else None, reason.strip()[:MAX_REASON_CHARACTERS])


def _messages(item: Item) -> Messages:
    """What the judge is told and asked, in the language of the reference."""
    lang = _language(item.reference)
    parts = {"question": item.question, "reference": item.reference, "answer": item.answer or ""}
    return [
        {"role": "system", "content": text("judge.system", lang)},
        {"role": "user", "content": text("judge.user", lang, **parts)},
    ]


def _language(reference: str) -> Language:
    return "zh" if is_chinese(reference) else "en"


def _prompt_text(prompt: Sequence[Message], lang: Language) -> str:
    """A question as it is; with more before it every turn under its role. What is too long loses its middle."""
    roles = [text(f"data.roles.{said['role']}", lang) for said in prompt]
    turns = [f"[{role}]\n{said['content']}" for role, said in zip(roles, prompt, strict=True)]
    whole = prompt[0]["content"] if len(prompt) == 1 else "\n\n".join(turns)
    if len(whole) <= MAX_PROMPT_CHARACTERS:
        return whole
    half = (MAX_PROMPT_CHARACTERS - len(LEFT_OUT)) // 2
    return whole[:half] + LEFT_OUT + whole[-half:]


async def _judge_all(endpoint: Endpoint, items: Sequence[Item], arrived: Callable[[int, Verdict], None]) -> None:
    waiting = iter(enumerate(items))
    async with connected(endpoint) as client:

        async def work() -> None:
            for index, item in waiting:
                try:
                    verdict = verdict_in(await ask(client, endpoint, _messages(item)))
                except DeclinedError as error:
                    verdict = Verdict(None, str(error))
                arrived(index, verdict)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(items))):
                    group.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
