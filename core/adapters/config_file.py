"""What `adapter_config.json` of a LoRA adapter says, judged field by field before anything is loaded.

Owns reading that file (own JSON read, never peft's loader) and the allow-list of its fields. Does not look at tensors
(`tensor_file`) or at a base model (`validity`). Fields that name initialisers are never acted on, and no pattern from a
file is ever matched: which modules an adapter changes is known from the names of its tensors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import Place, Problem, excerpt
from core.models.plain_files import read_json_object

CONFIG_FILE = "adapter_config.json"
MAX_CONFIG_BYTES = 1024 * 1024
MAX_RANK = 512
MAX_ALPHA = 1e6
APPLICABLE_TYPES = ("LORA",)  # with its rsLoRA and DoRA variants

_MODULE_NAME = re.compile(r"\^?[A-Za-z_]\w*(\.\w+)*")
_BASE_CHANGING_INITIALISERS = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")
# Fields with no part in what a finished adapter computes; they are not acted on.
_FREE_FIELDS = frozenset(
    (
        *("peft_type", "peft_version", "task_type", "auto_mapping", "revision", "inference_mode"),
        *("base_model_name_or_path", "tokenizer_name_or_path", "init_lora_weights", "eva_config", "loftq_config"),
        *("layers_pattern", "megatron_core", "qalora_group_size"),
    )
)
_JUDGED_FIELDS = frozenset(
    (
        *("r", "lora_alpha", "lora_dropout", "rank_pattern", "alpha_pattern", "bias", "lora_bias", "fan_in_fan_out"),
        *("target_modules", "exclude_modules", "layers_to_transform", "use_rslora", "use_dora"),
    )
)


@dataclass(frozen=True)
class LoraFields:
    """The fields of a LoRA configuration that shape the adapter.

    `targets` and `excluded` are module names; None where the file has a pattern, which is not used. `layers` are the
    layer numbers the adapter is limited to, None where it is not.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] | None
    excluded: tuple[str, ...] | None = ()
    layers: tuple[int, ...] | None = None
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    base_name: str = ""

    @property
    def method(self) -> str:
        """What people call it: lora, rslora, dora, or both of the last two."""
        names = [name for name, used in (("dora", self.use_dora), ("rslora", self.use_rslora)) if used]
        return "+".join(names) or "lora"

    def rank_of(self, module: str) -> int:
        return next((rank for name, rank in self.rank_pattern.items() if names_module(name, module)), self.rank)

    def limited_to_layer(self, module: str) -> bool:
        """Whether a module is among the layers the adapter is limited to; true where it is not limited."""
        numbers = re.findall(r"\.(\d+)\.", module)
        return self.layers is None or (bool(numbers) and int(numbers[0]) in self.layers)


def names_module(name: str, module: str) -> bool:
    """Whether a plain name of a configuration means this module: all of its path, or the end of it."""
    return module == name[1:] if name.startswith("^") else module == name or module.endswith(f".{name}")


def read_config(folder: Path) -> tuple[LoraFields | None, list[Problem]]:
    """The judged configuration of an adapter folder and every problem with it; None where one of them is an error."""
    place = Place(file=f"{folder.name}/{CONFIG_FILE}")
    if not (folder / CONFIG_FILE).is_file():
        return None, [Problem("M18_no_config", place)]
    values = read_json_object(folder / CONFIG_FILE, MAX_CONFIG_BYTES, "M18_config_damaged")
    if isinstance(values, Problem):
        return None, [values]
    kind = values.get("peft_type")
    if kind not in APPLICABLE_TYPES:
        shown = {"seen": excerpt(repr(kind)), "allowed": ", ".join(APPLICABLE_TYPES)}
        return None, [Problem("M18_type_not_applicable", place, shown)]
    return _Judge(values, place).judged()


