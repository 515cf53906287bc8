"""What the formulas of `estimate` need to know, read off the loaded model, the machine and the disk.

Owns that reading, and what is said of a disk that is too small. The formulas themselves know no model and no disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from core.adapters.method_facts import METHODS
from core.adapters.method_size import trainable_parameters
from core.adapters.methods import adapted_shapes
from core.errors import Place, Problem
from core.models.memory import free_memory_gb
from core.training.estimate import GB, KEPT_CHECKPOINTS, DiskEstimate, Machine, ModelShape, disk_estimate
from core.training.snapshots import snapshot_steps
from core.training.spec import RunSpec
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.models.loader import LoadedModel


def machine_of(loaded: LoadedModel) -> Machine:
    """The machine as a run on this model would find it now."""
    import torch

    return Machine(
        device=loaded.precision.device,
        free_memory_gb=free_memory_gb(loaded.precision.device),
        threads=torch.get_num_threads(),
        compute_bytes=_weight_bytes(loaded),
    )


def shape_of(spec: RunSpec, loaded: LoadedModel) -> ModelShape:
    """The base, and what is trained of it or on it."""
    info, facts = loaded.info, METHODS[spec.method.method]
    trained = trainable_parameters(spec.method, loaded.model)
    copied = 0
    if facts.rewrites_base:
        shapes = adapted_shapes(spec.method, loaded.model).values()
        copied = _weight_bytes(loaded) * sum(outputs * inputs for outputs, inputs in shapes)
    return ModelShape(
        hidden_size=info.hidden_size,
        layers=info.layers,
        vocab_size=info.vocab_size,
        max_length=info.max_length,
        trainable_parameters=trained,
        trained_base_parameters=trained if facts.trains_base else 0,
        copied_bytes=copied,
    )


def disk_of(spec: RunSpec, loaded: LoadedModel, evaluated: Sequence[int] = ()) -> DiskEstimate:
    """What a run will write; `evaluated` are the steps after which it is evaluated, where they are known."""
    whole_model = METHODS[spec.method.method].makes == "model"
    model_bytes = loaded.info.parameters * _weight_bytes(loaded) if whole_model else None
    snapshots = len(snapshot_steps(evaluated))
    return disk_estimate(shape_of(spec, loaded), spec.training.optimizer, model_bytes, snapshots)


def free_disk_gb(workspace: Workspace) -> float:
    """What a run may still write."""
    return shutil.disk_usage(workspace.runs).free / GB


def disk_problems(
    spec: RunSpec,
    workspace: Workspace,
    loaded: LoadedModel,
    severity: Literal["error", "warning"],
    evaluated: Sequence[int] = (),
) -> list[Problem]:
    """Whether the disk suffices: an error where not even one checkpoint and the result do, else perhaps a warning.

    `evaluated` as in `disk_of`.
    """
    disk, free_gb = disk_of(spec, loaded, evaluated), free_disk_gb(workspace)
    too_small = disk.least_gb > free_gb
    needed_gb = disk.least_gb if too_small else disk.total_gb
    if needed_gb <= free_gb or (severity == "error") != too_small:
        return []
    key = "H10_disk_too_small" if too_small else "H10_disk"
    values = {"needed_gb": needed_gb, "free_gb": free_gb, "checkpoint_gb": disk.checkpoint_gb}
    values |= {"result_gb": disk.result_gb, "snapshots_gb": disk.snapshots_gb}
    shown = {name: f"{amount:.2f}" for name, amount in values.items()}
    return [Problem(key, Place(field="method"), {**shown, "kept": KEPT_CHECKPOINTS}, severity)]


def _weight_bytes(loaded: LoadedModel) -> int:
    return 4 if loaded.precision.compute == "fp32" else 2
