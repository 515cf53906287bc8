"""What the result of a run may be called: an adapter's name in `loras/`, a model's in `models/`.

Owns that check alone. Both folders are `Workspace.results`; saving under the name is `keeping`'s business.
"""

from __future__ import annotations

from collections.abc import Collection

from core.adapters.method_facts import METHODS
from core.adapters.store import check_adapter_name
from core.errors import Place, Problem, excerpt
from core.models.catalog import list_models
from core.settings import Method
from core.workspace import Workspace, free_name, name_problem


def check_result_name(
    workspace: Workspace, method: Method, name: str, promised: Collection[str] = ()
) -> Problem | None:
    """Why what a run of this method makes may not be called so, with a name that is free; None where it may.

    `promised` are names of what is still being made.
    """
    if METHODS[method].makes == "adapter":
        return check_adapter_name(workspace, name, promised)
    problem = name_problem(name)
    taken = {info.name.casefold() for info in list_models(workspace)} | {each.casefold() for each in promised}
    if problem is None and name.casefold() in taken:
        shown = {"name": excerpt(name), "suggestion": free_result_name(workspace, method, name, promised)}
        problem = Problem("M25_model_name_taken", Place(field="name"), shown)
    return problem


def free_result_name(workspace: Workspace, method: Method, wish: str, promised: Collection[str] = ()) -> str:
    """`wish`, numbered where something of its kind, or what is still being made, has the name already."""
    makes = METHODS[method].makes
    known = [info.name for info in list_models(workspace)] if makes == "model" else []  # also in read-only folders
    return free_name(workspace.results(makes), wish, promised=[*known, *promised])
