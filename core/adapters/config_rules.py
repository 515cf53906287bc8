"""How a field of `adapter_config.json` is judged: the rules that the table of types (`layouts`) is written with.

Owns reading one value safely: its range, its kind, and that nothing in it is acted upon. A pattern from a file is never
matched, as a hostile one can hang the program; where the names of tensors say as much, it is ignored, else refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from core.errors import Place, Problem, excerpt

WARNINGS = ("M22_pattern_ignored", "M23_base_path_ignored")
_MODULE_NAME = re.compile(r"\^?[A-Za-z_]\w*(\.\w+)*")
_BASE_CHANGING_INITIALISERS = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")


class Rule(Protocol):
    """Reads one field. What cannot be is reported, and something harmless returned in its place."""

    def read(self, values: Mapping[str, Any], name: str, report: Report) -> Any: ...


@dataclass
class Report:
    """Collects the problems of one configuration file."""

    file: str
    problems: list[Problem]

    def __call__(self, key: str, name: str, seen: object, **values: object) -> None:
        shown = excerpt(repr(seen))
        place = Place(file=self.file, field=excerpt(name), excerpt=shown)
        severity: Any = "warning" if key in WARNINGS else "error"
        self.problems.append(Problem(key, place, {"field": excerpt(name), "seen": shown, **values}, severity))


@dataclass(frozen=True)
class Scalar:
    """A single value. One that is missing is `default`."""

    default: Any
    accepts: Callable[[Any], bool]
    allowed: str

    def read(self, values: Mapping[str, Any], name: str, report: Report) -> Any:
        value = values.get(name, self.default)
        if self.accepts(value):
            return value
        report("M18_field", name, value, allowed=self.allowed)
        return self.default


@dataclass(frozen=True)
class ByModule:
    """A table of values by the plain names of modules. Names that are patterns are refused: peft would match them."""

    rule: Scalar

    def read(self, values: Mapping[str, Any], name: str, report: Report) -> dict[str, Any]:
        table = values.get(name) or {}
        if not isinstance(table, dict):
            report("M18_field", name, table, allowed='{"q_proj": 8, …}')
            return {}
        for key in table:
            if not _MODULE_NAME.fullmatch(key):
                report("M22_pattern_refused", name, key)
        plain = {f"{name}.{key}": value for key, value in table.items() if _MODULE_NAME.fullmatch(key)}
        return {key.removeprefix(f"{name}."): self.rule.read(plain, key, report) for key in plain}


@dataclass(frozen=True)
class Names:
    """A list of module names; None for a pattern, which is not used, and none for nothing where `optional`."""

    optional: bool = False

    def read(self, values: Mapping[str, Any], name: str, report: Report) -> frozenset[str] | None:
        value = values.get(name)
        if value is None:
            return frozenset() if self.optional else None
        if isinstance(value, str):
            report("M22_pattern_ignored", name, value)
            return None
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return frozenset(value)
        report("M18_field", name, value, allowed='["q_proj", "v_proj", …]')
        return None


@dataclass(frozen=True)
class LayerNumbers:
    """The layers that an adapter is limited to; None where it is not."""

    def read(self, values: Mapping[str, Any], name: str, report: Report) -> frozenset[int] | None:
        value = values.get(name)
        numbers = [value] if _is_whole(value) else value
        if numbers is None or numbers == []:
            return None
        if isinstance(numbers, list) and all(_is_whole(number) and number >= 0 for number in numbers):
            return frozenset(numbers)
        report("M18_field", name, value, allowed="[0, 1, …]")
        return None


@dataclass(frozen=True)
class Initialiser:
    """How an adapter was started: of no account any more, unless that changed the base too."""

    def read(self, values: Mapping[str, Any], name: str, report: Report) -> None:
        value = values.get(name, True)
        if isinstance(value, str) and value.lower().startswith(_BASE_CHANGING_INITIALISERS):
            report("M18_initialiser_changes_base", name, value)
        elif not isinstance(value, bool | str | None):
            report("M18_field", name, value, allowed="true, false")


@dataclass(frozen=True)
class BaseName:
    """The base that the file names, as text to show; it is never opened."""

    def read(self, values: Mapping[str, Any], name: str, report: Report) -> str:
        value = values.get(name)
        if not isinstance(value, str):
            return ""
        if "://" in value or "\\" in value or value.startswith(("/", "~", ".")):
            report("M23_base_path_ignored", name, value)
            value = re.split(r"[/\\]", value.rstrip("/\\"))[-1]
        return excerpt(value)


def whole(lowest: int, highest: int, default: int) -> Scalar:
    return Scalar(default, lambda value: _is_whole(value) and lowest <= value <= highest, f"{lowest} … {highest}")


def number(above: float, highest: float, default: float) -> Scalar:
    return Scalar(default, lambda value: _is_number(value) and above < value <= highest, f"> {above:g}, ≤ {highest:g}")


def share(default: float = 0.0) -> Scalar:
    return Scalar(default, lambda value: _is_number(value) and 0 <= value < 1, "0 … 1")


def flag(default: bool = False) -> Scalar:
    return Scalar(default, lambda value: value is None or isinstance(value, bool), "true, false")


def only(*values: Any) -> Scalar:
    """One of these values, the first of which is the default."""

    def accepts(value: Any) -> bool:
        return any(value == known and type(value) is type(known) for known in values)

    return Scalar(values[0], accepts, ", ".join(str(value) for value in values if value is not None))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    """A finite number; an integer may be too large for a float."""
    return math.isfinite(value) if isinstance(value, float) else _is_whole(value)
