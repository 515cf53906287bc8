"""Streams and lists as they go over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request

from core.api.wire import event_stream, page_of, read_object, unix_time
from core.errors import WorkbenchError

ITEMS = [{"id": f"i{number}"} for number in range(5)]


def sent(values: AsyncIterator[dict[str, Any]], is_gone: bool, ended: list[bool]) -> bytes:
    """The body of an event stream, for a client that stays or is gone from the start."""
    body = b""

    async def receive() -> dict[str, str]:
        if not is_gone:
            await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal body
        await asyncio.sleep(0)
        body += message.get("body", b"")

    response = event_stream(values, lambda: ended.append(True))
    asyncio.run(response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send))  # type: ignore[arg-type]
    return body


async def two() -> AsyncIterator[dict[str, Any]]:
    yield {"text": "你好"}
    yield {"text": "\ud800"}


def test_values_are_streamed_in_utf8_and_ended() -> None:
    ended: list[bool] = []
    assert sent(two(), False, ended).decode() == 'data: {"text": "你好"}\n\ndata: {"text": "?"}\n\ndata: [DONE]\n\n'
    assert ended == [True]


def test_a_client_that_is_gone_before_the_first_word_ends_the_work_as_well() -> None:
    ended: list[bool] = []
    assert sent(two(), True, ended) == b""
    assert ended == [True]


def test_half_characters_never_get_further_than_the_wire() -> None:
    body = b'{"a\\ud800": ["\\udfff", {"b": "\\ud83d\\ude00"}]}'

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "headers": [(b"content-type", b"application/json; charset=utf-8")]}
    assert asyncio.run(read_object(Request(scope, receive))) == {"a?": ["?", {"b": "😀"}]}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "shown", "more"),
    [
        ({}, "i0 i1 i2", True),
        ({"limit": "2", "after": "i1"}, "i2 i3", True),
        ({"limit": "2", "after": "i2"}, "i3 i4", False),
        ({"after": "i4"}, "", False),
    ],
)
def test_a_list_comes_page_by_page(query: dict[str, str], shown: str, more: bool) -> None:
    page = page_of(ITEMS, query, 3, 10)
    assert (" ".join(item["id"] for item in page["data"]), page["has_more"]) == (shown, more)


@pytest.mark.parametrize(
    "limit", ["0", "11", "-1", "1.5", "x", "", "٣", "9" * 5000, "1".zfill(9) + "9" * 5000, "155".zfill(11)]
)
def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    with pytest.raises(WorkbenchError):
        page_of(ITEMS, {"limit": limit}, 3, 10)


def test_a_moment_becomes_seconds() -> None:
    assert unix_time("1970-01-01T00:01:00+00:00") == 60
    assert unix_time("") == 0
