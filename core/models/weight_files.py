"""Weight files judged by their headers alone.

Owns finding a folder's safetensors files, reading their headers with bounds on everything, and comparing the shapes
that can be known with the configuration. No tensor is read, no pickle is ever opened. The format:
https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import Place, Problem, excerpt
from core.models.configuration import ModelConfig
from core.models.plain_files import LFS_HEAD, place_of, read_json_object, unreadable

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MAX_HEADER_BYTES = 10_000_000
MAX_TENSORS = 100_000
MAX_INDEX_BYTES = 50_000_000
SHOWN_TENSORS = 5
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")

_DTYPE_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
_DTYPE_NAMES = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "I8": "int8", "U8": "nf4"}


@dataclass(frozen=True)
class TensorHeader:
    """One tensor as a header describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class WeightFiles:
    """A folder's weights. `files` are those that loading would read; numbers are 0 where a problem hid them."""

    files: tuple[Path, ...] = ()
    tensors: tuple[TensorHeader, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files)

    @property
    def parameters(self) -> int:
        """Weights in all; 4-bit ones lie two in a byte, and what belongs to their packing is not counted."""
        own = [tensor for tensor in self.tensors if not _is_packing(tensor.name)]
        return sum(math.prod(tensor.shape) * (2 if tensor.dtype == "U8" else 1) for tensor in own)

    @property
    def dtype(self) -> str:
        """The number format that most bytes are in; empty where nothing could be read."""
        sizes: dict[str, int] = {}
        for tensor in self.tensors:
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size
        most = max(sizes, key=lambda dtype: sizes[dtype], default="")
        return _DTYPE_NAMES.get(most, most.lower())


def read_weights(folder: Path, config: ModelConfig) -> WeightFiles:
    """Find the weight files, check every header and the shapes that the configuration fixes."""
    files, problems = _files(folder)
    tensors: list[TensorHeader] = []
    for file in files:
        headers = read_header(file)
        if isinstance(headers, Problem):
            problems.append(headers)
        else:
            tensors += headers
    if not problems:
        problems += _shape_problems(tensors, config, folder)
    return WeightFiles(tuple(file for file in files if file.is_file()), tuple(tensors), tuple(problems))


def read_header(path: Path) -> list[TensorHeader] | Problem:
    """A safetensors file's tensors, or the first reason not to trust it (M07, M08, M10)."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            content = file.read(length) if length <= MAX_HEADER_BYTES else b""
    except OSError as error:
        return unreadable(path, error)
    shown = {"file": path.name, "bytes": size, "header": length, "limit": MAX_HEADER_BYTES, "expected": 8 + length}
    key = _no_safetensors(head + content, size, length)
    if key:
        return Problem(key, place_of(path), shown)
    return _checked_tensors(content, size - 8 - length, place_of(path), shown)


def _no_safetensors(start: bytes, size: int, length: int) -> str | None:
    """The catalogue key for what can't be a safetensors file by its size and first bytes, else None."""
    if start.startswith(LFS_HEAD[:8]):
        return "M10_lfs_pointer"
    if size == 0:
        return "M07_empty"
    if start.lstrip()[:1] == b"<":
        return "M07_web_page"
    if length > MAX_HEADER_BYTES:
        return "M08_header_too_big"
    return "M07_truncated" if length < 2 or size < 8 + length else None


def _checked_tensors(
    content: bytes, data_bytes: int, place: Place, shown: dict[str, Any]
) -> list[TensorHeader] | Problem:
    try:
        entries = json.loads(content, object_pairs_hook=_without_duplicates)
        assert isinstance(entries, dict)
        entries.pop("__metadata__", None)
    except (ValueError, RecursionError, AssertionError):
        return Problem("M08_header_broken", place, shown)
    if len(entries) >= MAX_TENSORS:
        return Problem("M08_too_many_tensors", place, {**shown, "count": len(entries), "limit": MAX_TENSORS})
    end = 0
    tensors: list[TensorHeader] = []
    spans = [(_span(entry), name, entry) for name, entry in entries.items()]
    bad = next((name for span, name, entry in spans if span is None), None)
    if bad is not None:
        return Problem("M08_bad_tensor", place, {**shown, "tensor": excerpt(bad)})
    for span, name, entry in sorted(spans, key=lambda item: item[0] or (0, 0)):
        assert span
        if span[0] != end:
            return Problem("M08_bad_tensor", place, {**shown, "tensor": excerpt(name)})
        end = span[1]
        tensors.append(TensorHeader(name, entry["dtype"], tuple(entry["shape"]), span[1] - span[0]))
    if end != data_bytes:
        key = "M07_truncated" if end > data_bytes else "M08_trailing_bytes"
        return Problem(key, place, {**shown, "expected": shown["bytes"] - data_bytes + end})
    return tensors


