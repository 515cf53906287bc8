"""What `adapter_model.safetensors` of a LoRA adapter holds, judged from its header.

Owns grouping its tensors by the module they change. No tensor is loaded here and nothing but safetensors is opened: a
pickle beside it is named, never read. Whether the modules fit the configuration and a base model is `validity`'s.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import Place, Problem, excerpt
from core.models.weight_files import PICKLE_SUFFIXES, TensorHeader, read_header

WEIGHTS_FILE = "adapter_model.safetensors"
MAX_FILE_BYTES = 4 * 1024**3
FLOATS = ("F64", "F32", "F16", "BF16")
SHOWN_NAMES = 5

_TENSOR_NAME = re.compile(
    r"base_model\.model\.(?P<module>\w+(?:\.\w+)*)\."
    r"(?P<part>lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_magnitude_vector)(?:\.weight)?"
)
_Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class LoraModule:
    """The low-rank change of one linear layer: B (out, rank) times A (rank, in)."""

    rank: int
    in_features: int
    out_features: int
    has_magnitude: bool
    has_bias: bool


def read_modules(folder: Path) -> tuple[dict[str, LoraModule], list[Problem]]:
    """The modules an adapter changes, by their path in the base model, and every problem with its tensor file."""
    file = folder / WEIGHTS_FILE
    problems = _pickle_problems(folder)
    if not file.is_file():
        return {}, problems
    place = Place(file=f"{folder.name}/{WEIGHTS_FILE}")
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        return {}, [*problems, Problem("M20_too_large", place, {"bytes": size, "limit": MAX_FILE_BYTES})]
    tensors = read_header(file)
    if isinstance(tensors, Problem):
        return {}, [*problems, tensors]
    modules, found = _group(tensors, place)
    return modules, problems + found


def module_and_part(tensor_name: str) -> tuple[str, str]:
    """The base model's module and the part of it (`lora_A.weight` …) that a tensor of a valid adapter belongs to."""
    found = _TENSOR_NAME.fullmatch(tensor_name)
    assert found, f"{tensor_name} was not judged by read_modules"
    return found["module"], found["part"]


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


def _group(tensors: Sequence[TensorHeader], place: Place) -> tuple[dict[str, LoraModule], list[Problem]]:
    """Tensors by module. Any tensor that is no part of a LoRA on a linear layer is an error."""
    parts: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    strange: list[str] = []
    for tensor in tensors:
        found = _TENSOR_NAME.fullmatch(tensor.name)
        if found and tensor.dtype in FLOATS:
            parts[found["module"]][found["part"]] = tensor.shape
        else:
            strange.append(f"{tensor.name} ({tensor.dtype})")
    modules = {module: _module(shapes) for module, shapes in parts.items()}
    broken = [module for module, lora in modules.items() if lora is None]
    problems = []
    if strange or not tensors:
        problems.append(Problem("M20_strange_tensors", place, named(strange)))
    if broken:
        problems.append(Problem("M20_broken_modules", place, named(broken)))
    return {module: lora for module, lora in modules.items() if lora}, problems


def _module(shapes: _Shapes) -> LoraModule | None:
    """None where a matrix is missing or the parts do not belong together."""
    a, b = shapes.get("lora_A.weight", ()), shapes.get("lora_B.weight", ())
    if len(a) != 2 or len(b) != 2 or a[0] != b[1] or 0 in (*a, *b):
        return None
    if any(shapes.get(name, (b[0],)) != (b[0],) for name in ("lora_magnitude_vector", "lora_B.bias")):
        return None
    return LoraModule(a[0], a[1], b[0], "lora_magnitude_vector" in shapes, "lora_B.bias" in shapes)
