"""A process that starts and resumes runs in forks of itself, each of which may kill itself as `kill -9` does.

Importing torch takes seconds, a fork none. It is told one order a line, `{"name": …}` or `{"run_id": …}` with `kill`:
the number of the disk operation (fsync, rename, replace) or step before which to die; null to live. It answers with a
line once the fork is gone: `{"run_id": …, "killed": …}`.

    python -m tests.core.training.victims DATA_DIR
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import peft
import torch

from core.models.catalog import find_model
from core.models.loader import load
from core.settings import LoadSettings
from core.training import run, samples
from core.training.events import StepDone
from core.training.runner import Runner
from core.workspace import Workspace
from tests.core.training.conftest import spec_of

TRAINING = {"epochs": 4, "gradient_accumulation_steps": 2, "evaluations": 3, "seed": 5, "max_grad_norm": 0.5}
WAIT_S = 60.0


def main(root: str) -> None:
    torch.set_num_threads(1)
    assert run and peft, "a fork finds imported what it needs"
    samples.SAMPLE_TOKENS = 2
    place = Workspace(Path(root))
    loaded = load(find_model(place, "tiny"), LoadSettings(precision="fp32"))
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            live(Runner(place), loaded, order)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        newest = max(entry.name for entry in place.runs.iterdir())
        sys.stdout.write(json.dumps({"run_id": order.get("run_id") or newest, "killed": killed}) + "\n")
        sys.stdout.flush()


def live(runner: Runner, loaded: Any, order: dict[str, Any]) -> None:
    if order["kill"] is not None:
        die_before(int(order["kill"]))
    if "run_id" in order:
        runner.resume(order["run_id"], loaded)
    else:
        runner.start(spec_of(name=order["name"], training=TRAINING), loaded)
    assert runner.wait(WAIT_S)


def die_before(moment: int) -> None:
    """Die before the so-many-th operation of all that change a disk, or step that is told."""
    moments = itertools.count(1)

    def counted(call: Any) -> Any:
        def instead(*args: Any, **kwargs: Any) -> Any:
            if next(moments) >= moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return instead

    os.fsync = counted(os.fsync)
    Path.rename = counted(Path.rename)  # type: ignore[method-assign]
    Path.replace = counted(Path.replace)  # type: ignore[method-assign]
    emit, told = Runner._emit, counted(lambda: None)

    def watched(self: Runner, active: Any, event: Any) -> None:
        if isinstance(event, StepDone):
            told()
        emit(self, active, event)

    Runner._emit = watched  # type: ignore[method-assign]


if __name__ == "__main__":
    main(sys.argv[1])
