"""Checkpoints that are not as they were written: each change is noticed, the newest whole one used, none is lost."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.training import checkpoints
from core.training.checkpoints import MANIFEST, Checkpoint, latest_checkpoint, list_checkpoints, read_manifest
from core.training.events import Logged, Resumed, Saved, StepDone, read_events
from core.training.progress import Status
from core.training.runner import Runner
from core.workspace import Workspace, file_sha256
from tests.core.training.conftest import spec_of

WAIT_S = 60.0
CUTS, FLIPS = 20, 50
Mutation = Callable[[], None]


@pytest.fixture
def stopped(place: Workspace, loaded: Any) -> tuple[Runner, str]:
    """A run that was stopped after its fifth step, and who resumes it."""
    runner = Runner(place)
    emit = runner._emit

    def stopping(active: Any, event: Any) -> None:
        emit(active, event)
        if isinstance(event, StepDone) and event.step == 5:
            runner.stop(active.run_id)

    runner._emit = stopping  # type: ignore[method-assign]
    run_id = runner.start(spec_of(training={"epochs": 4, "evaluations": 3}), loaded)
    assert runner.wait(WAIT_S)
    return Runner(place), run_id


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def mutations(newest: Path, before: Path) -> Iterator[tuple[str, Mutation]]:
    """Ways in which a checkpoint can be harmed: cut short, a bit flipped, a file gone, taken from another step."""
    draw = random.Random(7)
    files = contents(newest)
    names = list(files)
    for number in range(CUTS):
        file = names[number % len(names)]
        size = len(files[file])
        yield f"cut {file.name}", lambda file=file, at=draw.randrange(size): os.truncate(file, at)  # type: ignore[misc]
    for number in range(FLIPS):
        file = names[number % len(names)]
        flipped = bytearray(files[file])
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        yield f"flip {file.name}", lambda file=file, flipped=flipped: file.write_bytes(flipped)  # type: ignore[misc]
    for file in names:
        yield f"delete {file.name}", file.unlink
        other = before / file.relative_to(newest)
        if other.read_bytes() != files[file]:
            yield f"swap {file.name}", lambda file=file, other=other: file.write_bytes(other.read_bytes())  # type: ignore[misc]
    yield from (
        (f"manifest {text[:30]}", lambda text=text: (newest / MANIFEST).write_text(text)) for text in manifests(newest)
    )  # type: ignore[misc]


def manifests(newest: Path) -> Iterator[str]:
    """Manifests that are no JSON, no mapping, of another step or format, or that name less or more than there is."""
    whole = json.loads((newest / MANIFEST).read_text())
    yield from ("", "{", "[]", "null", "7", "\x00", "{}", json.dumps({"step": 5}))
    wrong: dict[str, list[Any]] = {
        "step": [4, "5", None, -5, 5.5],
        "files": [{}, [], None, "x", {"optimizer.pt": None}, {"../../spec.yaml": "0"}, {**whole["files"], "none": ""}],
        "format_version": [2, None],
        "versions": [None, {"torch": "9"}],
        "dataset_sha256": ["", None],
        "sha256": ["", None, 0],
    }
    for key, values in wrong.items():
        yield json.dumps({name: value for name, value in whole.items() if name != key})
        yield from (json.dumps({**whole, key: value}) for value in values)
    yield json.dumps({**whole, "more": 1})


def test_every_one_of_a_hundred_changes_is_noticed_and_the_newest_whole_checkpoint_found(
    stopped: tuple[Runner, str], place: Workspace
) -> None:
    folder = place.runs / stopped[1] / "checkpoints"
    before, newest = list_checkpoints(folder)[-2:]
    files = contents(newest.folder)
    count = 0
    for what, mutate in mutations(newest.folder, before.folder):
        mutate()
        assert read_manifest(newest) is None, what
        assert latest_checkpoint(folder) == before, what
        for file, content in files.items():
            if not file.exists() or file.read_bytes() != content:
                file.write_bytes(content)
        assert read_manifest(newest), "mended again"
        count += 1
    assert count >= 100
    newest.folder.rename(folder / "step-000009")
    assert read_manifest(Checkpoint(9, folder / "step-000009")) is None, "of another step"


@pytest.mark.parametrize("harmed", ["optimizer.pt", MANIFEST])
def test_a_damaged_checkpoint_is_named_kept_aside_and_made_again(
    stopped: tuple[Runner, str], place: Workspace, loaded: Any, harmed: str
) -> None:
    runner, run_id = stopped
    folder = place.runs / run_id / "checkpoints"
    (folder / "step-000005" / harmed).unlink()
    found = runner.resumption(run_id, loaded)
    assert (found.step, found.damaged) == (4, ("step-000005",))
    runner.resume(run_id, loaded)
    assert runner.wait(WAIT_S)
    assert runner.snapshot(run_id).status == Status.FINISHED
    told = read_events(place.runs / run_id / "events.jsonl").events
    assert ("training.log.damaged_checkpoint", {"name": "step-000005"}) in [
        (event.key, event.values) for event in told if isinstance(event, Logged)
    ]
    again = next(number for number, event in enumerate(told) if isinstance(event, Resumed))
    assert 5 in [event.step for event in told[again:] if isinstance(event, Saved)], "whole in the damaged one's place"
    aside = folder / "damaged-step-000005"
    assert aside.is_dir() and not (aside / harmed).exists()
    assert [each.step for each in list_checkpoints(folder)][-1] == 8


def test_where_no_checkpoint_is_whole_the_run_starts_again_and_says_so(
    stopped: tuple[Runner, str], place: Workspace, loaded: Any
) -> None:
    runner, run_id = stopped
    folder = place.runs / run_id / "checkpoints"
    for checkpoint in list_checkpoints(folder):
        (checkpoint.folder / "rng_state.pth").write_bytes(b"")
    found = runner.resumption(run_id, loaded)
    assert (found.step, found.checkpoint) == (0, None) and found.damaged
    runner.resume(run_id, loaded)
    assert runner.wait(WAIT_S)
    assert runner.snapshot(run_id).status == Status.FINISHED


class Canary:
    """A pickle that would make a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def test_code_in_a_checkpoint_is_never_run(
    stopped: tuple[Runner, str], place: Workspace, loaded: Any, tmp_path: Path
) -> None:
    import torch

    runner, run_id = stopped
    newest = list_checkpoints(place.runs / run_id / "checkpoints")[-1]
    before = contents(newest.folder)
    sprung, pickled = tmp_path / "sprung", tmp_path / "canary.pt"
    torch.save(Canary(sprung), pickled)
    torch.load(pickled, weights_only=False)
    assert sprung.exists(), "the canary can sing"
    sprung.unlink()
    for name in ("optimizer.pt", "rng_state.pth", "scheduler.pt", "learner.pt", "training_args.bin"):
        (newest.folder / name).write_bytes(pickled.read_bytes())
        seal_again(newest)
        runner.resume(run_id, loaded)
        assert runner.wait(WAIT_S)
        assert not sprung.exists(), name
        ended = runner.snapshot(run_id).status
        assert ended == (Status.FINISHED if name == "training_args.bin" else Status.FAILED), name
        for file, content in before.items():
            if newest.folder.exists():
                file.write_bytes(content)


def seal_again(checkpoint: Checkpoint) -> None:
    """As somebody does who can write the folder and knows how."""
    values = json.loads((checkpoint.folder / MANIFEST).read_text())
    values["files"] |= {name: file_sha256(checkpoint.folder / name) for name in values["files"]}
    del values[checkpoints.SEAL]
    (checkpoint.folder / MANIFEST).write_text(json.dumps({**values, checkpoints.SEAL: checkpoints._seal(values)}))
    assert read_manifest(checkpoint)
