"""What an export takes and gives, told before anything is loaded: base, format, memory, disk.

Owns the wish itself, finding the base of an adapter among the models there are, and the estimate. Whether the adapter's
tensors really fit is found out by the merge (`merging`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

from core.adapters.store import AdapterInfo, find_adapter
from core.adapters.validity import read_adapter
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.models import memory
from core.models.arrival import check_disk
from core.models.catalog import ModelInfo, list_models, structure, structure_of
from core.models.weight_files import read_header
from core.settings import Settings
from core.workspace import Workspace, free_name

Dtype = Literal["fp32", "bf16", "fp16"]
GgufType = Literal["q8_0", "f16", "bf16", "f32"]
Result = Literal["model", "model_zip", "gguf", "adapter_gguf"]
MERGES: tuple[Result, ...] = ("model", "model_zip", "gguf")
DTYPE_BYTES: dict[Dtype, float] = {"fp32": 4, "bf16": 2, "fp16": 2}
GGUF_BYTES: dict[GgufType, float] = {"q8_0": 34 / 32, "f16": 2, "bf16": 2, "f32": 4}  # q8_0: 32 numbers and their scale
FP32_BYTES = 4
SPARE_SHARE = 1.15  # of the weights: activations of a few short texts, and one layer's change at a time
LIBRARIES_BYTES = 600_000_000  # what the process holds before it reads a weight


class ExportWish(Settings):
    """What is to be made of an adapter. `name` is that of a new model in `models/`; empty where none is made there.

    `dtype` is the number format of a merged model, None for the one its base is stored in.
    """

    adapter: str
    result: Result
    name: str = ""
    dtype: Dtype | None = None
    gguf_type: GgufType = "q8_0"


@dataclass(frozen=True)
class ExportPlan:
    """An export before it begins. Bytes: the most memory it needs at once (in a process of its own), the disk it takes
    on its way, and what comes of it. `problems` keep it from being started.
    """

    adapter: AdapterInfo
    base: ModelInfo
    dtype: Dtype
    memory_bytes: int
    disk_bytes: int
    result_bytes: int
    problems: tuple[Problem, ...] = ()


def plan_export(workspace: Workspace, wish: ExportWish) -> ExportPlan:
    """What an export takes.

    Raises:
        WorkbenchError: M25 where there is no such adapter, its own errors, M19 where its base is not here; for what is
            merged M16 where the base is stored quantised and M18 where the adapter cannot be merged at all.
    """
    info = find_adapter(workspace, wish.adapter)
    if info.errors:
        raise WorkbenchError(info.errors)
    merges = wish.result in MERGES
    if merges:
        refuse_unmergeable(info)
    base = base_of(workspace, info)
    if merges and base.quantization:
        raise refusal("M16_merge_into_quantised", Place(file=base.name), base=base.name, adapter=info.name)
    own: Dtype = next((each for each in DTYPE_BYTES if each == base.dtype), "bf16")
    dtype = wish.dtype or own
    merged = int(base.parameters * DTYPE_BYTES[dtype])
    memory_bytes = int(base.parameters * FP32_BYTES * SPARE_SHARE) + 2 * info.bytes + LIBRARIES_BYTES
    gguf = int(base.parameters * GGUF_BYTES[wish.gguf_type])
    disk, result = {
        "model": (merged, merged),
        "model_zip": (2 * merged, merged),
        "gguf": (merged + gguf, gguf),
        "adapter_gguf": (info.bytes, info.bytes),
    }[wish.result]
    plan = ExportPlan(info, base, dtype, memory_bytes if merges else 0, disk, result)
    return replace(plan, problems=_problems(plan, workspace))


def refuse_unmergeable(info: AdapterInfo) -> None:
    """Raises M18 for an adapter that no weight of the base can take up."""
    if "not_mergeable" in info.limits:
        raise refusal("M18_not_mergeable", Place(file=info.name), name=info.name, count=info.virtual_tokens)


def new_biases(info: AdapterInfo, base: ModelInfo) -> list[str]:
    """The layers without a bias to which an adapter adds one: no model of the base's architecture can hold them.

    Only what the headers of both files show: a layer that the base's files call otherwise is left to the merge.
    """
    files = read_adapter(info.folder)
    if files.fields is None or not files.fields.values.get("lora_bias"):
        return []
    headers = [read_header(file) for file in base.weight_files]
    own = {tensor.name for found in headers if isinstance(found, list) for tensor in found}
    return [module for module in files.parts if f"{module}.weight" in own and f"{module}.bias" not in own]


def base_of(workspace: Workspace, info: AdapterInfo) -> ModelInfo:
    """The base that an adapter was made for, among the models that can be loaded: by its name, else by its structure.

    Raises:
        WorkbenchError: M19 where it is not here.
    """
    models = [model for model in list_models(workspace) if model.loadable]
    wanted = PurePosixPath(info.base_name).name.casefold()
    fitting = models
    if info.base_fingerprint:
        fitting = [model for model in models if structure(model) == structure_of(info.base_fingerprint)]
    for model in sorted(fitting, key=lambda model: model.name.casefold() != wanted):
        if model.name.casefold() == wanted or info.base_fingerprint:
            return model
    known = excerpt(", ".join(model.name for model in models)) or "–"
    raise refusal(
        "M19_base_not_here", Place(file=info.name), adapter=info.name, base=info.base_name or "?", known=known
    )


def merged_name(workspace: Workspace, info: AdapterInfo) -> str:
    """A free name for the model that comes of an adapter."""
    base = PurePosixPath(info.base_name).name
    taken = [model.name for model in list_models(workspace)]
    return free_name(workspace.models, f"{base}-{info.name}" if base else info.name, promised=taken)


def _problems(plan: ExportPlan, workspace: Workspace) -> tuple[Problem, ...]:
    """M17 for too little memory, A13 for too little disk."""
    found: list[Problem] = []
    needed_gb, free_gb = plan.memory_bytes / memory.GB, memory.free_memory_gb()
    if needed_gb > free_gb:
        shown = {"name": plan.base.name, "needed": f"{needed_gb:.1f}", "free": f"{free_gb:.1f}"}
        found.append(Problem("M17_merge_too_big", Place(file=plan.base.name), shown))
    try:
        check_disk(workspace.models, plan.disk_bytes)
    except WorkbenchError as error:
        found += error.problems
    return tuple(found)
