"""Going on with a run that ended early: from which checkpoint, what it had come to by then, what has changed since.

Owns finding the newest whole checkpoint and comparing what the run used with what is there now. It changes nothing but,
when the run goes on, what lies in the way of new checkpoints. Training itself goes on in `run`.

    run folder + snapshot → find_resumption → Resumption (differences for a person) → run_training(…, resumption)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from core.adapters.card import Ancestor
from core.errors import Place, Problem, WorkbenchError, excerpt
from core.training.admission import data_sha256
from core.training.checkpoints import SPEC_FILE, Checkpoint, library_versions, list_checkpoints, read_manifest
from core.training.events import Resumed
from core.training.lineage import starting_problems
from core.training.preparation import base_problems
from core.training.progress import Snapshot
from core.training.spec import OtherData, RunSpec, read_spec
from core.workspace import Workspace, free_name, now

if TYPE_CHECKING:
    from core.models.loader import LoadedModel

NOT_SETTINGS = (
    *("name", "base", "base_fingerprint", "tokenizer_sha256", "dataset_sha256", "other_data"),
    *("load", "device", "versions"),
)


@dataclass(frozen=True)
class Resumption:
    """Where a run goes on, and what it had come to by that step.

    `checkpoint` is None where there is no whole one: then it starts at step 0. `damaged` are the names of newer ones
    that are not as they were written. `differences` are what has changed since: a warning may be accepted, with an
    error the run cannot go on. `spec` is the run's with the hashes of what is there now, `version` that of
    its snapshot.
    """

    spec: RunSpec
    checkpoint: Checkpoint | None = None
    damaged: tuple[str, ...] = ()
    differences: tuple[Problem, ...] = ()
    elapsed_s: float = 0.0
    losses: dict[int, float] = field(default_factory=dict)
    evals: dict[int, float] = field(default_factory=dict)
    accuracies: dict[int, float] = field(default_factory=dict)
    sampled: frozenset[int] = frozenset()
    adapter: str | None = None
    lineage: tuple[Ancestor, ...] = ()
    version: int = 0

    @property
    def step(self) -> int:
        return self.checkpoint.step if self.checkpoint else 0

    def check_accepted(self, accept_changes: bool) -> None:
        """Refuse what has changed, unless that is accepted and the run can go on with it.

        Raises:
            WorkbenchError: the differences that stand in the way.
        """
        against = [each for each in self.differences if each.severity == "error" or not accept_changes]
        if against:
            raise WorkbenchError(against)


def find_resumption(
    folder: Path,
    spec: RunSpec,
    snapshot: Snapshot,
    workspace: Workspace,
    model: LoadedModel | None,
    verified: Resumption | None = None,
) -> Resumption:
    """From where the run whose checkpoints are in `folder` would go on now.

    Without a model, what it would say of the base is left out. The checkpoint of what was `verified` a moment ago is
    not read again, unless something has happened to the run since.

    Raises:
        WorkbenchError: A03 where a data set of the run is gone; H01 for a damaged spec in the checkpoint.
    """
    if verified and verified.version == snapshot.version:
        checkpoint, damaged = verified.checkpoint, verified.damaged
    else:
        checkpoint, damaged = _newest_whole(folder)
    recorded = _recorded(spec, checkpoint)
    current = _as_found(spec, workspace, model)
    differences = [*_differences(recorded, current, model)]
    if checkpoint is None:  # it begins again with the adapter that it trains further
        differences += starting_problems(spec, workspace)
    step = checkpoint.step if checkpoint else 0
    return Resumption(
        spec=current,
        checkpoint=checkpoint,
        damaged=damaged,
        differences=tuple(differences),
        elapsed_s=snapshot.elapsed_s,
        losses={at: loss for at, loss in snapshot.losses if at <= step},
        evals={at: loss for at, loss in snapshot.evals if at <= step},
        accuracies={at: accuracy for at, accuracy in snapshot.accuracies if at <= step},
        sampled=frozenset(sample.step for sample in snapshot.samples if sample.step <= step),
        adapter=snapshot.adapter,
        lineage=snapshot.lineage,
        version=snapshot.version,
    )


def clear_the_way(folder: Path, step: int) -> None:
    """Put damaged checkpoints after a step aside, for it will be saved again; remove what a killed process left."""
    for newer in (each for each in list_checkpoints(folder) if each.step > step):
        newer.folder.rename(folder / free_name(folder, f"damaged-{newer.folder.name}"))
    for unfinished in folder.glob(".step-*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def resumed_event(found: Resumption) -> Resumed:
    """What the run's history says as this process goes on with it."""
    return Resumed(
        step=found.step,
        resumed_at=now(),
        pid=os.getpid(),
        process_started=psutil.Process().create_time(),
        elapsed_s=found.elapsed_s,
    )


