"""`/v1/files`: the data sets of the registry as OpenAI's files. A file's id is its name, as the page shows it.

Owns the way of an upload onto the disk and the shape of a file; which files are taken and what is in them is
`core.data`'s business.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from core.api.wire import changed_at, json_response, limited, off_loop, page_of, read_query, unix_time
from core.data.datasets import DatasetCard, DatasetInfo
from core.data.reading.streams import MAX_FILE_BYTES
from core.errors import Place, WorkbenchError, excerpt, refusal
from core.models.arrival import write_problem
from core.workbench import Workbench

PURPOSE = "fine-tune"
FORM_BYTES = 2**20  # of what stands around the file
USUAL_PAGE = MOST_IN_PAGE = 10_000


async def list_files(workbench: Workbench, request: Request) -> Response:
    query = read_query(request, "purpose", "limit", "after", "order")
    if query.get("order") not in (None, "asc", "desc"):
        raise refusal("H01_not_a_choice", Place(field="order"), field="order", seen=query["order"], choices="asc, desc")
    files = await off_loop(request, _files, workbench)
    if query.get("purpose") not in (None, PURPOSE):
        files = []
    files.sort(key=lambda file: (file["created_at"], file["id"]), reverse=query.get("order") != "asc")
    return json_response(page_of(files, query, USUAL_PAGE, MOST_IN_PAGE))


async def upload_file(workbench: Workbench, request: Request) -> Response:
    form = await _form(request)
    try:
        return json_response(await off_loop(request, _uploaded, workbench, form))
    finally:
        for part in form.values():
            if isinstance(part, UploadFile):
                await part.close()


async def show_file(workbench: Workbench, request: Request) -> Response:
    return json_response(await off_loop(request, lambda: _file(workbench, _found(workbench, request))))


async def file_content(workbench: Workbench, request: Request) -> Response:
    info = await off_loop(request, _found, workbench, request)
    if not info.file.is_file():
        raise refusal("D45_folder_not_one_file", Place(file=info.name))
    return FileResponse(info.file, media_type="application/octet-stream", filename=info.name)


async def delete_file(workbench: Workbench, request: Request) -> Response:
    name = request.path_params["file"]
    await off_loop(request, workbench.delete_dataset, name)
    return json_response({"id": name, "object": "file", "deleted": True})


def _files(workbench: Workbench) -> list[dict[str, Any]]:
    return [_file(workbench, info) for info in workbench.data.list()]


def _found(workbench: Workbench, request: Request) -> DatasetInfo:
    return workbench.data.find(request.path_params["file"])


def _file(workbench: Workbench, info: DatasetInfo) -> dict[str, Any]:
    try:
        card = workbench.data.card(info.name)
    except WorkbenchError:  # damaged, or deleted meanwhile: the others are listed all the same
        card = DatasetCard()
    return {
        "id": info.name,
        "object": "file",
        "bytes": info.bytes,
        "created_at": unix_time(card.added) or changed_at(info.file),
        "filename": card.source or info.name,
        "purpose": PURPOSE,
        "status": "processed",
        "status_details": None,
    }


async def _form(request: Request) -> dict[str, UploadFile | str]:
    """The fields of an upload.

    Raises:
        WorkbenchError: A26 where it is no form with one file, or too large.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise refusal("A26_not_a_form")
    body = limited(request, MAX_FILE_BYTES + FORM_BYTES)
    try:
        form = await MultiPartParser(request.headers, body, max_files=1, max_fields=16).parse()
    except MultiPartException as error:
        raise refusal("A26_form_malformed", Place(excerpt=excerpt(error.message))) from error
    return dict(form.multi_items())


def _uploaded(workbench: Workbench, form: Mapping[str, UploadFile | str]) -> dict[str, Any]:
    for name in ("file", "purpose"):
        if not form.get(name):
            raise refusal("H01_needed", Place(field=name), field=name)
    for name in form.keys() - {"file", "purpose"}:
        raise refusal("H01_not_offered", Place(field=excerpt(name)), field=excerpt(name))
    upload, purpose = form["file"], form["purpose"]
    if purpose != PURPOSE:
        values = {"field": "purpose", "seen": excerpt(purpose), "choices": PURPOSE}
        raise refusal("H01_not_a_choice", Place(field="purpose"), **values)
    if not isinstance(upload, UploadFile):
        raise refusal("A26_not_a_form", Place(field="file"))
    return _file(workbench, _added(workbench, upload))


def _added(workbench: Workbench, upload: UploadFile) -> DatasetInfo:
    """Put an upload into the registry, by way of a file of its own: the parser's has no name."""
    state = workbench.workspace.state
    try:
        with workbench.workspace.scratch() as folder:
            file = folder / "upload"
            with file.open("wb") as copy:
                shutil.copyfileobj(upload.file, copy)
            return workbench.data.add(file, upload.filename or "")
    except OSError as error:
        raise write_problem(state, upload.size or 0, error) from error
