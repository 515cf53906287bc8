"""What an export does, from the wish to the thing made; told how far it is, and ended by what its watch raises.

Owns the order of the steps (merge, convert, pack, send), their shares of the whole, and the folder in which what is
only needed on the way lies. Each step is a module of its own.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import WorkbenchError, refusal
from core.exports import llama_cpp
from core.exports.agreement import Merged
from core.exports.merge_process import merge_elsewhere
from core.exports.plan import ExportPlan, ExportWish
from core.jobs import Watch, asks
from core.training.result_name import check_result_name
from core.workspace import Workspace
from core.zip_output import add_file, new_folder_in, new_zip

if TYPE_CHECKING:
    from core.exports.push import PushPlan

MERGE_SHARE = 0.8  # of an export that goes on after the merge


@dataclass(frozen=True)
class Step:
    """Where an export stands: `exports.phase.<phase>`, the share of the whole, the last words of a program."""

    phase: str
    share: float
    line: str = ""


@dataclass(frozen=True)
class Done:
    """What came of an export: a file to be fetched, a model in `models/`, or the address of a repository."""

    file: Path | None = None
    model: str | None = None
    url: str | None = None
    merged: Merged | None = None


def refuse_before(workspace: Workspace, wish: ExportWish, plan: ExportPlan, promised: Collection[str]) -> None:
    """Raises what can be known before an export is begun."""
    if plan.problems:
        raise WorkbenchError(plan.problems)
    if wish.result == "model":
        problem = check_result_name(workspace, "full", wish.name, promised)
        if problem:
            raise WorkbenchError([problem])
    if wish.result in ("gguf", "adapter_gguf"):
        if wish.result == "adapter_gguf":
            llama_cpp.refuse_unconvertible(plan.adapter)
        _script(wish)


def carry_out(workspace: Workspace, wish: ExportWish, plan: ExportPlan, outbox: Path, watch: Watch[Step]) -> Done:
    """Make what is wished; a file comes to lie in a new folder within `outbox`."""
    if wish.result == "model":
        merged = _merge(workspace, plan, workspace.models / wish.name, watch, 1.0)
        return Done(model=wish.name, merged=merged)
    if wish.result == "adapter_gguf":
        return Done(file=_converted(plan.adapter.folder, wish, plan, outbox, watch, 0.0))
    with workspace.scratch() as scratch:
        folder = scratch / f"{plan.base.name}-{plan.adapter.name}"
        merged = _merge(workspace, plan, folder, watch, MERGE_SHARE)
        if wish.result == "gguf":
            file = _converted(folder, wish, plan, outbox, watch, MERGE_SHARE)
        else:
            file = _packed(folder, outbox, watch)
        return Done(file=file, merged=merged)


def bring(workspace: Workspace, plan: PushPlan, adapter: str, model: str, watch: Watch[Step]) -> Done:
    """Send an adapter or a model to a hub."""
    from core.exports.push import parts_of, push

    told = Step("hashing", 0.0)
    watch(told)

    def sent(count: int) -> None:
        nonlocal told
        told = Step("sending", min(1.0, count / max(1, plan.bytes)))

    return Done(url=push(plan, parts_of(workspace, adapter, model), sent, asks(watch, lambda: told)))


def _merge(workspace: Workspace, plan: ExportPlan, target: Path, watch: Watch[Step], share: float) -> Merged:
    return merge_elsewhere(workspace, plan, target, lambda phase, done: watch(Step(phase, share * done)))


def _converted(
    folder: Path, wish: ExportWish, plan: ExportPlan, outbox: Path, watch: Watch[Step], share: float
) -> Path:
    """A folder as a GGUF file, by llama.cpp's converter."""
    outfile = new_folder_in(outbox) / f"{plan.adapter.name}.gguf"
    if wish.result == "adapter_gguf":
        command = llama_cpp.adapter_command(folder, plan.base.folder, outfile, wish.gguf_type, _script(wish))
    else:
        command = llama_cpp.model_command(folder, outfile, wish.gguf_type, _script(wish))
    last = ""

    def heard(line: str | None) -> None:
        nonlocal last
        last = line or last
        made = outfile.stat().st_size / max(1, plan.result_bytes) if outfile.is_file() else 0.0
        watch(Step("converting", share + (1 - share) * min(1.0, made), last))

    try:
        llama_cpp.convert(command, outfile, heard)
    except BaseException:
        shutil.rmtree(outfile.parent, ignore_errors=True)  # whatever the converter left in it
        raise
    return outfile


def _packed(folder: Path, outbox: Path, watch: Watch[Step]) -> Path:
    """A model's folder as a zip."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    whole, wrote = sum(file.stat().st_size for file in files) or 1, 0

    def tell(count: int) -> None:
        nonlocal wrote
        wrote += count
        watch(Step("packing", MERGE_SHARE + (1 - MERGE_SHARE) * wrote / whole))

    with new_zip(outbox, f"{folder.name}.zip") as archive:
        _fill(archive, files, folder.name, tell)
    return Path(str(archive.filename))


def _fill(archive: zipfile.ZipFile, files: list[Path], name: str, tell: Callable[[int], None]) -> None:
    for file in files:
        add_file(archive, file, f"{name}/{file.name}", tell)


def _script(wish: ExportWish) -> Path:
    """llama.cpp's converter for a wish.

    Raises:
        WorkbenchError: M11 where it is not here.
    """
    found = llama_cpp.find_converters()
    script = found.adapter if wish.result == "adapter_gguf" else found.model
    if script is None:
        name = llama_cpp.ADAPTER_CONVERTER if wish.result == "adapter_gguf" else llama_cpp.MODEL_CONVERTER
        raise refusal("M11_no_converter", script=name, variable=llama_cpp.FOLDER_VARIABLE)
    return script
