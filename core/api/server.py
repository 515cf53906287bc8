"""The routes under `/v1`, and what holds for all of them: the key, and one place where failures become answers.

Owns the ASGI application that is mounted into the page's server (`routes`). It stands before the page's own routes, so
that neither the page's catch-all nor its login gets what is meant for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import Message, Receive, Scope, Send

from core.api import answers, files, jobs, models
from core.api.access import Access
from core.api.refusals import error_answer, language_of
from core.api.wire import THREADS, json_response
from core.models.arrival import in_words
from core.workbench import Workbench

ROOT = "/v1"
MAX_THREADS = 16  # at work for the API at once; waiting for an answer needs none
Handler = Callable[[Workbench, Request], Awaitable[Response]]

_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/models", models.list_models),
    ("GET", "/models/{model:path}", models.show_model),
    ("DELETE", "/models/{model:path}", models.delete_model),
    ("POST", "/chat/completions", answers.chat),
    ("POST", "/completions", answers.complete),
    ("GET", "/files", files.list_files),
    ("POST", "/files", files.upload_file),
    ("GET", "/files/{file}", files.show_file),
    ("DELETE", "/files/{file}", files.delete_file),
    ("GET", "/files/{file}/content", files.file_content),
    ("GET", "/fine_tuning/jobs", jobs.list_jobs),
    ("POST", "/fine_tuning/jobs", jobs.create_job),
    ("GET", "/fine_tuning/jobs/{job}", jobs.show_job),
    ("POST", "/fine_tuning/jobs/{job}/cancel", jobs.cancel_job),
    ("GET", "/fine_tuning/jobs/{job}/events", jobs.list_events),
    ("GET", "/fine_tuning/jobs/{job}/checkpoints", jobs.list_checkpoints),
)


def routes(workbench: Workbench, access: Access) -> list[BaseRoute]:
    """The API as routes for the page's server."""
    return [Mount(ROOT, app=Api(workbench, access))]


class Api:
    """The ASGI application under `/v1`: whatever goes wrong in it is answered in OpenAI's shape."""

    def __init__(self, workbench: Workbench, access: Access) -> None:
        self._access = access
        self._folder = workbench.workspace.root
        self._threads = anyio.CapacityLimiter(MAX_THREADS)
        self._router = Router(
            [Route(path, partial(handler, workbench), methods=[method]) for method, path, handler in _ROUTES]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # a WebSocket; no route takes one, so it is closed
            await self._router(scope, receive, send)
            return
        scope[THREADS] = self._threads
        scope.pop("starlette.exception_handlers", None)  # the page's, which answer in another shape
        request = Request(scope)
        begun = False

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            self._access.check(request.headers.get("authorization", ""))
            await self._router(scope, receive, send_noting)
        except ClientDisconnect:
            return
        except Exception as error:
            if begun:
                raise
            told = error_answer(in_words(error, self._folder), language_of(request.headers.get("accept-language", "")))
            await json_response(told.body, told.status, told.headers)(scope, receive, send)