def _span(entry: object) -> tuple[int, int] | None:
    """A tensor's byte range, or None where dtype, shape and range don't fit each other."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str) or entry["dtype"] not in _DTYPE_BITS:
        return None
    shape, span = entry.get("shape"), entry.get("data_offsets")
    if not _are_sizes(shape) or not _are_sizes(span) or len(span) != 2 or len(shape) > 16:  # type: ignore[arg-type]
        return None
    start, end = span  # type: ignore[misc]
    bits = math.prod(shape) * _DTYPE_BITS[entry["dtype"]]  # type: ignore[arg-type]
    return (start, end) if 0 <= end - start == (bits + 7) // 8 else None


def _are_sizes(value: object) -> bool:
    if not isinstance(value, list):
        return False
    return all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**63 for item in value)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key twice")
    return values


def _files(folder: Path) -> tuple[list[Path], list[Problem]]:
    """The weight files that loading would read, and what is missing."""
    place = Place(file=folder.name)
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE], _ignored_pickles(folder)
    if (folder / INDEX_FILE).is_file():
        return _shards(folder)
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    pickles = sorted(name for name in names if name.lower().endswith(PICKLE_SUFFIXES))
    if any(name.lower().endswith(".gguf") for name in names):
        return [], [Problem("M11_gguf_only", place, {"name": folder.name})]
    if pickles:
        return [], [Problem("M11_pickle_only", place, {"name": folder.name, "files": excerpt(", ".join(pickles))})]
    return [], [Problem("M11_no_weights", place, {"name": folder.name})]


def _shards(folder: Path) -> tuple[list[Path], list[Problem]]:
    index = read_json_object(folder / INDEX_FILE, MAX_INDEX_BYTES, "M09_index_broken")
    if isinstance(index, Problem):
        return [], [index]
    place = Place(file=f"{folder.name}/{INDEX_FILE}", field="weight_map")
    shard_of = index.get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of or not all(isinstance(name, str) for name in shard_of.values()):
        return [], [Problem("M09_index_broken", place, {"file": INDEX_FILE, "reason": "weight_map"})]
    files: list[Path] = []
    problems: list[Problem] = []
    for name in sorted(set(shard_of.values())):
        if not re.fullmatch(r"[\w][\w.-]*\.safetensors", name):
            problems.append(Problem("M09_shard_outside", place, {"shard": excerpt(name)}))
        elif not (folder / name).is_file():
            problems.append(Problem("M09_shard_missing", place, {"shard": excerpt(name)}))
        else:
            files.append(folder / name)
    return files, problems + _ignored_pickles(folder)


def _ignored_pickles(folder: Path) -> list[Problem]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.lower().endswith(PICKLE_SUFFIXES))
    if not names:
        return []
    return [Problem("M13_pickle_ignored", Place(file=folder.name), {"files": excerpt(", ".join(names))}, "warning")]


def _shape_problems(tensors: list[TensorHeader], config: ModelConfig, folder: Path) -> list[Problem]:
    """M15: the first tensors whose shape contradicts the configuration, and a wrong number of layers."""
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    wrong: list[str] = []
    if not config.quantization:
        for tensor in tensors:
            expected = _expected_shape(tensor.name, config)
            if expected and tensor.shape != expected:
                wrong.append(f"{excerpt(tensor.name)} {list(tensor.shape)} ≠ {list(expected)}")
    numbers = [int(match[1]) for name in shapes if (match := re.search(r"(?:layers|\.h|blocks)\.(\d+)\.", name))]
    extra = config.values.get("num_nextn_predict_layers")  # layers beyond the model's own, which loading ignores
    if numbers and config.layers and max(numbers) + 1 not in (config.layers, config.layers + _number(extra)):
        wrong.append(f"layers {max(numbers) + 1} ≠ {config.layers}")
    if not wrong:
        return []
    shown = {"count": len(wrong), "tensors": "; ".join(wrong[:SHOWN_TENSORS])}
    return [Problem("M15_shapes", Place(file=folder.name), shown)]


def _expected_shape(name: str, config: ModelConfig) -> tuple[int, ...] | None:
    """The shape that config.json fixes for a tensor, or None where it says nothing about it."""
    values, hidden = config.values, config.hidden_size
    if not hidden:
        return None
    if re.search(r"(?:embed_tokens|wte|lm_head)\.weight$", name) and config.vocab_size:
        return (config.vocab_size, int(values.get("word_embed_proj_dim", hidden)))
    if config.model_type not in ("llama", "mistral", "qwen2", "qwen3", "smollm3"):
        return None
    heads = values.get("num_attention_heads")
    wide = values.get("intermediate_size")
    if not isinstance(heads, int) or not isinstance(wide, int) or heads < 1:
        return None
    head = values.get("head_dim") or hidden // heads
    groups = values.get("num_key_value_heads") or heads
    table = {
        "q_proj": (heads * head, hidden),
        "k_proj": (groups * head, hidden),
        "v_proj": (groups * head, hidden),
        "o_proj": (hidden, heads * head),
        "gate_proj": (wide, hidden),
        "up_proj": (wide, hidden),
        "down_proj": (hidden, wide),
    }
    match = re.search(r"\.(\w+)\.weight$", name)
    return table.get(match[1]) if match else None


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _is_packing(name: str) -> bool:
    """Whether bitsandbytes keeps a tensor beside a packed weight rather than as a weight."""
    return bool(re.search(r"\.(absmax|quant_map|nested_absmax|nested_quant_map|SCB|weight_format)$|quant_state", name))
