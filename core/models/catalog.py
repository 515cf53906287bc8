"""What lies in `models/` and the extra model folders: every folder looked at, none loaded.

Owns the list of base models, the look into one folder by headers and small files only, and fingerprints. A folder that
cannot be loaded is listed with its problems. It imports no torch: the page lists models before anything is loaded.

    folder → configuration, weight_files, tokenizer_files → `ModelInfo` → loader
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from core.errors import Place, Problem, excerpt, refusal
from core.models.configuration import ModelConfig, causal_models, read_config
from core.models.origin import Origin, read_origin
from core.models.plain_files import unreadable
from core.models.tokenizer_files import read_tokenizer
from core.models.weight_files import read_weights
from core.workspace import Workspace, file_sha256, read_json, write_json

HASHES_FILE = "weight_hashes.json"


@dataclass(frozen=True)
class ModelInfo:
    """One base model as its files describe it; numbers are 0 and texts empty where a problem hid them.

    `problems` of severity "error" mean that it cannot be loaded; warnings are dangers and remarks to show. `folder` is
    the file itself where `gguf` is set: a GGUF file is no model here, it can be converted to one. `origin` is there for
    a model that was fully fine-tuned here.
    """

    name: str
    folder: Path
    architecture: str = ""
    model_type: str = ""
    parameters: int = 0
    bytes: int = 0
    dtype: str = ""
    template: Literal["own"] | None = None
    max_length: int | None = None
    hidden_size: int = 0
    layers: int = 0
    vocab_size: int = 0
    problems: tuple[Problem, ...] = ()
    gguf: bool = False
    quantization: str | None = None
    weight_files: tuple[Path, ...] = ()
    origin: Origin | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def loadable(self) -> bool:
        return not self.errors and not self.gguf


def list_models(workspace: Workspace) -> list[ModelInfo]:
    """All models of the workspace and of the extra folders, by name; GGUF files that could be converted come last."""
    found: dict[str, ModelInfo] = {}
    for entry in _entries(workspace):
        name, number = entry.name, 1
        while name.casefold() in found:  # the same folder name in two places
            number += 1
            name = f"{entry.name} ({number})"
        info = _inspect_entry(entry, workspace)
        found[name.casefold()] = replace(info, name=name)
    return sorted(found.values(), key=lambda info: (info.gguf, info.name.casefold()))


def find_model(workspace: Workspace, name: str) -> ModelInfo:
    """The model of that name.

    Raises:
        WorkbenchError: M01 with the names there are.
    """
    models = list_models(workspace)
    for info in models:
        if info.name == name:
            return info
    known = ", ".join(info.name for info in models) or "–"
    raise refusal("M01_no_such_model", Place(excerpt=excerpt(name)), name=excerpt(name), known=known)


def inspect(folder: Path) -> ModelInfo:
    """Look at a model folder: headers and small files only, well under a second."""
    try:
        config = read_config(folder)
        if not config.values:
            return ModelInfo(folder.name, folder, problems=config.problems)
        weights = read_weights(folder, config)
        tokenizer = read_tokenizer(folder)
        return ModelInfo(
            name=folder.name,
            folder=folder,
            architecture=config.architecture or _natural_architecture(config),
            model_type=config.model_type,
            parameters=weights.parameters,
            bytes=weights.bytes,
            dtype=weights.dtype,
            template="own" if tokenizer.template is not None else None,
            max_length=config.max_length,
            hidden_size=config.hidden_size,
            layers=config.layers,
            vocab_size=config.vocab_size,
            problems=(*config.problems, *weights.problems, *tokenizer.problems),
            quantization=config.quantization,
            weight_files=weights.files,
            origin=read_origin(folder),
        )
    except OSError as error:
        return ModelInfo(folder.name, folder, problems=(unreadable(folder, error),))


def fingerprint(info: ModelInfo, state: Path | None = None) -> str:
    """What identifies a base model whatever its folder is called: `structure-hash`, the hash over its weight files.

    Hashing reads every byte once; with `state` (the workspace's state folder) hashes of unchanged files are remembered.
    """
    return f"{structure(info)}-{_weights_hash(info.weight_files, state)}"


def structure(info: ModelInfo) -> str:
    """Type, widths, layers and vocabulary: an adapter fits only a base with the same ones."""
    return f"{info.model_type}-{info.hidden_size}x{info.layers}-v{info.vocab_size}"


def structure_of(model_fingerprint: str) -> str:
    """The structure part of a fingerprint."""
    return model_fingerprint.rpartition("-")[0]


def _entries(workspace: Workspace) -> Iterator[Path]:
    """Model folders and GGUF files, also those one level down in a folder that is no model itself."""
    for root in (workspace.models, *workspace.extra_models):
        for entry in _visible(root):
            is_folder = _is_folder(entry)
            if is_folder or entry.is_symlink() or _is_gguf(entry):
                yield entry
            if is_folder and not (entry / "config.json").exists():
                yield from (inner for inner in _visible(entry) if _is_gguf(inner))


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return []


def _is_folder(entry: Path) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_gguf(entry: Path) -> bool:
    return entry.suffix.lower() == ".gguf" and entry.is_file()


def _inspect_entry(entry: Path, workspace: Workspace) -> ModelInfo:
    outside = _outside(entry, workspace)
    if outside:
        return ModelInfo(entry.name, entry, problems=(outside,))
    if _is_gguf(entry):
        return ModelInfo(entry.name, entry, bytes=entry.stat().st_size, dtype="gguf", gguf=True)
    return inspect(entry)


def _outside(entry: Path, workspace: Workspace) -> Problem | None:
    """M01 for links that lead nowhere, in a circle, or out of the model folders; the folder's own files included."""
    roots = [root.resolve() for root in (workspace.models, *workspace.extra_models)]
    try:
        entries = [entry, *(entry.iterdir() if entry.is_dir() else ())]
        for path in entries:
            target = path.resolve(strict=True)
            if not any(target.is_relative_to(root) for root in roots):
                shown = {"name": excerpt(path.name), "roots": ", ".join(str(root) for root in roots)}
                return Problem("M01_link_outside", Place(file=entry.name), shown)
    except (OSError, RuntimeError) as error:
        return unreadable(entry, error)
    return None


def _natural_architecture(config: ModelConfig) -> str:
    return causal_models().get(config.model_type, ("",))[0]


def _weights_hash(files: tuple[Path, ...], state: Path | None) -> str:
    remembered = state / HASHES_FILE if state else None
    known = _remembered_hashes(remembered) if remembered else {}
    together = hashlib.sha256()
    changed = False
    for file in sorted(files):
        stat = file.stat()
        key = f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
        if key not in known:
            known[key] = file_sha256(file)
            changed = True
        together.update(known[key].encode())
    if remembered and changed:
        write_json(remembered, known)
    return together.hexdigest()[:16]


def _remembered_hashes(file: Path) -> dict[str, str]:
    try:
        known = read_json(file)
    except (OSError, ValueError):  # hashing again is all that a lost memory costs
        return {}
    return known if isinstance(known, dict) else {}
