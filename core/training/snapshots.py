"""Snapshots: the adapters of a run's evaluated steps, which stay when their checkpoints go.

Owns the rotation of checkpoints and what is left of those that go: of an evaluated step its adapter, as chat applies
it. It is moved by a rename; nothing is written a second time, and a method that makes whole models leaves nothing.

    checkpoints/step-000120/adapter/  →  snapshots/step-000120/

The checkpoint is out of sight first (`.step-000120.kept`), so that no half of one is ever seen. What a process that was
killed meanwhile leaves there is moved when the run is resumed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from core.training.checkpoints import ADAPTER, CHECKPOINTS, Checkpoint, list_checkpoints
from core.workspace import remove_folder, sync_folder

SNAPSHOTS = "snapshots"
AT_STEP = " @ "  # between the name of a run and a step of it, in the name of what it had made by then
MOST_SNAPSHOTS = 20
KEPT_NEWEST = 2  # checkpoints
_LEAVING = ".kept"
_NAME = re.compile(r"step-\d{6,}")


def snapshot_steps(evaluated: Sequence[int]) -> frozenset[int]:
    """The steps whose adapters are kept: all that are evaluated, or `MOST_SNAPSHOTS` of them, both ends included."""
    count = len(evaluated)
    if count <= MOST_SNAPSHOTS:
        return frozenset(evaluated)
    return frozenset(evaluated[place * (count - 1) // (MOST_SNAPSHOTS - 1)] for place in range(MOST_SNAPSHOTS))


def rotate(run: Path, keep_steps: Collection[int], evaluated: Collection[int] = ()) -> None:
    """Remove the checkpoints of a run's folder but the newest and those of `keep_steps`.

    Those of `evaluated` steps leave their adapter.

    Raises:
        OSError: what was not moved then is moved by `go_back`.
    """
    for checkpoint in list_checkpoints(run / CHECKPOINTS)[:-KEPT_NEWEST]:
        if checkpoint.step in keep_steps:
            continue
        if checkpoint.step in evaluated and checkpoint.adapter.is_dir():
            _keep_adapter(run, checkpoint)
        else:
            remove_folder(checkpoint.folder)


def go_back(run: Path, step: int) -> None:
    """Before a run goes on after a step: finish what was being moved, and remove later snapshots: they come again."""
    for leaving in (run / CHECKPOINTS).glob(f".step-*{_LEAVING}"):
        _move_adapter(leaving, run / SNAPSHOTS / leaving.name[1 : -len(_LEAVING)])
    for later, folder in _snapshots(run).items():
        if later > step:
            remove_folder(folder)
    for unfinished in (run / SNAPSHOTS).glob(".step-*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def saved_adapters(run: Path) -> dict[int, Path]:
    """The folders of all adapters that a run has on disk, by their step: snapshots, and those of checkpoints."""
    checkpoints = {each.step: each.adapter for each in list_checkpoints(run / CHECKPOINTS) if each.adapter.is_dir()}
    return dict(sorted({**_snapshots(run), **checkpoints}.items()))


def _snapshots(run: Path) -> dict[int, Path]:
    folder = run / SNAPSHOTS
    entries = folder.iterdir() if folder.is_dir() else ()
    return {int(entry.name[5:]): entry for entry in entries if _NAME.fullmatch(entry.name)}


def _keep_adapter(run: Path, checkpoint: Checkpoint) -> None:
    leaving = checkpoint.folder.with_name(f".{checkpoint.folder.name}{_LEAVING}")
    checkpoint.folder.rename(leaving)
    _move_adapter(leaving, run / SNAPSHOTS / checkpoint.folder.name)


def _move_adapter(leaving: Path, target: Path) -> None:
    """Move the adapter, unless it is moved already, and remove the rest of its checkpoint."""
    if (leaving / ADAPTER).is_dir():
        target.parent.mkdir(exist_ok=True)
        (leaving / ADAPTER).rename(target)
        sync_folder(target.parent)
    shutil.rmtree(leaving, ignore_errors=True)
    sync_folder(leaving.parent)
