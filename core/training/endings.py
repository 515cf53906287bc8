"""How a run ends before its time: being told to stop, diverging, running out of disk or memory, breaking.

Owns the stop signal and what is said of each failure, in words for people where the cause is known; the log gets the
whole traceback in any case. What is kept of the weights is the run's decision.
"""

from __future__ import annotations

import errno
import shutil
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from core.errors import Problem
from core.training.checkpoints import Checkpoint
from core.training.events import Failed, Finished, Stopped
from core.training.log import LOG_FILE
from core.training.preparation import Preparation
from core.training.trainer import NotFiniteError

SHOWN_LINES = 10
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
    lines = ", ".join(str(line) for line in error.lines[:SHOWN_LINES])
    key = "H02_not_finite" if good else "H02_not_finite_at_once"
    problem = Problem(key, values={"step": error.step, "lines": lines, "good": good})
    return Stopped("not_finite", None, 0, elapsed_s, (problem,))


def broken(error: Exception, folder: Path, prepared: Preparation | None, elapsed_s: float) -> Stopped | Failed:
    """The run met an error: a full disk or memory is named, anything else is in the log."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    try:
        with (folder / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write("".join(traceback.format_exception(error)))
    except OSError:
        full = True  # nothing can be written at all
    if full:
        free_mb = shutil.disk_usage(folder).free // 2**20
        return Stopped("disk_full", None, 0, elapsed_s, (Problem("A13_disk_full_run", values={"free_mb": free_mb}),))
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        micro, length = (prepared.plan.micro_batch_size, prepared.plan.max_length) if prepared else (0, 0)
        return Failed((Problem("A20_out_of_memory", values={"micro": micro, "length": length}),), "", elapsed_s)
    return Failed((), f"{folder.name}/{LOG_FILE}", elapsed_s)
