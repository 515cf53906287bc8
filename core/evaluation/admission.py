"""What an evaluation needs, found and checked before it begins: columns, model, data set, run, patterns, judge.

Owns every refusal that needs no row and no forward pass; what only the rows show is refused by `procedure`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.adapters import store as adapters
from core.data.library import DataLibrary
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.evaluation.field_match import check_patterns
from core.evaluation.spec import BASE, EvaluationSpec, window_problems
from core.training.desk import RunDesk
from core.training.spec import RunSpec
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.evaluation.procedure import Materials
    from core.models.loader import LoadedModel


def admitted(
    spec: EvaluationSpec,
    workspace: Workspace,
    library: DataLibrary,
    runs: RunDesk,
    model: Callable[[str | None], LoadedModel],
) -> Materials:
    """Everything an evaluation works with.

    Raises:
        WorkbenchError: as `EvaluationDesk.start`.
    """
    from core.evaluation.judge import outgoing
    from core.evaluation.procedure import Materials

    problems = _plain_problems(spec)
    if problems:
        raise WorkbenchError(problems)
    check_patterns(spec.fields)
    loaded = model(spec.base)
    library.find(spec.dataset)
    run = run_of(spec, runs)
    if spec.judge:
        outgoing(spec.judge, [])
    found = {name: _adapter(name, workspace, runs) for name in spec.columns if name != BASE}
    folders = {name: folder for name, (folder, _) in found.items()}
    most_virtual = max((_fitting(folder, loaded) for folder in folders.values()), default=0)
    problems = window_problems(spec, loaded.max_length and loaded.max_length - most_virtual)
    if problems:
        raise WorkbenchError(problems)
    return Materials(
        workspace=workspace,
        library=library,
        loaded=loaded,
        folders=folders,
        run=run,
        made_by=_readers({name: run for name, (_, run) in found.items()}, spec.dataset),
    )


def made_by(columns: Sequence[str], dataset: str, workspace: Workspace, runs: RunDesk) -> dict[str, RunSpec]:
    """The runs that made these columns and read this data set, as far as they are known."""
    return _readers({name: _maker(name, workspace, runs) for name in columns if name != BASE}, dataset)


def run_of(spec: EvaluationSpec, runs: RunDesk) -> RunSpec | None:
    """The run whose held-out part is measured; None where it is not that of a run.

    Raises:
        WorkbenchError: A30 where there is no such run, A03 where it used other data.
    """
    if spec.run_id is None or spec.part == "all":
        return None
    run = runs.spec(spec.run_id)
    if run.dataset != spec.dataset:
        place = Place(field="run_id", excerpt=excerpt(spec.run_id))
        raise refusal("A03_other_data_in_run", place, run=run.name, wanted=spec.dataset, has=run.dataset)
    return run


def _adapter(column: str, workspace: Workspace, runs: RunDesk) -> tuple[Path, RunSpec | None]:
    """The folder of a column that is an adapter or a saved step of a run, and the run that made it, where known."""
    saved = runs.find_step(column)
    if saved:
        return runs.saved_adapter(*saved), runs.spec(saved[0])
    info = adapters.find_adapter(workspace, column)
    if info.errors:
        raise WorkbenchError(info.errors)
    try:
        made_by = runs.spec(info.card.run_id) if info.card and info.card.run_id else None
    except WorkbenchError:  # the run was deleted since
        made_by = None
    return info.folder, made_by


def _readers(makers: Mapping[str, RunSpec | None], dataset: str) -> dict[str, RunSpec]:
    return {name: run for name, run in makers.items() if run and dataset in run.datasets}


def _maker(column: str, workspace: Workspace, runs: RunDesk) -> RunSpec | None:
    try:
        return _adapter(column, workspace, runs)[1]
    except WorkbenchError:  # the adapter is gone or broken
        return None


def _plain_problems(spec: EvaluationSpec) -> list[Problem]:
    """What a spec shows by itself."""
    problems = []
    if not (spec.loss or spec.answers or spec.forgetting):
        problems.append(Problem("H01_nothing_measured"))
    twice = [name for name in spec.columns if spec.columns.count(name) > 1]
    if twice:
        problems.append(Problem("H01_column_twice", Place(field="columns"), {"name": excerpt(twice[0] or "base")}))
    if spec.judge and not spec.answers:
        problems.append(Problem("H01_judge_without_answers", Place(field="judge")))
    return problems


def _fitting(folder: Path, loaded: LoadedModel) -> int:
    """How much of the context an adapter that fits takes for its virtual tokens."""
    from core.adapters.base_shapes import shapes_of
    from core.adapters.validity import judge

    files = judge(folder, shapes_of(loaded.model), loaded.fingerprint, loaded.info.name)
    if files.errors:
        raise WorkbenchError(files.errors)
    return (files.fields and files.fields.virtual_tokens) or 0
