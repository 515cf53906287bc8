"""Who answers in a pane: what the selector's values mean, which of them there still are, applying an adapter for one.

Owns the values: "" is the base model, `run:<id>` a run in progress, `step:<id>:<step>` a saved step of a run, all else
an adapter. A column is the name under which a conversation keeps the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.chat.conversations import BASE
from core.digits import whole_number_in
from core.errors import WorkbenchError
from core.workbench import AT_STEP, Workbench
from webui.chat_views import RUN_PREFIX, STEP_PREFIX


@dataclass(frozen=True)
class Speaker:
    """Who answers in a pane. `column` keeps its answers; `adapter` is what the engine is asked for (None = base)."""

    column: str
    adapter: str | None
    step: int | None = None


def column_of(workbench: Workbench, value: str) -> str:
    """The column in which a value of the selector answers: a run answers in that of the adapter it will become."""
    if step := step_of(value):
        return f"{workbench.runs.snapshot(step[0]).name}{AT_STEP}{step[1]}"
    if value.startswith(RUN_PREFIX):
        return workbench.runs.snapshot(value.removeprefix(RUN_PREFIX)).name
    return value or BASE


def speaker_of(workbench: Workbench, value: str) -> Speaker:
    """Who answers for a value of the selector; an adapter that is not applied yet gets applied.

    One that is applied answers in the strength it has.

    Raises:
        WorkbenchError: A03 without a model, A09 where a run has saved nothing yet, A30 where nothing is kept of a step,
            M… where an adapter does not fit.
    """
    if saved := step_of(value):
        name = workbench.apply_checkpoint(*saved)
        return Speaker(name, name, saved[1])
    if value.startswith(RUN_PREFIX):
        name = workbench.apply_run(value.removeprefix(RUN_PREFIX))
        column, _, step = name.rpartition(AT_STEP)
        return Speaker(column, name, int(step))
    if value and value not in workbench.applied_without_files():
        workbench.apply_adapter(value)
    return Speaker(value or BASE, value or None)


def step_of(value: str) -> tuple[str, int] | None:
    """The run and the step of a selector's value; None where it is none of a saved step."""
    run_id, _, step = value.removeprefix(STEP_PREFIX).rpartition(":")
    number = whole_number_in(step)
    return (run_id, number) if value.startswith(STEP_PREFIX) and run_id and number is not None else None


def step_value(run_id: str, step: int) -> str:
    """The selector's value of a saved step."""
    return f"{STEP_PREFIX}{run_id}:{step}"


def value_of_column(workbench: Workbench, column: str) -> str:
    """The selector's value of a conversation's column: of `name @ step` the newest run that has this step."""
    saved = workbench.runs.find_step(column)
    return step_value(*saved) if saved else column


def offered_run(workbench: Workbench) -> tuple[str, str, int] | None:
    """The run in progress that can be chatted with: id, name and the step of its last checkpoint."""
    run_id = workbench.runs.active()
    snapshot = workbench.runs.snapshot(run_id) if run_id else None
    if run_id is None or snapshot is None or snapshot.checkpoint_step is None:
        return None
    return run_id, snapshot.name, snapshot.checkpoint_step


def present_columns(workbench: Workbench, columns: Sequence[str]) -> tuple[str, ...]:
    """Those columns that there still are; base where none is left.

    The adapter of a run is the run while it goes on (also by the name under which it is applied, `name @ step`), and
    the adapter that it became afterwards.
    """
    run = offered_run(workbench)
    known = {info.name for info in workbench.adapters()} | {*workbench.applied_without_files(), ""}
    present: list[str] = []
    for value in columns:
        step = step_of(value)
        if step:
            present += [value] if workbench.runs.has_step(*step) else []
            continue
        name = _adapter_of(workbench, value)
        if run and name == run[1]:
            present.append(f"{RUN_PREFIX}{run[0]}")
        elif name in known:
            present.append(name)
    return tuple(dict.fromkeys(present)) or ("",)


def settled_column(workbench: Workbench, value: str) -> tuple[str, ...]:
    """The column with its run as it is now; nothing where the run has ended and kept nothing."""
    if step_of(value) or (not value.startswith(RUN_PREFIX) and AT_STEP not in value):
        return (value,)
    return tuple(found for found in present_columns(workbench, [value]) if found)


def _adapter_of(workbench: Workbench, value: str) -> str | None:
    """The adapter behind a column: of a run the one it will have, after its end the one it kept, if any."""
    if not value.startswith(RUN_PREFIX):
        return value.partition(AT_STEP)[0]
    try:
        snapshot = workbench.runs.snapshot(value.removeprefix(RUN_PREFIX))
    except WorkbenchError:  # the run was deleted
        return None
    return snapshot.name if snapshot.status.active else snapshot.adapter
