"""Replies of the engine as OpenAI writes answers: whole ones and chunks, of chat and of plain text.

Owns these shapes alone. Pure: replies in, JSON values out.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.chat.streams import Finished, Reply, TokenLogprob

LOWEST_LOGPROB = -9999.0  # how OpenAI writes what is next to impossible; JSON has no infinity
_FINISH: dict[Finished, str] = {"stop": "stop", "length": "length", "context": "length"}


class Shape(Protocol):
    """What differs between the two kinds of answers."""

    prefix: str
    whole_object: str
    chunk_object: str

    def whole(self, reply: Reply) -> dict[str, Any]:
        """A finished answer, without its index and the reason of its end."""

    def opening(self) -> dict[str, Any] | None:
        """What is streamed before the first words, if anything."""

    def part(self, words: str, tokens: Sequence[TokenLogprob] | None, offset: int) -> dict[str, Any]:
        """New words of an answer with their tokens; `offset` is how many characters came before."""


class ChatShape:
    """`chat.completion` and its chunks."""

    prefix = "chatcmpl"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def whole(self, reply: Reply) -> dict[str, Any]:
        message = {"role": "assistant", "content": reply.text, "refusal": None}
        return {"message": message, "logprobs": _chat_logprobs(reply.logprobs or None)}

    def opening(self) -> dict[str, Any] | None:
        return {"delta": {"role": "assistant", "content": ""}, "logprobs": None}

    def part(self, words: str, tokens: Sequence[TokenLogprob] | None, offset: int) -> dict[str, Any]:
        return {"delta": {"content": words} if words else {}, "logprobs": _chat_logprobs(tokens)}


class TextShape:
    """`text_completion`, whose chunks look like the whole."""

    prefix = "cmpl"
    whole_object = chunk_object = "text_completion"

    def whole(self, reply: Reply) -> dict[str, Any]:
        return {"text": reply.text, "logprobs": _text_logprobs(reply.logprobs or None, 0)}

    def opening(self) -> dict[str, Any] | None:
        return None

    def part(self, words: str, tokens: Sequence[TokenLogprob] | None, offset: int) -> dict[str, Any]:
        return {"text": words, "logprobs": _text_logprobs(tokens, offset)}


@dataclass(frozen=True)
class Envelope:
    """What surrounds every answer to one request. `answers_each` is how many are made of each prompt."""

    shape: Shape
    model: str
    fingerprint: str
    answers_each: int
    identity: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """All answers, finished."""
        choices = [
            {"index": index, **self.shape.whole(reply), "finish_reason": _finish(reply)}
            for index, reply in enumerate(replies)
        ]
        return {**self._head(self.shape.whole_object), "choices": choices, "usage": self.usage(replies)}

    def chunk(self, index: int, content: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": index, **content, "finish_reason": finish_reason}
        return {**self._head(self.shape.chunk_object), "choices": [choice]}

    def last_chunk(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """The chunk that only says how much there was."""
        return {**self._head(self.shape.chunk_object), "choices": [], "usage": self.usage(replies)}

    def usage(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """Tokens; a prompt counts once, however many answers it gets."""
        prompt = sum(reply.prompt_tokens for reply in replies[:: self.answers_each])
        made = sum(reply.tokens for reply in replies)
        remembered = {"cached_tokens": sum(reply.remembered_tokens for reply in replies[:: self.answers_each])}
        return {
            "prompt_tokens": prompt,
            "completion_tokens": made,
            "total_tokens": prompt + made,
            "prompt_tokens_details": remembered,
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"{self.shape.prefix}-{self.identity}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


@dataclass
class Sent:
    """How much of one answer has been streamed."""

    characters: int = 0
    tokens: int = 0
    is_over: bool = False


def new_chunks(envelope: Envelope, index: int, reply: Reply, sent: Sent) -> list[dict[str, Any]]:
    """What is new in a reply since the last look, and the reason of its end once it has come; `sent` is kept up."""
    if sent.is_over:
        return []
    words, tokens = reply.text[sent.characters :], reply.logprobs[sent.tokens :]
    chunks = []
    if words or tokens:
        part = envelope.shape.part(words, tokens or None, sent.characters)
        chunks.append(envelope.chunk(index, part))
        sent.characters, sent.tokens = len(reply.text), len(reply.logprobs)
    if reply.finished:
        sent.is_over = True
        chunks.append(envelope.chunk(index, envelope.shape.part("", None, 0), _finish(reply)))
    return chunks


def _finish(reply: Reply) -> str:
    assert reply.finished, "an answer that is not over has no reason of its end"
    return _FINISH.get(reply.finished, "stop")


def _chat_logprobs(tokens: Sequence[TokenLogprob] | None) -> dict[str, Any] | None:
    if tokens is None:
        return None
    content = [
        {
            **_token(each.token, each.token_bytes, each.logprob),
            "top_logprobs": [_token(*candidate) for candidate in _top(each)],
        }
        for each in tokens
    ]
    return {"content": content, "refusal": None}


def _top(token: TokenLogprob) -> list[tuple[str, bytes, float]]:
    return [(words, content, logprob) for words, content, logprob in token.top]


def _token(words: str, content: bytes, logprob: float) -> dict[str, Any]:
    return {"token": words, "logprob": max(logprob, LOWEST_LOGPROB), "bytes": list(content)}


def _text_logprobs(tokens: Sequence[TokenLogprob] | None, offset: int) -> dict[str, Any] | None:
    if tokens is None:
        return None
    places = [offset]
    for each in tokens[:-1]:
        places.append(places[-1] + len(each.token))
    return {
        "tokens": [each.token for each in tokens],
        "token_logprobs": [max(each.logprob, LOWEST_LOGPROB) for each in tokens],
        "top_logprobs": [{words: max(value, LOWEST_LOGPROB) for words, _, value in each.top} for each in tokens],
        "text_offset": places,
    }
