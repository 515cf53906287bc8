"""How a run ends before its time: being told to stop, diverging, running out of disk or memory, breaking.

Owns the stop signal and what is said of each failure, in words for people where the cause is known; the log gets the
whole traceback in any case. What is kept of the weights is the run's decision.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import Place, Problem
from core.jobs import let_go
from core.models.loader import LoadedModel
from core.models.memory import free_memory_gb, is_out_of_memory, release, used_memory_gb
from core.training.checkpoints import Checkpoint
from core.training.estimate import GB
from core.training.events import Failed, Finished, Phase, Stopped
from core.training.forecasts import proposals_for
from core.training.log import LOG_FILE
from core.training.preparation import Preparation
from core.training.trainer import NotFiniteError

SHOWN_LINES = 10
_NO_MEMORY: dict[Phase, str] = {
    "preparing": "A20_out_of_memory_preparing",
    "evaluating": "A20_out_of_memory_reviewing",
    "sampling": "A20_out_of_memory_reviewing",
    "saving": "A20_out_of_memory_saving",
}  # what is said by the phase in which there was none; any other phase is training
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSALS = (*FULL, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)  # to write; others are bugs
EndEvent = Finished | Stopped | Failed


class StopSignal:
    """How somebody tells a run to stop, from any thread, any number of times; the first one counts."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self.keep = True

    def ask(self, keep: bool = True) -> bool:
        """Ask to stop; False where that was asked before."""
        with self._lock:
            first = not self._asked.is_set()
            if first:
                self.keep = keep
                self._asked.set()
            return first

    @property
    def asked(self) -> bool:
        return self._asked.is_set()


def not_finite(error: NotFiniteError, saved: Sequence[Checkpoint], elapsed_s: float) -> Stopped:
    """The run diverged; its checkpoints stay."""
    good = max((each.step for each in saved), default=0)
    every = sorted(set(error.lines))
    lines = ", ".join(map(str, every[:SHOWN_LINES]))
    if len(every) > SHOWN_LINES:
        lines += f" … (+{len(every) - SHOWN_LINES})"
    key = "H02_not_finite" if good else "H02_not_finite_at_once"
    problem = Problem(key, values={"step": error.step, "lines": lines, "good": good})
    return Stopped("not_finite", None, 0, elapsed_s, (problem,))


@dataclass(frozen=True)
class Circumstances:
    """How things stood when a run broke: what it had prepared, what it was doing, what it had on disk and in memory.

    `began_gb` is what the process held when the run began.
    """

    folder: Path
    model: LoadedModel
    prepared: Preparation | None
    phase: Phase
    saved: Sequence[Checkpoint]
    began_gb: float
    elapsed_s: float


def broken(error: Exception, run: Circumstances) -> Stopped | Failed:
    """The run met an error: what the disk refused and full memory are named, anything else is in the log."""
    held_gb = used_memory_gb(run.model.precision.device) - run.began_gb
    refused = _refusal_of_the_disk(error)
    try:
        with (run.folder / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write("".join(traceback.format_exception(error)))
    except OSError as of_the_log:
        refused = refused or _refusal_of_the_disk(of_the_log)
    if refused:
        return _paused(refused, run.folder, run.prepared, run.elapsed_s)
    if is_out_of_memory(error):
        return _out_of_memory(error, run, held_gb)
    return Failed((), f"{run.folder.name}/{LOG_FILE}", run.elapsed_s)


def _out_of_memory(error: Exception, run: Circumstances, held_gb: float) -> Failed:
    """What was tried, what that had taken, what is free now that it is given back, and settings that need less."""
    asked_gb = _asked_gb(error)
    let_go(error)
    release()
    free_gb = free_memory_gb(run.model.precision.device)
    values: dict[str, Any] = {"held_gb": round(max(0.0, held_gb), 2), "free_gb": round(free_gb, 2)}
    place = Place(field="micro_batch_size")
    if run.prepared is None:
        problems = [Problem("A20_out_of_memory_reading", values=values)]
    else:
        plan = run.prepared.plan
        needed_gb = max(held_gb + asked_gb, plan.estimate.total_gb)
        offered = proposals_for(run.prepared, run.model, needed_gb)
        values |= {
            "needed_gb": round(needed_gb, 2),
            "micro": 1 if plan.blocks else plan.micro_batch_size,
            "length": plan.max_length,
            "proposals": [proposal.changes for proposal in offered],
        }
        problems = [Problem(_NO_MEMORY.get(run.phase, "A20_out_of_memory_training"), place, values)]
    good = max((each.step for each in run.saved), default=0)
    if good:
        problems.append(Problem("A20_checkpoint_kept", values={"step": good}, severity="warning"))
    return Failed(tuple(problems), "", run.elapsed_s)


def _asked_gb(error: BaseException | None) -> float:
    """The memory that was asked for in vain, where the error says so."""
    found = re.search(r"tried to allocate (\d+(?:\.\d+)?) ?(\w+)", str(error), re.IGNORECASE)
    units = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    return float(found[1]) * units.get(found[2], 1) / GB if found else 0.0


def _paused(refused: OSError, folder: Path, prepared: Preparation | None, elapsed_s: float) -> Stopped:
    """The run cannot be written down any more. It goes on from its last checkpoint when the disk is mended."""
    if refused.errno not in FULL:
        reason = {"reason": os.strerror(refused.errno or 0)}
        return Stopped("cannot_write", None, 0, elapsed_s, (Problem("A14_cannot_write_run", values=reason),))
    saved = prepared.plan.estimate if prepared else None
    needed = (saved.adapter_gb + saved.optimizer_gb) * GB if saved else 0
    shown = {"needed_mb": math.ceil(needed / 2**20) or 1, "free_mb": shutil.disk_usage(folder).free // 2**20}
    return Stopped("disk_full", None, 0, elapsed_s, (Problem("A13_disk_full_run", values=shown),))


def _refusal_of_the_disk(error: BaseException) -> OSError | None:
    """What the disk refused, where that is among the causes; safetensors gives only the number, in its text."""
    link: BaseException | None = error
    while link is not None:
        told = re.search(r"\(os error (\d+)\)", str(link))
        number = link.errno if isinstance(link, OSError) else int(told[1]) if told else None
        if number in REFUSALS:
            return OSError(number, os.strerror(number))
        link = link.__cause__ or link.__context__
    return None
