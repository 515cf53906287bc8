"""Trackers: where the figures of a run are written beside its own history, for programs that draw them.

Owns which ones there are and TensorBoard's files, which stay in the run's folder (`tensorboard/`). All others are what
transformers connects to (https://huggingface.co/docs/transformers/main_classes/callback); they are offered where their
package is installed, may send figures to a server, and are used only where a spec names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import Place, Problem, excerpt
from core.training.events import END_EVENTS, EvalDone, Event, StepDone

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from core.training.log import Sink

TENSORBOARD = "tensorboard"
# By name, the package that must be there.
ELSEWHERE = {
    "clearml": "clearml",
    "comet_ml": "comet_ml",
    "dvclive": "dvclive",
    "mlflow": "mlflow",
    "neptune": "neptune",
    "swanlab": "swanlab",
    "trackio": "trackio",
    "wandb": "wandb",
}


def available_trackers() -> tuple[str, ...]:
    """The names that a spec may use here; TensorBoard's first."""
    known = {TENSORBOARD: "tensorboard", **ELSEWHERE}
    return tuple(name for name, package in known.items() if find_spec(package))


def tracker_problems(names: Sequence[str]) -> list[Problem]:
    """What is wrong with the names in a spec."""
    known = available_trackers()
    unknown = ", ".join(excerpt(name) for name in names if name not in known)
    values = {"names": unknown, "known": ", ".join(known) or "–", "suggested": [n for n in names if n in known]}
    return [Problem("H14_tracker_missing", Place(field="trackers"), values)] if unknown else []


def also_drawn(sink: Sink, names: Sequence[str], folder: Path, after_step: int) -> Sink:
    """A sink that also writes to TensorBoard, where `names` has it.

    Of a run that goes on after a step, what it wrote of later ones before is hidden.
    """
    if TENSORBOARD not in names:
        return sink
    opened: list[SummaryWriter] = []

    def emit(event: Event) -> None:
        sink(event)
        if isinstance(event, StepDone | EvalDone) and not opened:
            from torch.utils.tensorboard import SummaryWriter

            opened.append(SummaryWriter(str(folder / TENSORBOARD), purge_step=after_step + 1))
        for writer in opened:
            _write(writer, event)

    return emit


def _write(writer: SummaryWriter, event: Event) -> None:
    figures: dict[str, float | None] = {}
    if isinstance(event, StepDone):
        names = ("loss", "grad_norm", "learning_rate", "tokens", "step_s", "memory_gb")
        figures = {f"train/{name}": getattr(event, name) for name in names}
    elif isinstance(event, EvalDone):
        figures = {"validation/loss": event.loss, "validation/accuracy": event.accuracy}
    for name, value in figures.items():
        if value is not None:
            writer.add_scalar(name, value, event.step)  # type: ignore[union-attr]
    if isinstance(event, END_EVENTS):
        with suppress(OSError):  # how the run ended is kept in its own history
            writer.close()
    elif isinstance(event, EvalDone):
        writer.flush()
