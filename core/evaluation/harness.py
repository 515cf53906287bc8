"""EleutherAI's lm-evaluation-harness over the loaded model: an extra that a person may install beside the workbench.

Owns whether it is there and how to get it, its list of tasks, and running some of them on a module tree of our own, so
that an adapter is measured as chat serves it. Its tasks come without their data: those are data sets on Hugging Face,
fetched (if allowed) by a process of its own, because the network stays closed in this one. Tasks that run code are
refused by lm-eval itself.

lm-eval's `simple_evaluate` is not used: it sets the seeds of the whole process, under a training run too.
"""

from __future__ import annotations

import importlib.metadata
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import Place, excerpt, refusal
from core.exports.processes import run_command
from core.jobs import Cancelled

if TYPE_CHECKING:
    from core.evaluation.harness_model import Report
    from core.models.loader import LoadedModel

PACKAGE = "lm-eval"
REQUIREMENT = f"{PACKAGE}==0.4.13"  # brings neither torch nor CUDA: those are its extra `hf`, which is not needed here
FETCH = "import sys; from lm_eval.tasks import TaskManager; TaskManager().load(sys.argv[1:])"
ONLINE = {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
SEED = 1234  # lm-eval's own, of the examples before a question
log = logging.getLogger("workbench.evaluation")


@dataclass(frozen=True)
class HarnessStatus:
    """The version that is installed, None for none, and the command that installs it into this environment."""

    version: str | None
    install_command: str


@dataclass(frozen=True)
class HarnessScore:
    """One measure of one task, over so many of its rows, as lm-eval names them."""

    task: str
    measure: str
    value: float
    rows: int


def harness_status() -> HarnessStatus:
    """Whether lm-eval is there; nothing of it is loaded."""
    version = importlib.metadata.version(PACKAGE) if find_spec("lm_eval") else None
    return HarnessStatus(version, f"{sys.executable} -m pip install {REQUIREMENT}")


def harness_tasks() -> tuple[str, ...]:
    """The names of all tasks and groups of tasks that lm-eval knows; the first time takes seconds.

    Raises:
        WorkbenchError: A24 where lm-eval is not installed.
    """
    return tuple(_manager().all_tasks)


def check_tasks(tasks: Sequence[str]) -> None:
    """Refuse names that lm-eval does not know, before a model is loaded for them.

    Raises:
        WorkbenchError: A24 where lm-eval is not installed, or where it does not know a task, or none is given.
    """
    unknown = sorted(set(tasks) - set(harness_tasks()))
    if unknown or not tasks:
        raise refusal("A24_harness_unknown_task", Place(excerpt=excerpt(", ".join(unknown))), count=len(unknown))


def run_harness(
    loaded: LoadedModel,
    folder: Path | None,
    tasks: Sequence[str],
    rows: int | None,
    may_download: bool,
    watch: tuple[Report, Callable[[], bool]],
) -> tuple[HarnessScore, ...]:
    """Run tasks on the base model, or on it under the adapter in `folder`; at most so many rows of each.

    `watch` are a report of progress and the wish to end.

    Raises:
        WorkbenchError: A24 as `check_tasks`, and where a task's data is neither here nor allowed to be downloaded, or
            could not be; as `ServingTrees.apply` for the adapter.
        Cancelled: where the wish to end says so.
    """
    from core.evaluation.loss import Column

    report, cancelled = watch
    check_tasks(tasks)
    column = Column.of(loaded, "harness", folder)
    task_dict = _with_data(_manager(), list(tasks), may_download, cancelled)
    from lm_eval.evaluator import evaluate

    model = _as_lm(loaded, column, report, cancelled)
    found = evaluate(model, task_dict, limit=rows, bootstrap_iters=0, log_samples=False)
    return _scores(found)


@cache
def _manager() -> Any:
    if not find_spec("lm_eval"):
        status = harness_status()
        raise refusal("A24_harness_not_installed", command=status.install_command)
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _as_lm(loaded: LoadedModel, column: Any, report: Report, cancelled: Callable[[], bool]) -> Any:
    """Our methods under lm-eval's base class, which cuts contexts from continuations and is what it checks for."""
    from lm_eval.api.model import TemplateLM

    from core.evaluation.harness_model import HarnessModel

    return type("WorkbenchLM", (HarnessModel, TemplateLM), {})(loaded, column, report, cancelled)


def _with_data(manager: Any, tasks: list[str], may_download: bool, cancelled: Callable[[], bool]) -> Any:
    """The tasks with their data, from this machine or fetched first; questions without examples unless a task has some.

    Raises:
        WorkbenchError: A24 where the data is not here, and may not or cannot be fetched.
        Cancelled: where `cancelled` says so.
    """
    try:
        loaded = manager.load(tasks)
    except (OSError, ValueError) as error:  # what `datasets` raises without a network, by kind of data set
        log.info("data of lm-eval's tasks is missing: %s", error)
        if not may_download:
            raise refusal("A24_harness_needs_data", Place(excerpt=excerpt(", ".join(tasks)))) from error
        _fetch(tasks, cancelled)
        loaded = manager.load(tasks)
    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=SEED)
    return loaded


def _fetch(tasks: Sequence[str], cancelled: Callable[[], bool]) -> None:
    """Let a process with an open network load the tasks once, which leaves their data in Hugging Face's cache."""
    last = [""]

    def heard(line: str | None) -> None:
        if cancelled():
            raise Cancelled
        last[0] = line.strip() if line and line.strip() else last[0]

    if run_command([sys.executable, "-c", FETCH, *tasks], heard, ONLINE):
        raise refusal("A24_harness_no_data", Place(excerpt=excerpt(", ".join(tasks))), reason=excerpt(last[0]))


def _scores(found: dict[str, Any]) -> tuple[HarnessScore, ...]:
    """The numbers among lm-eval's results, which it keys `measure,filter`; those of groups first."""
    scores = []
    for task, values in (found.get("groups", {}) | found["results"]).items():
        rows = found.get("n-samples", {}).get(task, {}).get("effective", values.get("sample_len", 0))
        for key, value in values.items():
            measure, comma, kept = key.partition(",")
            if comma and isinstance(value, int | float) and not measure.endswith("_stderr"):
                name = measure if kept == "none" else f"{measure} ({kept})"
                scores.append(HarnessScore(task, name, float(value), int(rows)))
    return tuple(scores)
