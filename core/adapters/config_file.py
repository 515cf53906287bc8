"""What `adapter_config.json` says, judged field by field before anything is loaded.

Owns reading that file (own JSON read, never peft's loader) by the rules of its type (`adapter_types`). Does not look at
tensors (`tensor_file`) or at a base model (`validity`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.adapters.adapter_types import LAYOUTS
from core.adapters.config_rules import BaseName, Report, Rule, only
from core.adapters.layouts import Layout
from core.errors import Place, Problem, excerpt
from core.models.plain_files import read_json_object

CONFIG_FILE = "adapter_config.json"
MAX_CONFIG_BYTES = 4 * 1024 * 1024  # AdaLoRA lists every rank of every layer

# Fields of any type with no part in what a finished adapter computes; they are not acted on.
_FREE = ("peft_type", "peft_version", "auto_mapping", "revision", "inference_mode")
_RULES: dict[str, Rule] = {
    "task_type": only("CAUSAL_LM", None),
    "base_model_name_or_path": BaseName(),
    "tokenizer_name_or_path": BaseName(),
}


@dataclass(frozen=True)
class AdapterFields:
    """The fields of a configuration that shape the adapter: those that its type has rules for, all of them judged."""

    type: str
    values: Mapping[str, Any]
    base_name: str = ""

    @property
    def layout(self) -> Layout:
        return LAYOUTS[self.type]

    @property
    def method(self) -> str:
        """What people call it: lora, rslora, dora, loha …"""
        return self.layout.method(self.values)

    @property
    def rank(self) -> int | None:
        rank = self.values.get("r") or self.values.get("init_r")
        return int(rank) if rank else None

    @property
    def virtual_tokens(self) -> int | None:
        return self.values.get("num_virtual_tokens")

    @property
    def shares_batch(self) -> bool:
        return self.layout.shares_batch(self.values)

    @property
    def has_strength(self) -> bool:
        return self.layout.has_strength(self.values)


def read_config(folder: Path) -> tuple[AdapterFields | None, list[Problem]]:
    """The judged configuration of an adapter folder and every problem with it; None where one of them is an error."""
    place = Place(file=f"{folder.name}/{CONFIG_FILE}")
    if not (folder / CONFIG_FILE).is_file():
        return None, [Problem("M18_no_config", place)]
    values = read_json_object(folder / CONFIG_FILE, MAX_CONFIG_BYTES, "M18_config_damaged")
    if isinstance(values, Problem):
        return None, [values]
    kind = values.get("peft_type")
    if not isinstance(kind, str) or kind not in LAYOUTS:
        shown = {"seen": excerpt(repr(kind)), "allowed": ", ".join(LAYOUTS)}
        return None, [Problem("M18_type_not_applicable", place, shown)]
    return _judged(kind, values, place.file)


def _judged(kind: str, values: Mapping[str, Any], file: str) -> tuple[AdapterFields | None, list[Problem]]:
    report, layout = Report(file, []), LAYOUTS[kind]
    known = {*_FREE, *_RULES, *layout.rules, *layout.free}
    for name, value in values.items():
        if name not in known and value not in (None, False, {}, [], ""):
            report("M18_field_not_supported", name, value)
    common = {name: rule.read(values, name, report) for name, rule in _RULES.items()}
    own = {name: rule.read(values, name, report) for name, rule in layout.rules.items()}
    failed = any(problem.severity == "error" for problem in report.problems)
    return None if failed else AdapterFields(kind, own, common["base_model_name_or_path"]), report.problems
