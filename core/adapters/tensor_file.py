"""What `adapter_model.safetensors` holds, judged from its header.

Owns grouping its tensors by the module they change. No tensor is loaded here and nothing but safetensors is opened: a
pickle beside it is named, never read. Whether they fit the configuration and a base model is `validity`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from core.adapters.layouts import Layout, Parts
from core.errors import Place, Problem, excerpt
from core.models.weight_files import PICKLE_SUFFIXES, TensorHeader, read_header
from core.workspace import file_sha256

WEIGHTS_FILE = "adapter_model.safetensors"
MAX_FILE_BYTES = 4 * 1024**3
FLOATS = ("F64", "F32", "F16", "BF16")
SHOWN_NAMES = 5


def read_tensors(folder: Path) -> tuple[list[TensorHeader], list[Problem]]:
    """The tensors of an adapter as the file's header names them, and every problem with the file itself."""
    file = folder / WEIGHTS_FILE
    problems = _pickle_problems(folder)
    if not file.is_file():
        return [], problems
    place = Place(file=f"{folder.name}/{WEIGHTS_FILE}")
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        return [], [*problems, Problem("M20_too_large", place, {"bytes": size, "limit": MAX_FILE_BYTES})]
    tensors = read_header(file)
    if isinstance(tensors, Problem):
        return [], [*problems, tensors]
    strange = [f"{tensor.name} ({tensor.dtype})" for tensor in tensors if tensor.dtype not in FLOATS]
    if strange or not tensors:
        problems.append(Problem("M20_strange_tensors", place, named(strange)))
    return tensors, problems


def grouped(tensors: Sequence[TensorHeader], layout: Layout) -> tuple[Parts, list[str]]:
    """Shapes by module and part, and the names of tensors that have no place in an adapter of this type."""
    parts: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    strange: list[str] = []
    for tensor in tensors:
        found = layout.locate(tensor.name)
        if found is None or found[1] in parts[found[0]]:
            strange.append(tensor.name)
        else:
            parts[found[0]][found[1]] = tensor.shape
    return dict(parts), strange


def weights_sha256(folder: Path) -> str:
    """The hash of an adapter's tensor file."""
    return file_sha256(folder / WEIGHTS_FILE)


def named(names: Sequence[str]) -> dict[str, object]:
    """The values of a problem that lists names: how many there are, and the first of them."""
    return {"count": len(names), "names": "; ".join(excerpt(name) for name in list(names)[:SHOWN_NAMES]) or "–"}


def _pickle_problems(folder: Path) -> list[Problem]:
    """Pickles are ignored and named; an adapter that has nothing else is refused."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.lower().endswith(PICKLE_SUFFIXES))
    shown = {"files": excerpt(", ".join(names)), "expected": WEIGHTS_FILE}
    place = Place(file=folder.name)
    if (folder / WEIGHTS_FILE).is_file():
        return [Problem("M13_pickle_ignored", place, shown, "warning")] if names else []
    return [Problem("M13_only_pickle" if names else "M18_no_weights", place, shown)]
