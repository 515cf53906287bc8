"""`/v1/chat/completions` and `/v1/completions`: a request for an answer goes to the engine, its replies come back.

Owns that way and its end: a client that goes away cancels its answers. No thread waits for an answer: the event loop
looks at the stream as often as the page does.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from core.api.asked import Asked, asked_chat, asked_text
from core.api.models import Answering, answering
from core.api.refusals import error_answer, language_of
from core.api.shapes import ChatShape, Envelope, Sent, Shape, TextShape, new_chunks
from core.api.wire import event_stream, json_response, off_loop, read_object
from core.chat.streams import MIN_INTERVAL_S, ChatRequest, Reply, Stream
from core.data.conversation import Message
from core.errors import Place, refusal
from core.workbench import Workbench

SEEDS = 2**32
CLIENT_GONE = 499  # nginx's number; nobody reads it


async def chat(workbench: Workbench, request: Request) -> Response:
    return await _answer(workbench, request, asked_chat(await read_object(request)), ChatShape())


async def complete(workbench: Workbench, request: Request) -> Response:
    return await _answer(workbench, request, asked_text(await read_object(request)), TextShape())


async def _answer(workbench: Workbench, request: Request, asked: Asked, shape: Shape) -> Response:
    who, stream = await off_loop(request, _submitted, workbench, asked)
    envelope = Envelope(shape, asked.model, who.base.fingerprint, asked.n)
    if asked.stream:
        return event_stream(_chunks(request, stream, envelope, asked.include_usage), stream.cancel)
    try:
        async for replies in _states(stream):
            if all(reply.finished for reply in replies):
                return json_response(envelope.whole(replies))
            if await request.is_disconnected():
                break
    finally:
        stream.cancel()
    return Response(status_code=CLIENT_GONE)


def _submitted(workbench: Workbench, asked: Asked) -> tuple[Answering, Stream]:
    """Hand the request to the engine.

    Raises:
        WorkbenchError: what speaks against the model or the prompt; H11 where earlier turns would be left out: what a
            program sends is answered as a whole or not at all.
    """
    who = answering(workbench, asked.model)
    stream = workbench.chat(_requests(workbench, asked, who.adapter))
    first = stream.replies[0]
    if first.dropped_turns:
        stream.cancel()
        values = {"turns": first.dropped_turns, "limit": first.context_tokens}
        raise refusal("H11_conversation_too_long", Place(field="messages"), **values)
    return who, stream


def _requests(workbench: Workbench, asked: Asked, adapter: str | None) -> list[ChatRequest]:
    """A request for each answer: those of one prompt stand together, and the seeds of several answers follow on."""
    sampling = asked.settings(workbench.sampling_defaults())
    seed = secrets.randbelow(SEEDS) if sampling.seed is None else sampling.seed
    each = [sampling.model_copy(update={"seed": (seed + number) % SEEDS}) for number in range(asked.n)]
    if asked.prompts:
        return [
            ChatRequest((), settings, adapter, raw_prompt=prompt, logprobs=asked.logprobs)
            for prompt in asked.prompts
            for settings in each
        ]
    messages = asked.messages
    system_prompt = "" if asked.own_system else workbench.system_prompt(None, None, adapter).sent
    if system_prompt:
        messages = (Message(role="system", content=system_prompt), *messages)
    return [ChatRequest(messages, settings, adapter, logprobs=asked.logprobs) for settings in each]


async def _states(stream: Stream) -> AsyncIterator[list[Reply]]:
    """The newest state again and again, until all answers are finished.

    Raises:
        WorkbenchError: what ended them; any other exception is a bug of the engine.
    """
    while True:
        replies = stream.replies
        if any(reply.finished == "error" for reply in replies):
            stream.wait()  # raises at once
        yield replies
        if all(reply.finished for reply in replies):
            return
        await asyncio.sleep(MIN_INTERVAL_S)


async def _chunks(
    request: Request, stream: Stream, envelope: Envelope, include_usage: bool
) -> AsyncIterator[dict[str, Any]]:
    """What is streamed; a failure under way is the last of it."""
    empty = {"usage": None} if include_usage else {}  # OpenAI's way: null in every chunk but the last
    sent = [Sent() for _ in stream.replies]
    replies: list[Reply] = []
    try:
        for index in range(len(sent)):
            opening = envelope.shape.opening()
            if opening:
                yield envelope.chunk(index, opening) | empty
        async for replies in _states(stream):
            for index, reply in enumerate(replies):
                for chunk in new_chunks(envelope, index, reply, sent[index]):
                    yield chunk | empty
        if include_usage:
            yield envelope.last_chunk(replies)
    except Exception as error:  # noqa: BLE001 - the answer has begun: its status cannot be changed any more
        yield error_answer(error, language_of(request.headers.get("accept-language", ""))).body
    finally:
        stream.cancel()
