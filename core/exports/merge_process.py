"""One merge in a process of its own: `python -m core.exports.merge_process`, told what to do on its standard input.

Owns that process and what the server hears from it. Its memory is gone when it ends; cancelling ends it at once; and
what loading a model changes for a moment in torch and transformers reaches no training run. Progress, and at the end
the result or the refusal, are lines of JSON on standard output. It ends when its standard input does: with the server.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import Place, Problem, WorkbenchError
from core.exports.agreement import Agreement, Merged
from core.exports.plan import Dtype, ExportPlan, ExportWish, plan_export
from core.exports.processes import run_command
from core.workspace import Workspace

CODE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class MergeJob:
    """What the process is told. Folders are absolute; `target` is the new model's."""

    root: str
    extra_models: tuple[str, ...]
    adapter: str
    dtype: Dtype
    target: str


def merge_elsewhere(
    workspace: Workspace, plan: ExportPlan, target: Path, watch: Callable[[str, float], None]
) -> Merged:
    """Merge in another process; `watch` is told the phase and the share, and may raise to end it.

    Raises:
        WorkbenchError: as `merging.merge`; A20 where the process was ended from outside, which a full memory does.
    """
    extra = tuple(str(folder) for folder in workspace.extra_models)
    job = MergeJob(str(workspace.root), extra, plan.adapter.name, plan.dtype, str(target))
    end: dict[str, Any] = {}
    last = ("starting", 0.0)

    def heard(line: str | None) -> None:
        nonlocal last
        said = _said(line or "")
        if "phase" in said:
            last = (str(said["phase"]), float(said["share"]))
        end.update({} if "phase" in said else said)
        watch(*last)

    command = [sys.executable, "-m", "core.exports.merge_process"]
    environment = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(CODE)}
    run_command(command, heard, environment, json.dumps(asdict(job)))
    if "problems" in end:
        raise WorkbenchError([_problem(values) for values in end["problems"]])
    if "exact" not in end:
        shown = {"name": plan.base.name, "needed": f"{plan.memory_bytes / 1e9:.1f}"}
        raise WorkbenchError([Problem("A20_merge_ended", Place(file=plan.adapter.name), shown)])
    return Merged(Agreement(**end["exact"]), Agreement(**end["written"]))


def main() -> int:
    """Carry out the job of standard input; 0 = merged, 2 = refused."""
    from core.exports.merging import merge

    job = MergeJob(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    workspace = Workspace(Path(job.root), tuple(Path(folder) for folder in job.extra_models))
    try:
        plan = plan_export(workspace, ExportWish(adapter=job.adapter, result="model", dtype=job.dtype))
        merged = merge(workspace, plan, Path(job.target), lambda phase, share: _say(phase=phase, share=share))
    except WorkbenchError as error:
        _say(problems=[asdict(problem) for problem in error.problems])
        return 2
    _say(**asdict(merged))
    return 0


def _say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values, default=str) + "\n")
    sys.stdout.flush()


def _said(line: str) -> dict[str, Any]:
    """What a line says; nothing where a library wrote it."""
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _problem(values: dict[str, Any]) -> Problem:
    return Problem(**values | {"place": Place(**values["place"])})


def _end_with_the_server() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
