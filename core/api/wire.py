"""What goes over the wire: JSON bodies in, JSON and event streams out, and work that must not hold up the event loop.

Owns the limits of a body and its plain checks; what its values mean is asked by the routes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import anyio.to_thread
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from core.data.conversation import whole_text
from core.digits import whole_number_in
from core.errors import Place, excerpt, refusal

MAX_JSON_BYTES = 2 * 2**20
MAX_DRAINED_BYTES = 64 * 2**20  # of a body that is too large, so that its sender gets to read the refusal
MAX_DEPTH = 64
THREADS = "workbench.threads"  # in a request's scope: the limiter of `off_loop`

P = ParamSpec("P")
T = TypeVar("T")


async def off_loop(request: Request, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do what may take a while on a thread; so many at once that the page keeps its own threads."""
    return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=request.scope[THREADS])


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        WorkbenchError: A26 where it is no JSON, no object, too large or nested without end.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise refusal("A26_not_json_type", Place(excerpt=excerpt(kind)))
    content = b"".join([chunk async for chunk in limited(request, MAX_JSON_BYTES)])
    try:
        value = json.loads(content, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise refusal("A26_too_deep", limit=MAX_DEPTH) from error
    except ValueError as error:  # UnicodeDecodeError and numbers of thousands of digits among them
        raise refusal("A26_not_json", Place(excerpt=excerpt(error))) from error
    if not isinstance(value, dict):
        raise refusal("A26_not_an_object", Place(excerpt=excerpt(repr(value))))
    if _is_deeper(value, MAX_DEPTH):
        raise refusal("A26_too_deep", limit=MAX_DEPTH)
    return {whole_text(name): _whole(each) for name, each in value.items()}


async def limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body in pieces.

    Raises:
        WorkbenchError: A26 where it is larger; what else comes is read and dropped, up to a point, before that is said.
    """
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received <= limit:
            yield chunk
        elif received > limit + MAX_DRAINED_BYTES:
            break
    if received > limit:
        raise refusal("A26_body_too_large", megabytes=limit // 2**20)


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(_encoded(value), status, headers, media_type="application/json")


def event_stream(values: AsyncIterator[dict[str, Any]], after: Callable[[], None]) -> Response:
    """Values as server-sent events, ended by OpenAI's `[DONE]`.

    `after` is called in the end, also where the client was gone before the first of them was asked for.
    """

    async def lines() -> AsyncIterator[bytes]:
        async for value in values:
            yield b"data: " + _encoded(value) + b"\n\n"
        yield b"data: [DONE]\n\n"

    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # no proxy collects what is to be read at once
    return StreamingResponse(lines(), 200, headers, "text/event-stream", BackgroundTask(after))


def read_query(request: Request, *names: str) -> dict[str, str]:
    """The parameters of the address.

    Raises:
        WorkbenchError: H01 for one of another name.
    """
    query = dict(request.query_params)
    for name in query:
        if name not in names:
            known = ", ".join(names) or "–"
            raise refusal("H01_not_a_parameter", Place(field=excerpt(name)), field=excerpt(name), known=known)
    return query


def page_of(items: Sequence[dict[str, Any]], query: Mapping[str, str], usual: int, most: int) -> dict[str, Any]:
    """A part of a list as OpenAI pages it: `limit` items after the one whose id is `after`.

    Raises:
        WorkbenchError: H01 for a limit that is none, A30 where the list has no such id.
    """
    limit, after = query.get("limit", str(usual)), query.get("after")
    size = whole_number_in(limit) or 0
    if not 1 <= size <= most:
        raise refusal("H01_page_limit", Place(field="limit", excerpt=excerpt(limit)), most=most)
    start = 0
    if after is not None:
        places = [number for number, item in enumerate(items, start=1) if item["id"] == after]
        if not places:
            raise refusal("A30_no_such_item", Place(field="after", excerpt=excerpt(after)))
        start = places[0]
    shown = list(items[start : start + size])
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
    return {"object": "list", "data": shown, **ends, "has_more": start + len(shown) < len(items)}


def unix_time(moment: str) -> int:
    """Seconds since 1970 of an ISO 8601 moment; 0 where there is none."""
    try:
        return int(datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return 0


def changed_at(path: Path | None) -> int:
    """When a file or folder was changed last, in seconds since 1970; 0 where there is none."""
    try:
        return int(path.stat().st_mtime) if path else 0
    except OSError:
        return 0


def _encoded(value: object) -> bytes:
    """JSON in UTF-8; half characters, which no client can read, as question marks."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _whole(value: Any) -> Any:
    """A value without half characters, which no tokenizer takes."""
    if isinstance(value, dict):
        return {whole_text(name): _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return whole_text(value) if isinstance(value, str) else value


def _is_deeper(value: object, limit: int) -> bool:
    level: list[object] = [value]
    for _ in range(limit):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
