"""A model folder's config.json: what kind of model it describes, its dimensions, and what in it is dangerous.

Owns reading and judging that one file without importing transformers or torch. Weights and tokenizer are looked at by
their own modules; `catalog` puts the findings together. `cleaned` is what the loader builds the model from.
"""

from __future__ import annotations

import ast
import difflib
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.errors import Place, Problem, excerpt
from core.models.plain_files import read_json_object

CONFIG_FILE = "config.json"
ADAPTER_FILE = "adapter_config.json"
MAX_CONFIG_BYTES = 1_000_000
OWN_QUANTIZATION = "bitsandbytes"

# How the fields we show are called by different families of models.
_NAMES = {
    "hidden_size": ("hidden_size", "n_embd", "d_model", "dim"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "vocab_size": ("vocab_size",),
    "max_length": ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"),
}


@dataclass(frozen=True)
class ModelConfig:
    """What config.json says. Dimensions are 0 where it does not say them; `values` is the file itself."""

    values: dict[str, Any] = field(default_factory=dict)
    model_type: str = ""
    architecture: str = ""
    hidden_size: int = 0
    layers: int = 0
    vocab_size: int = 0
    max_length: int | None = None
    quantization: str | None = None
    problems: tuple[Problem, ...] = ()


def read_config(folder: Path) -> ModelConfig:
    """Read and judge config.json; whatever is wrong is in `problems`, nothing is raised."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        is_adapter = (folder / ADAPTER_FILE).is_file()
        key = "M03_is_an_adapter" if is_adapter else "M02_no_config"
        return ModelConfig(problems=(Problem(key, Place(file=folder.name), {"name": folder.name}),))
    if (folder / ADAPTER_FILE).exists():
        # The library would load and apply it along with the model, and look up the base that it names.
        return ModelConfig(problems=(Problem("M03_adapter_inside", Place(file=f"{folder.name}/{ADAPTER_FILE}")),))
    values = read_json_object(path, MAX_CONFIG_BYTES, "M02_config_not_json")
    if isinstance(values, Problem):
        return ModelConfig(problems=(values,))
    inner = values.get("text_config")
    numbers = {**inner, **values} if isinstance(inner, dict) else values
    found = {name: _whole_number(numbers, names) for name, names in _NAMES.items()}
    return ModelConfig(
        values=values,
        model_type=_string(values.get("model_type")),
        architecture=_architectures(values)[0] if _architectures(values) else "",
        hidden_size=found["hidden_size"],
        layers=found["layers"],
        vocab_size=found["vocab_size"],
        max_length=found["max_length"] or None,
        quantization=_quantization(values),
        problems=tuple(_problems(values, folder)),
    )


def cleaned(values: dict[str, Any]) -> dict[str, Any]:
    """A config without the keys that could choose code to run, at any depth."""
    return {key: _clean(value) for key, value in values.items() if not is_code_key(key)}


def is_code_key(key: str) -> bool:
    """Whether a config key names code or a kernel: never obeyed (M12)."""
    return key in ("auto_map", "trust_remote_code", "custom_pipelines") or "_implementation" in key


@cache
def causal_models() -> dict[str, tuple[str, ...]]:
    """model_type → class names of the models that transformers can generate text with natively.

    Read from the installed source: importing it would import torch, which listing models must not.
    """
    return _mapping("modeling_auto.py", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")


@cache
def known_model_types() -> frozenset[str]:
    """Every model_type that transformers knows, language model or not."""
    return frozenset(_mapping("auto_mappings.py", "CONFIG_MAPPING_NAMES")) | frozenset(causal_models())


def _mapping(file: str, name: str) -> dict[str, tuple[str, ...]]:
    package = find_spec("transformers")
    assert package and package.origin, "transformers is installed"
    source = (Path(package.origin).parent / "models" / "auto" / file).read_text(encoding="utf-8")
    pairs = re.search(rf"^{name} = OrderedDict\(\n(.*?)^\)\n", source, re.DOTALL | re.MULTILINE)
    assert pairs, f"transformers' {file} defines {name} as before"
    entries = ast.literal_eval(pairs[1].strip())
    return {key: (value,) if isinstance(value, str) else tuple(value) for key, value in entries}


def _problems(values: dict[str, Any], folder: Path) -> list[Problem]:
    place = Place(file=f"{folder.name}/{CONFIG_FILE}", field="model_type")
    model_type = values.get("model_type")
    code_keys = sorted(_code_keys(values))
    if not isinstance(model_type, str) or not model_type:
        return [Problem("M02_no_model_type", place, {"name": folder.name})]
    if model_type not in known_model_types():
        if "auto_map" in code_keys:
            shown = {"model_type": excerpt(model_type), "keys": ", ".join(code_keys)}
            return [Problem("M12_needs_own_code", Place(file=place.file, field="auto_map"), shown)]
        near = difflib.get_close_matches(model_type, causal_models(), n=3, cutoff=0.5)
        shown = {"model_type": excerpt(model_type), "near": ", ".join(near or ["llama", "qwen3", "mistral"])}
        return [Problem("M02_unknown_model_type", place, shown)]
    problems = _kind_problems(values, model_type, place.file)
    python_files = sorted(entry.name for entry in folder.iterdir() if entry.suffix == ".py")
    if code_keys or python_files:
        ignored = excerpt(", ".join([*code_keys, *python_files]))
        problems.append(Problem("M12_code_ignored", Place(file=folder.name), {"ignored": ignored}, "warning"))
    quantization = _quantization(values)
    if quantization and quantization != OWN_QUANTIZATION:
        where = Place(file=place.file, field="quantization_config")
        problems.append(Problem("M16_foreign_quantization", where, {"method": excerpt(quantization)}))
    return problems


def _kind_problems(values: dict[str, Any], model_type: str, file: str) -> list[Problem]:
    """M03 for what is no text-generating model of its own."""
    classes = causal_models().get(model_type, ())
    stated = _architectures(values)
    generates = any(name in classes or name.endswith(("ForCausalLM", "LMHeadModel")) for name in stated or classes)
    takes_more_than_text = any(name.endswith("ForConditionalGeneration") for name in (*stated, *classes))
    if classes and generates and not takes_more_than_text and not values.get("is_encoder_decoder"):
        return []
    shown = {"model_type": excerpt(model_type), "architecture": excerpt(", ".join(stated) or model_type)}
    return [Problem("M03_not_causal_lm", Place(file=file, field="architectures"), shown)]


def _code_keys(values: object) -> set[str]:
    found: set[str] = set()
    if isinstance(values, dict):
        found |= {key for key in values if is_code_key(key)}
        for value in values.values():
            found |= _code_keys(value)
    return found


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return cleaned(value)
    return [_clean(item) for item in value] if isinstance(value, list) else value


def _architectures(values: dict[str, Any]) -> list[str]:
    stated = values.get("architectures")
    return [name for name in stated if isinstance(name, str)] if isinstance(stated, list) else []


def _quantization(values: dict[str, Any]) -> str | None:
    stated = values.get("quantization_config")
    if not isinstance(stated, dict):
        return None
    bits = "load_in_4bit" in stated or "load_in_8bit" in stated
    return _string(stated.get("quant_method")) or (OWN_QUANTIZATION if bits else "unknown")


def _whole_number(values: dict[str, Any], names: tuple[str, ...]) -> int:
    for name in names:
        value = values.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**40:
            return value
    return 0


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
