"""Giving orders to the process of `victims`, and following a run from victim to victim."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.training.checkpoints import list_checkpoints, read_manifest
from core.training.progress import Snapshot, Status
from core.training.runner import Runner
from core.training.snapshots import saved_adapters
from core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
Settings = dict[str, Any]

SAVES_EACH_STEP: Settings = {
    "training": {"epochs": 36, "evaluations": 0, "validation_share": 0.0},
    "dataset": "8.jsonl",
}


class Victims:
    """The process of `victims.py`: gives it orders, and follows a run from victim to victim."""

    def __init__(self, place: Workspace) -> None:
        self.place = place
        command = [sys.executable, "-W", "ignore", "-m", "tests.core.training.victims", str(place.root)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        with self.process:  # closes its pipes, upon which it ends
            pass
        assert self.process.returncode == 0

    def alone(self, spec: Settings, name: str, **order: Any) -> Snapshot:
        """The run that nobody kills."""
        snapshot = self.snapshot(self.ask(spec={**spec, "name": name}, **order)["run_id"])
        assert snapshot.status == Status.FINISHED, snapshot.problems
        return snapshot

    def killed(self, spec: Settings, name: str, strikes: Iterator[Settings]) -> tuple[Snapshot, int]:
        """Start a run and kill it, and each resuming of it, at the next of these moments; the last one lives."""
        named = {**spec, "name": name}
        answer = self.ask(spec=named, **next(strikes))
        kills = 0
        while answer["killed"]:
            kills += 1
            run_id = answer["run_id"]
            left = self.snapshot(run_id) if run_id else Snapshot()
            if left.status == Status.FINISHED:  # killed after its last word
                break
            if left.version:
                assert left.status == Status.INTERRUPTED, left.status
                self.nothing_half_visible(run_id)
                answer = self.ask(run_id=run_id, **next(strikes, {}))
            else:  # killed before there was a run
                answer = self.ask(spec=named, **next(strikes, {}))
        return self.snapshot(answer["run_id"]), kills

    def snapshot(self, run_id: str) -> Snapshot:
        return Runner(self.place).snapshot(run_id)

    def nothing_half_visible(self, run_id: str) -> None:
        """What can be seen is whole: every checkpoint by its manifest, every adapter by its three files."""
        for checkpoint in list_checkpoints(self.place.runs / run_id / "checkpoints"):
            assert read_manifest(checkpoint), checkpoint
        snapshots = saved_adapters(self.place.runs / run_id).values()
        for adapter in (*self.place.adapters.iterdir(), *snapshots):
            if not adapter.name.startswith("."):
                files = {file.name for file in adapter.iterdir()}
                assert files >= {"adapter_config.json", "adapter_model.safetensors", "workbench.json"}


def same(place: Workspace, resumed: Snapshot, whole: Snapshot) -> bool:
    """Whether a resumed run came to what one that nobody killed came to."""
    assert resumed.status == Status.FINISHED, resumed.problems
    assert (resumed.losses, resumed.evals) == (whole.losses, whole.evals)
    assert (resumed.grad_norms, resumed.learning_rates) == (whole.grad_norms, whole.learning_rates)
    assert [(each.step, each.answer) for each in resumed.samples] == [
        (each.step, each.answer) for each in whole.samples
    ]
    assert snapshots_of(place, resumed) == snapshots_of(place, whole)
    return weights_hash(place, resumed) == weights_hash(place, whole)


def snapshots_of(place: Workspace, ended: Snapshot) -> dict[int, str]:
    """The adapters that a run has on disk, by their step, as hashes of their weights."""
    return {step: hash_of(folder) for step, folder in saved_adapters(place.runs / ended.run_id).items()}


def weights_hash(place: Workspace, ended: Snapshot) -> str:
    """What identifies the weights that a run made, be they an adapter or a whole model."""
    return hash_of(place.results(ended.makes) / str(ended.adapter))


def hash_of(folder: Path) -> str:
    hashed = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        hashed.update(file.read_bytes())
    return hashed.hexdigest()


def moments(since: str, until: str | None, every: int = 1) -> Iterator[Settings]:
    return ({"moment": moment, "since": since, "until": until} for moment in itertools.count(1, every))


def short(spec: Settings, **training: Any) -> Settings:
    """The spec with other settings of training."""
    return {**spec, "training": {**spec["training"], **training}}