def _newest_whole(folder: Path) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """The newest checkpoint whose files are all as they were written, and the names of newer ones."""
    damaged: list[str] = []
    for each in reversed(list_checkpoints(folder)):
        if read_manifest(each):
            return each, tuple(damaged)
        damaged.append(each.folder.name)
    return None, tuple(damaged)


def _recorded(spec: RunSpec, checkpoint: Checkpoint | None) -> RunSpec:
    """The spec that the checkpoint was trained with; the run's own where there is none."""
    return read_spec(checkpoint.folder / SPEC_FILE) if checkpoint else spec


def _as_found(spec: RunSpec, workspace: Workspace, model: LoadedModel | None) -> RunSpec:
    """The spec with the hashes of the data sets, the base and the libraries as they are now."""
    others = {
        name: OtherData(sha256=data_sha256(workspace, name), data=pinned.data)
        for name, pinned in spec.other_data.items()
    }
    found: dict[str, Any] = {
        "dataset_sha256": data_sha256(workspace, spec.dataset),
        "other_data": others,
        "versions": library_versions(),
    }
    if model:
        found["base_fingerprint"] = model.fingerprint
        found |= {"tokenizer_sha256": model.tokenizer_sha256, "device": model.precision.device}
    return spec.model_copy(update=found)


def _differences(recorded: RunSpec, current: RunSpec, model: LoadedModel | None) -> Iterator[Problem]:
    yield from _changed_data(recorded, current)
    if model:
        yield from _changed_base(recorded, model)
    yield from _changed_settings(recorded, current)
    changed = [
        f"{name} {version} → {current.versions.get(name, '–')}"
        for name, version in recorded.versions.items()
        if version != current.versions.get(name)
    ]
    if changed:
        yield Problem("A22_versions_changed", values={"changed": ", ".join(changed)}, severity="warning")


def _changed_data(recorded: RunSpec, current: RunSpec) -> Iterator[Problem]:
    before = {recorded.dataset: recorded.dataset_sha256, **{n: o.sha256 for n, o in recorded.other_data.items()}}
    now = {current.dataset: current.dataset_sha256, **{n: o.sha256 for n, o in current.other_data.items()}}
    for name, sha256 in before.items():
        if sha256 and name in now and now[name] != sha256:
            values = {"name": name, "before": sha256[:12], "now": str(now[name])[:12]}
            yield Problem("A22_data_changed", Place(file=name), values, "warning")


def _changed_base(recorded: RunSpec, model: LoadedModel) -> Iterator[Problem]:
    for problem in base_problems(recorded, model):
        if problem.severity == "error":
            yield problem
        else:
            yield Problem("A22_weights_changed", problem.place, problem.values, "warning")
    before, now = recorded.load.precision, model.precision.precision
    if before not in ("auto", now):
        yield Problem("A22_precision_changed", values={"before": before, "now": now}, severity="warning")
    if recorded.tokenizer_sha256 not in (None, model.tokenizer_sha256):
        yield Problem("A22_tokenizer_changed", severity="warning")
    if recorded.device not in (None, model.precision.device):
        values = {"before": recorded.device, "now": model.precision.device}
        yield Problem("A22_device_changed", values=values, severity="warning")


def _changed_settings(recorded: RunSpec, current: RunSpec) -> Iterator[Problem]:
    """Settings edited in the run's spec. Another method is another adapter: the weights there are do not fit it."""
    before, now = (
        dict(_leaves("", spec.model_dump(mode="json", exclude=set(NOT_SETTINGS)))) for spec in (recorded, current)
    )
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            of_method = name.startswith("method.")
            values = {"field": name, "before": excerpt(before.get(name)), "now": excerpt(now.get(name))}
            key = "A22_method_changed" if of_method else "A22_setting_changed"
            yield Problem(key, Place(field=name), values, "error" if of_method else "warning")


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, entry in value.items():
            yield from _leaves(f"{path}.{name}" if path else str(name), entry)
    else:
        yield path, value