class _Judge:
    """Collects the problems of one configuration while its fields are read."""

    def __init__(self, values: Mapping[str, Any], place: Place) -> None:
        self._values = values
        self._file = place.file
        self._problems: list[Problem] = []

    def judged(self) -> tuple[LoraFields | None, list[Problem]]:
        self._refuse_unknown_fields()
        self._refuse_other_tasks_and_initialisers()
        fields = LoraFields(
            rank=self._rank("r", self._values.get("r", 8)),
            alpha=self._alpha("lora_alpha", self._values.get("lora_alpha", 8)),
            targets=self._names("target_modules"),
            excluded=self._names("exclude_modules"),
            layers=self._layers(),
            rank_pattern=self._pattern("rank_pattern", self._rank),
            alpha_pattern=self._pattern("alpha_pattern", self._alpha),
            use_rslora=self._flag("use_rslora"),
            use_dora=self._flag("use_dora"),
            lora_bias=self._flag("lora_bias"),
            fan_in_fan_out=self._flag("fan_in_fan_out"),
            base_name=self._base_name(),
        )
        failed = any(problem.severity == "error" for problem in self._problems)
        return (None if failed else fields), self._problems

    def _report(self, key: str, name: str, seen: object, **values: object) -> None:
        warning = key in ("M22_pattern_ignored", "M23_base_path_ignored")
        shown = excerpt(repr(seen))
        self._problems.append(
            Problem(
                key,
                Place(file=self._file, field=excerpt(name), excerpt=shown),
                {"field": excerpt(name), "seen": shown, **values},
                "warning" if warning else "error",
            )
        )

    def _refuse_unknown_fields(self) -> None:
        for name, value in self._values.items():
            if name not in _FREE_FIELDS | _JUDGED_FIELDS and value not in (None, False, {}, [], ""):
                self._report("M18_field_not_supported", name, value)

    def _refuse_other_tasks_and_initialisers(self) -> None:
        task = self._values.get("task_type")
        if task not in (None, "CAUSAL_LM"):
            self._report("M18_field", "task_type", task, allowed="CAUSAL_LM")
        bias = self._values.get("bias", "none")
        if bias != "none":
            self._report("M18_field", "bias", bias, allowed="none")
        dropout = self._values.get("lora_dropout", 0.0)
        if not _is_number(dropout) or not 0 <= dropout < 1:
            self._report("M18_field", "lora_dropout", dropout, allowed="0 … 1")
        initialiser = self._values.get("init_lora_weights", True)
        if isinstance(initialiser, str) and initialiser.lower().startswith(_BASE_CHANGING_INITIALISERS):
            self._report("M18_initialiser_changes_base", "init_lora_weights", initialiser)
        elif not isinstance(initialiser, bool | str | None):
            self._report("M18_field", "init_lora_weights", initialiser, allowed="true, false")

    def _rank(self, name: str, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_RANK:
            return value
        self._report("M18_field", name, value, allowed=f"1 … {MAX_RANK}")
        return 1

    def _alpha(self, name: str, value: object) -> float:
        if isinstance(value, int | float) and _is_number(value) and 0 < value <= MAX_ALPHA:
            return value
        self._report("M18_field", name, value, allowed=f"0 < {name} ≤ {MAX_ALPHA:g}")
        return 1.0

    def _flag(self, name: str) -> bool:
        value = self._values.get(name) or False
        if not isinstance(value, bool):
            self._report("M18_field", name, value, allowed="true, false")
        return value is True

    def _names(self, name: str) -> tuple[str, ...] | None:
        """A list of module names; None for a pattern, which is reported and not used."""
        value = self._values.get(name)
        if value is None:
            return () if name == "exclude_modules" else None
        if isinstance(value, str):
            self._report("M22_pattern_ignored", name, value)
            return None
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self._report("M18_field", name, value, allowed='["q_proj", "v_proj", …]')
        return None

    def _layers(self) -> tuple[int, ...] | None:
        value = self._values.get("layers_to_transform")
        numbers = [value] if isinstance(value, int) and not isinstance(value, bool) else value
        if numbers is None or numbers == []:
            return None
        if isinstance(numbers, list) and all(isinstance(number, int) and number >= 0 for number in numbers):
            return tuple(numbers)
        self._report("M18_field", "layers_to_transform", value, allowed="[0, 1, …]")
        return None

    def _pattern(self, name: str, judge: Any) -> dict[str, Any]:
        """Values by module name. Names that are patterns are refused: peft would match them."""
        table = self._values.get(name) or {}
        if not isinstance(table, dict):
            self._report("M18_field", name, table, allowed='{"q_proj": 8, …}')
            return {}
        for key in table:
            if not _MODULE_NAME.fullmatch(key):
                self._report("M22_pattern_refused", name, key)
        return {key: judge(f"{name}.{key}", value) for key, value in table.items() if _MODULE_NAME.fullmatch(key)}

    def _base_name(self) -> str:
        """The base the file names, as text to show; it is never opened."""
        name = self._values.get("base_model_name_or_path")
        if not isinstance(name, str):
            return ""
        if "://" in name or "\\" in name or name.startswith(("/", "~", ".")):
            self._report("M23_base_path_ignored", "base_model_name_or_path", name)
            name = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
        return excerpt(name)


def _is_number(value: object) -> bool:
    """A finite number; an integer may be too large for a float."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)
