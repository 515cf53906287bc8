"""Making a conversation fit the model's context.

Owns the policy: the system prompt and the last question always stay; of the rest, the oldest turns are left out until
the answer has room, and the reply says how many. A question that leaves no room by itself is refused with its numbers.
Rendering is `core.data.rendering`'s.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from core.data.conversation import Message, whole_text
from core.data.rendering import render_prompt
from core.errors import Place, refusal

MAX_CHARACTERS = 2_000_000
UNLIMITED_CONTEXT_TOKENS = 32_768  # kept to where a model names no limit


@dataclass(frozen=True)
class FittedPrompt:
    """A prompt's ids and how many of the oldest turns were left out of it."""

    input_ids: list[int]
    dropped_turns: int


def fit_prompt(
    tokenizer: Any, messages: Sequence[Message], reply_start: str, limit: int, max_new_tokens: int
) -> FittedPrompt:
    """The ids of a conversation that leave room for an answer: `max_new_tokens`, or a quarter of a small context.

    Raises:
        WorkbenchError: H11 where the last message says nothing, or is too long; D28 where the template refuses.
    """
    said = [cast(Message, {**message, "content": whole_text(message["content"])}) for message in messages]
    _refuse_useless(said)
    system = [message for message in said[:1] if message["role"] == "system"]
    body = said[len(system) :]
    starts = [0, *(i for i, message in enumerate(body) if i > 0 and message["role"] == "user")]

    def render(dropped: int) -> list[int]:
        return render_prompt(tokenizer, [*system, *body[starts[dropped] :]], reply_start)

    room = limit - min(max_new_tokens, limit // 4)
    start, ids = 0, render(0)
    if len(ids) > room:
        start = bisect_left(range(len(starts)), True, hi=len(starts) - 1, key=lambda n: len(render(n)) <= room)
        ids = render(start)
    if len(ids) >= limit:
        raise refusal("H11_prompt_too_long", Place(field="prompt"), tokens=len(ids), limit=limit)
    return FittedPrompt(ids, sum(message["role"] == "user" for message in body[: starts[start]]))


def fit_text(tokenizer: Any, text: str, limit: int) -> FittedPrompt:
    """The ids of a text that is continued as it is: special tokens in it count, as in every tool that takes such texts.

    Raises:
        WorkbenchError: H11 where it is empty or leaves no room for an answer.
    """
    _refuse_useless([Message(role="user", content=text)])
    ids = [int(token_id) for token_id in tokenizer(whole_text(text))["input_ids"]]
    if not ids:
        raise refusal("H11_prompt_empty", Place(field="prompt"))
    if len(ids) >= limit:
        raise refusal("H11_prompt_too_long", Place(field="prompt"), tokens=len(ids), limit=limit)
    return FittedPrompt(ids, 0)


def _refuse_useless(messages: Sequence[Message]) -> None:
    if not messages or messages[-1]["role"] == "system" or not messages[-1]["content"].strip():
        raise refusal("H11_prompt_empty", Place(field="prompt"))
    characters = sum(len(message["content"]) for message in messages)
    if characters > MAX_CHARACTERS:
        raise refusal("H11_prompt_too_large", Place(field="prompt"), characters=characters, limit=MAX_CHARACTERS)
