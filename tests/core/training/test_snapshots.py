"""The adapters of evaluated steps stay when their checkpoints go, whatever moment a process is killed at.

That a killed run leaves the snapshots of one that nobody killed is in `forks.same`, so every test of law 5 sees it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.training.endings import StopSignal
from core.training.events import Event, Finished, StepDone
from core.training.snapshots import MOST_SNAPSHOTS, go_back, rotate, saved_adapters, snapshot_steps
from tests.core.training.conftest import Outcome, spec_of


def checkpoint(run: Path, step: int, adapter: bool = True) -> Path:
    folder = run / "checkpoints" / f"step-{step:06d}"
    folder.mkdir(parents=True)
    (folder / "learner.pt").write_text(str(step))
    if adapter:
        (folder / "adapter").mkdir()
        (folder / "adapter" / "adapter_model.safetensors").write_text(str(step))
    return folder


def contents(run: Path) -> dict[int, str]:
    return {step: (folder / "adapter_model.safetensors").read_text() for step, folder in saved_adapters(run).items()}


def visible(run: Path) -> set[int]:
    return {int(entry.name[5:]) for entry in (run / "checkpoints").glob("step-*")}


def test_the_newest_two_and_the_best_stay_and_of_evaluated_ones_the_adapter(tmp_path: Path) -> None:
    for step in range(1, 8):
        checkpoint(tmp_path, step)
    rotate(tmp_path, keep_steps={2}, evaluated={2, 3, 5})
    assert visible(tmp_path) == {2, 6, 7}
    assert contents(tmp_path) == {2: "2", 3: "3", 5: "5", 6: "6", 7: "7"}
    assert not [entry for entry in (tmp_path / "checkpoints").iterdir() if entry.name.startswith(".")]


def test_a_checkpoint_of_a_whole_model_leaves_nothing(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint(tmp_path, step, adapter=False)
    rotate(tmp_path, keep_steps=(), evaluated={1, 2, 3})
    assert (visible(tmp_path), saved_adapters(tmp_path)) == ({2, 3}, {})


@pytest.mark.parametrize("moved", [False, True])
def test_what_was_being_moved_is_moved_when_the_run_goes_on(tmp_path: Path, moved: bool) -> None:
    leaving = checkpoint(tmp_path, 3).rename(tmp_path / "checkpoints" / ".step-000003.kept")
    (tmp_path / "snapshots").mkdir()
    if moved:
        (leaving / "adapter").rename(tmp_path / "snapshots" / "step-000003")
    go_back(tmp_path, 4)
    assert contents(tmp_path) == {3: "3"}
    assert not leaving.exists()


def test_going_back_to_a_step_removes_those_after_it(tmp_path: Path) -> None:
    for step in range(1, 6):
        checkpoint(tmp_path, step)
    rotate(tmp_path, keep_steps=(), evaluated=range(6))
    (tmp_path / "snapshots" / ".step-000009.deleted").mkdir()
    go_back(tmp_path, 2)
    assert {entry.name for entry in (tmp_path / "snapshots").iterdir()} == {"step-000001", "step-000002"}


class Killed(BaseException):
    """As a kill: nobody handles it."""


def killed_at(moment: int, work: Callable[[], None]) -> bool:
    """Do the work up to its operation on the disk of this number; whether it had so many."""
    count = 0

    def counted(call: Any) -> Any:
        def instead(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == moment:
                raise Killed
            return call(*args, **kwargs)

        return instead

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "mkdir", "unlink", "rmdir"):
            patch.setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        except Killed:
            return True
    return False


def test_killed_before_any_operation_a_rotation_loses_nothing_and_shows_nothing_half(tmp_path: Path) -> None:
    for moment in itertools.count(1):
        run = tmp_path / str(moment)
        for step in range(1, 6):
            checkpoint(run, step)
        killed = killed_at(moment, lambda run=run: rotate(run, keep_steps=(), evaluated={1, 3}))  # type: ignore[misc]
        assert all((run / "checkpoints" / f"step-{step:06d}" / "learner.pt").exists() for step in visible(run))
        go_back(run, 5)
        rotate(run, keep_steps=(), evaluated={1, 3})
        assert (contents(run), visible(run)) == ({1: "1", 3: "3", 4: "4", 5: "5"}, {4, 5})
        if not killed:
            break
    assert moment > 10


@pytest.mark.parametrize("count", [0, 1, MOST_SNAPSHOTS, MOST_SNAPSHOTS + 1, 1000])
def test_at_most_so_many_are_kept_with_both_ends(count: int) -> None:
    evaluated = tuple(range(10, 10 + count))
    kept = snapshot_steps(evaluated)
    assert len(kept) == min(count, MOST_SNAPSHOTS)
    assert kept >= {*evaluated[:1], *evaluated[-1:]}


def test_a_run_keeps_the_adapter_of_every_evaluated_step_and_a_discarded_one_none(
    train: Callable[..., Outcome],
) -> None:
    whole = train(spec_of(training={"epochs": 4, "evaluations": 6}))
    assert isinstance(whole.end, Finished)
    reviewed = {event.step for event in whole.events if type(event).__name__ == "EvalDone"}
    assert reviewed <= set(saved_adapters(whole.folder)) and len(reviewed) == 6

    def discard(event: Event, stop: StopSignal) -> None:
        if isinstance(event, StepDone) and event.step == 6:
            stop.ask(keep=False)

    assert saved_adapters(train(spec_of(training={"epochs": 4, "evaluations": 6}), discard).folder) == {}
