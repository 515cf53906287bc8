"""What a model's own files say about answering: end tokens and sampling settings.

Owns reading generation_config.json; code that the file names is never looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.errors import Problem
from core.models.configuration import CONFIG_FILE, MAX_CONFIG_BYTES
from core.models.plain_files import read_json_object

GENERATION_FILE = "generation_config.json"
STATED = ("do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram_size")


def stated_end_tokens(folder: Path, vocab_size: int) -> list[int]:
    """End tokens of the generation config, else of the config: one id or a list."""
    for file in (GENERATION_FILE, CONFIG_FILE):
        if (folder / file).is_file():
            values = read_json_object(folder / file, MAX_CONFIG_BYTES, "M02_config_not_json")
            stated = values.get("eos_token_id") if isinstance(values, dict) else None
            ids = stated if isinstance(stated, list) else [stated]
            found = [token_id for token_id in ids if isinstance(token_id, int) and 0 <= token_id < vocab_size]
            if found:
                return found
    return []


def sampling_defaults(folder: Path) -> dict[str, Any]:
    """Sampling settings that the model's own generation config states, as they stand there; `model_defaults` judges."""
    path = folder / GENERATION_FILE
    values = read_json_object(path, MAX_CONFIG_BYTES, "M02_config_not_json") if path.is_file() else {}
    if isinstance(values, Problem):
        return {}
    return {name: values[name] for name in STATED if values.get(name) is not None}
