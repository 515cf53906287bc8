"""Models as the API names them: the base model in memory, an adapter, `base:adapter`, and a saved step of a run.

Owns what a name means. An adapter that fits the loaded base is applied when it is first asked for; another base is
never loaded because a program asks for it: that would take the model away from everybody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from core.api.wire import changed_at, json_response, off_loop, read_query, unix_time
from core.errors import Place, excerpt, refusal
from core.workbench import ModelStatus, Workbench

SEPARATOR = ":"
OWNER = "lora-workbench"


@dataclass(frozen=True)
class Answering:
    """Who answers: the base model in memory, with an applied adapter or (None) by itself."""

    base: ModelStatus
    adapter: str | None


def answering(workbench: Workbench, model: str) -> Answering:
    """Who answers to a name; an adapter that is not applied yet is applied.

    Raises:
        WorkbenchError: A03 where the name is nobody's, or a base's that is not in memory; what speaks against the
            adapter on this base.
    """
    status = workbench.model_status()
    if status is None:
        raise refusal("A03_no_model")
    if model == status.name:
        return Answering(status, None)
    name = model.removeprefix(status.name + SEPARATOR)
    if name in status.applied:
        return Answering(status, name)
    if name in _adapter_names(workbench):
        workbench.apply_adapter(name)
        return Answering(status, name)
    saved = workbench.runs.find_step(name)
    if saved:
        return Answering(status, workbench.apply_checkpoint(*saved))
    other = model.partition(SEPARATOR)[0]
    if other in [info.name for info in workbench.models()]:
        raise refusal("A03_other_model", Place(field="model"), wanted=excerpt(other), loaded=status.name)
    known = excerpt(", ".join([status.name, *_adapter_names(workbench)]))
    raise refusal("A03_no_such_model", Place(field="model"), name=excerpt(model), known=known)


def adapter_id(base: str, adapter: str) -> str:
    """The name under which a program asks for an adapter of a base."""
    return f"{base}{SEPARATOR}{adapter}"


async def list_models(workbench: Workbench, request: Request) -> Response:
    read_query(request)
    return json_response({"object": "list", "data": await off_loop(request, models, workbench)})


async def show_model(workbench: Workbench, request: Request) -> Response:
    return json_response(await off_loop(request, _model, workbench, request.path_params["model"]))


async def delete_model(workbench: Workbench, request: Request) -> Response:
    name = request.path_params["model"]
    await off_loop(request, _delete, workbench, name)
    return json_response({"id": name, "object": "model", "deleted": True})


def models(workbench: Workbench) -> list[dict[str, Any]]:
    """What can be asked now: the base model in memory and the adapters made for it."""
    status = workbench.model_status()
    if status is None:
        return []
    folder = next((info.folder for info in workbench.models() if info.name == status.name), None)
    listed = [_entry(status.name, changed_at(folder), None)]
    for info in workbench.adapters():
        if not info.errors and info.base_fingerprint in (None, status.fingerprint):
            listed.append(_entry(info.name, unix_time(info.created) or changed_at(info.folder), status.name))
    names = [entry["id"] for entry in listed]
    return [*listed, *(_entry(name, 0, status.name) for name in status.applied if name not in names)]


def _model(workbench: Workbench, model: str) -> dict[str, Any]:
    """The entry of a model that can be asked now, under the name it was asked for by."""
    status = workbench.model_status()
    name = model.removeprefix(status.name + SEPARATOR) if status else model
    listed = models(workbench)
    for entry in listed:
        if entry["id"] == name:
            return {**entry, "id": model}
    known = excerpt(", ".join(entry["id"] for entry in listed)) or "–"
    raise refusal("A03_no_such_model", Place(field="model"), name=excerpt(model), known=known)


def _delete(workbench: Workbench, model: str) -> None:
    """Delete an adapter with its files; it is taken off chat, and a run or an export that needs it keeps it."""
    status = workbench.model_status()
    name = model.removeprefix(status.name + SEPARATOR) if status else model
    if model in [info.name for info in workbench.models()]:
        raise refusal("A04_base_not_deleted", Place(field="model"), name=excerpt(model))
    workbench.delete_adapter(name, from_chat_too=True)


def _adapter_names(workbench: Workbench) -> list[str]:
    return [info.name for info in workbench.adapters()]


def _entry(name: str, created: int, parent: str | None) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": OWNER, "parent": parent}
