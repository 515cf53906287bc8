"""Checkpoints: whole states of a run that appear atomically and are verified before use.

Owns their folders, manifests and random-generator state:

    checkpoints/step-000123/
        adapter/            the adapter in its finished form with its card, as chat applies it; none of a whole model
        learner.pt          what is trained, from which training goes on bit by bit
        spec.yaml           the resolved spec it was trained with
        optimizer.pt, scheduler.pt, rng_state.pth, trainer_state.json; scaler.pt under fp16
        manifest.json       written last: step, versions, hashes of data and of every file

Learner, optimizer, scheduler and generators are saved as tensors and plain values, so that `weights_only=True` reads
them; the trainer reads them back under the names they have here.
Which step is saved when, and which one is best, is decided by the run; which ones stay, by `snapshots`.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.adapters.method_facts import METHODS
from core.training.spec import write_spec
from core.workspace import file_sha256, new_folder, read_json, write_json

if TYPE_CHECKING:
    from core.training.learner import Learner

CHECKPOINTS = "checkpoints"  # in the folder of a run
ADAPTER = "adapter"
LEARNER_FILE = "learner.pt"
OPTIMIZER_FILE = "optimizer.pt"
MANIFEST = "manifest.json"
SEAL = "sha256"  # in a manifest: that of the rest of it
SPEC_FILE = "spec.yaml"
FORMAT_VERSION = 1
RngState = dict[str, Any]
_NAME = re.compile(r"step-\d{6,}")


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint is. `files` maps each file's relative path to its sha256."""

    step: int
    dataset_sha256: str
    base_fingerprint: str
    versions: dict[str, str]
    files: dict[str, str]
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk."""

    step: int
    folder: Path

    @property
    def adapter(self) -> Path:
        return self.folder / ADAPTER


@dataclass(frozen=True)
class Origin:
    """What a checkpoint's weights depend on beside the spec."""

    dataset_sha256: str
    base_fingerprint: str


def write_checkpoint(folder: Path, trainer: Any, card: Any, origin: Origin) -> Checkpoint:
    """Save a trainer's state under `folder`; a checkpoint of this step that exists already is left as it is.

    The random state saved is that after the last whole step, also where a stop came within the next one.

    Raises:
        OSError: nothing of it is left behind.
    """
    target = folder / f"step-{trainer.step:06d}"
    if target.exists():
        return Checkpoint(trainer.step, target)
    with new_folder(target) as staging:
        if METHODS[trainer.job.spec.method.method].makes == "adapter":
            with trainer.finished_weights():
                trainer.learner.save(staging / ADAPTER, card)
        _save(trainer.learner.state(), staging / LEARNER_FILE)
        _save(trainer.optimizer.state_dict(), staging / OPTIMIZER_FILE)
        _save(trainer.lr_scheduler.state_dict(), staging / "scheduler.pt")
        _save(trainer.last_rng, staging / "rng_state.pth")
        if trainer.accelerator.scaler is not None:
            _save(trainer.accelerator.scaler.state_dict(), staging / "scaler.pt")
        write_spec(staging / SPEC_FILE, trainer.job.spec)
        trainer.state.save_to_json(str(staging / "trainer_state.json"))
        files = {file.relative_to(staging).as_posix(): file_sha256(file) for file in _files(staging)}
        manifest = Manifest(trainer.step, origin.dataset_sha256, origin.base_fingerprint, library_versions(), files)
        values = asdict(manifest)
        write_json(staging / MANIFEST, {**values, SEAL: _seal(values)})
    return Checkpoint(trainer.step, target)


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """All checkpoints there are, oldest step first; contents are not verified."""
    found = [entry for entry in folder.iterdir() if _NAME.fullmatch(entry.name)] if folder.is_dir() else []
    return sorted((Checkpoint(int(entry.name[5:]), entry) for entry in found), key=lambda each: each.step)


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose files are all as they were written; damaged ones are passed over."""
    return next((each for each in reversed(list_checkpoints(folder)) if read_manifest(each)), None)


def read_manifest(checkpoint: Checkpoint) -> Manifest | None:
    """The manifest where it and every file it names are as they were written, at this step; None otherwise."""
    try:
        values = read_json(checkpoint.folder / MANIFEST)
        if values.pop(SEAL) != _seal(values):
            return None
        manifest = Manifest(**values)
        whole = all(file_sha256(checkpoint.folder / name) == digest for name, digest in manifest.files.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    known = (manifest.step, manifest.format_version) == (checkpoint.step, FORMAT_VERSION)
    return manifest if known and whole and manifest.files else None


def load_learner(learner: Learner, checkpoint: Checkpoint) -> None:
    """Make a learner again what a checkpoint holds of it."""
    import torch

    learner.load_state(torch.load(checkpoint.folder / LEARNER_FILE, map_location="cpu", weights_only=True))


def load_optimizer(optimizer: Any, checkpoint: Checkpoint) -> None:
    """Make an optimizer again what a checkpoint holds of it."""
    import torch

    optimizer.load_state_dict(torch.load(checkpoint.folder / OPTIMIZER_FILE, map_location="cpu", weights_only=True))


def rng_state() -> RngState:
    """The state of every process-wide generator that training may draw from, as plain values and tensors."""
    import numpy
    import torch

    numpy_state: Any = numpy.random.get_state()
    state: RngState = {
        "python": random.getstate(),
        "numpy": [part.tolist() if isinstance(part, numpy.ndarray) else part for part in numpy_state],
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def library_versions() -> dict[str, str]:
    """What a run's numbers may depend on."""
    versions = {}
    for package in ("torch", "transformers", "peft", "accelerate"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "?"
    return versions


def _save(state: Any, path: Path) -> None:
    """Through a file of Python's, so that a write that fails has its reason among the causes; torch alone hides it."""
    import torch

    with path.open("wb") as file:
        torch.save(state, file)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _seal(values: dict[str, Any]) -> str:
    """What shows that a manifest is as it was written."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
