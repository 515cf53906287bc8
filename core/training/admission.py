"""What a run passes before it begins or waits: checks that need no data read, and being fixed to what is there.

Owns those checks, and which parts of the spec of a run that waits are fixed: it trains on the same bytes when its turn
comes, or says that it cannot. What only the data or the model itself can tell is `preparation`'s business.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from core.data.datasets import DatasetInfo, find_dataset, read_card
from core.errors import Place, Problem, WorkbenchError, refusal
from core.models.catalog import find_model
from core.training.lineage import pinned_start, starting_problems
from core.training.optimizers import schedule_free_problems
from core.training.result_name import check_result_name
from core.training.spec import OtherData, RunSpec
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.models.loader import LoadedModel


def check_beforehand(
    spec: RunSpec, workspace: Workspace, model: LoadedModel | None, promised: Collection[str] = ()
) -> None:
    """Refuse what can be refused without reading the data; of a base that is not loaded (None), only that it is gone.

    `promised` are names of adapters that are still being made.

    Raises:
        WorkbenchError: every problem found: A03, A07, A22, D42, H12, M01, M19, M25.
    """
    from core.training.preparation import base_problems

    problems: list[Problem] = starting_problems(spec, workspace)
    problems += schedule_free_problems(spec.training, spec.method.method)
    if model:
        problems += [each for each in base_problems(spec, model) if each.severity == "error"]
    name_problem = check_result_name(workspace, spec.method.method, spec.name, promised)
    problems += [name_problem] if name_problem else []
    for find, name in ((find_dataset, spec.dataset), *(() if model else ((find_model, spec.base),))):
        try:
            find(workspace, name)
        except WorkbenchError as error:
            problems += error.problems
    if problems:
        raise WorkbenchError(problems)


def pinned(spec: RunSpec, workspace: Workspace, model: LoadedModel | None) -> RunSpec:
    """The spec with the hashes of its data sets, its base (None = unknown) and the adapter it starts from.

    Raises:
        WorkbenchError: A03 where a data set is not there, M25 where the adapter is not; D45 where a data set is not the
            one that the spec names.
    """
    changes: dict[str, Any] = {
        "dataset_sha256": _sha256(spec.dataset, spec.dataset_sha256, workspace),
        "other_data": {name: _other(name, spec.other_data.get(name), workspace) for name in spec.data.other_datasets},
    }
    if model:
        changes["base_fingerprint"] = spec.base_fingerprint or model.fingerprint
    return pinned_start(spec, workspace).model_copy(update=changes)


def data_sha256(workspace: Workspace, name: str) -> str:
    """The hash of a data set as it is now, read once however often it is asked for.

    Raises:
        WorkbenchError: A03 where it is not there, D45 where it cannot be read.
    """
    info = find_dataset(workspace, name)
    return _hashed(info, info.state)


@lru_cache(maxsize=64)
def _hashed(info: DatasetInfo, _state: object) -> str:
    return info.sha256


def _other(name: str, named: OtherData | None, workspace: Workspace) -> OtherData:
    sha256 = _sha256(name, named.sha256 if named else None, workspace)
    return named or OtherData(sha256=sha256, data=read_card(workspace, name).options.alone())


def _sha256(name: str, expected: str | None, workspace: Workspace) -> str:
    found = data_sha256(workspace, name)
    if expected not in (None, found):
        raise refusal("D45_data_changed", Place(file=name), expected=str(expected)[:12], found=found[:12])
    return found
