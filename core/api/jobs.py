"""`/v1/fine_tuning/jobs`: runs as OpenAI's fine-tuning jobs. A job's id is the run's, as the page shows it.

Owns the routes; what a job's body asks for is `job_body`'s, what a run looks like as a job `job_shape`'s. A job joins
the queue like any run and begins at once where nothing else does.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from core.api.job_body import job_spec
from core.api.job_shape import checkpoint_entries, event_entries, job_entry
from core.api.refusals import language_of
from core.api.wire import json_response, off_loop, page_of, read_object, read_query
from core.errors import WorkbenchError
from core.i18n import Language
from core.training.events import read_events
from core.training.history import EVENTS_FILE
from core.workbench import Workbench

STARTED_BY = "api"  # a key under `training_tab.started_by`
USUAL_JOBS, USUAL_EVENTS, USUAL_CHECKPOINTS = 20, 20, 10
MOST_IN_PAGE = 1000


async def create_job(workbench: Workbench, request: Request) -> Response:
    body = await read_object(request)
    return json_response(await off_loop(request, _created, workbench, body, _language(request)))


async def list_jobs(workbench: Workbench, request: Request) -> Response:
    query = read_query(request, "limit", "after")
    return json_response(await off_loop(request, _jobs, workbench, query, _language(request)))


async def show_job(workbench: Workbench, request: Request) -> Response:
    return json_response(await off_loop(request, _job, workbench, _run_id(request), _language(request)))


async def cancel_job(workbench: Workbench, request: Request) -> Response:
    return json_response(await off_loop(request, _cancelled, workbench, _run_id(request), _language(request)))


async def list_events(workbench: Workbench, request: Request) -> Response:
    query = read_query(request, "limit", "after")
    events = await off_loop(request, _events, workbench, _run_id(request), _language(request))
    return json_response(page_of(events, query, USUAL_EVENTS, MOST_IN_PAGE))


async def list_checkpoints(workbench: Workbench, request: Request) -> Response:
    query = read_query(request, "limit", "after")
    checkpoints = await off_loop(request, _checkpoints, workbench, _run_id(request))
    return json_response(page_of(checkpoints, query, USUAL_CHECKPOINTS, MOST_IN_PAGE))


def _created(workbench: Workbench, body: dict[str, Any], lang: Language) -> dict[str, Any]:
    return _job(workbench, workbench.enqueue(lambda: job_spec(workbench, body), STARTED_BY), lang)


def _jobs(workbench: Workbench, query: Mapping[str, str], lang: Language) -> dict[str, Any]:
    """A page of the runs, the newest first; one that was deleted meanwhile is left out."""
    page = page_of([{"id": run.run_id} for run in workbench.runs.list()], query, USUAL_JOBS, MOST_IN_PAGE)
    jobs: list[dict[str, Any]] = []
    for run in page["data"]:
        with suppress(WorkbenchError):
            jobs.append(_job(workbench, run["id"], lang))
    return {**page, "data": jobs}


def _job(workbench: Workbench, run_id: str, lang: Language) -> dict[str, Any]:
    seen = workbench.runs.snapshot(run_id)
    try:
        spec = workbench.runs.spec(run_id)
    except WorkbenchError:  # damaged: the run is listed all the same
        spec = None
    return job_entry(seen, spec, lang)


def _cancelled(workbench: Workbench, run_id: str, lang: Language) -> dict[str, Any]:
    """Take a waiting run off the queue, or stop one without keeping its adapter; one that has ended stays as it is."""
    job = _job(workbench, run_id, lang)
    workbench.runs.cancel(run_id)
    try:
        workbench.runs.stop(run_id, keep=False)
        return _job(workbench, run_id, lang)
    except WorkbenchError:  # it had not begun: with its place in the queue went its folder
        return {**job, "status": "cancelled"}


def _events(workbench: Workbench, run_id: str, lang: Language) -> list[dict[str, Any]]:
    """What happened in a run, the newest first."""
    snapshot = workbench.runs.snapshot(run_id)  # the id is looked up before it becomes a path
    found = read_events(workbench.workspace.runs / run_id / EVENTS_FILE)
    return event_entries(snapshot, found.events, lang)


def _checkpoints(workbench: Workbench, run_id: str) -> list[dict[str, Any]]:
    return checkpoint_entries(workbench.runs.snapshot(run_id), workbench.runs.saved_steps(run_id))


def _run_id(request: Request) -> str:
    return str(request.path_params["job"])


def _language(request: Request) -> Language:
    return language_of(request.headers.get("accept-language", ""))
