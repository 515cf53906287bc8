"""Whether an adapter folder can be applied, and to which base: decided from its files before anything is loaded.

Owns bringing configuration (`config_file`), tensors (`tensor_file`) and a base model together by what the adapter's
type says of them (`layouts`). Nothing of peft runs here; `core.chat.serving` brings the shapes of the loaded tree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from core.adapters.base_shapes import BaseShapes
from core.adapters.card import AdapterCard, read_card
from core.adapters.config_file import AdapterFields, read_config
from core.adapters.layouts import Finding, Parts
from core.adapters.tensor_file import WEIGHTS_FILE, grouped, named, read_tensors
from core.errors import Place, Problem, WorkbenchError
from core.models.catalog import structure_of

# Methods whose files look like those of another one; the card tells them apart.
ALIKE = {"lora": ("loraplus", "pissa", "olora"), "trained_weights": ("bitfit", "freeze")}


@dataclass(frozen=True)
class AdapterFiles:
    """A judged adapter folder. `fields` is None and `parts` empty where a problem hid them."""

    folder: Path
    fields: AdapterFields | None
    parts: Parts
    card: AdapterCard | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def method(self) -> str:
        """How it was trained, as far as its files tell."""
        said = self.card.method if self.card else ""
        if self.fields is None:
            return said
        return said if said in ALIKE.get(self.fields.method, ()) else self.fields.method


def read_adapter(folder: Path) -> AdapterFiles:
    """Judge an adapter folder by itself: M13, M18, M20, M22, M23."""
    fields, problems = read_config(folder)
    tensors, found = read_tensors(folder)
    problems += found
    card = None
    try:
        card = read_card(folder)
    except WorkbenchError as error:
        problems += error.problems
    if fields is None or not tensors or any(problem.severity == "error" for problem in found):
        return AdapterFiles(folder, fields, {}, card, tuple(problems))
    parts, strange = grouped(tensors, fields.layout)
    findings = [("M20_strange_tensors", strange)]
    if not strange:
        findings += fields.layout.contradictions(fields.values, parts)
    problems += _problems(findings, Place(file=f"{folder.name}/{WEIGHTS_FILE}"), {"method": fields.method})
    return AdapterFiles(folder, fields, parts, card, tuple(problems))


def judge(folder: Path, base: BaseShapes, fingerprint: str, base_name: str) -> AdapterFiles:
    """Judge an adapter folder for a base: its own problems, then M19 and M20 where those let it be compared.

    Warnings do not stand in the way: weights that differ in a base of the same structure, fields that are ignored.
    """
    files = read_adapter(folder)
    if files.errors:
        return files
    found = _base_problems(files, fingerprint, base_name)
    if not any(problem.severity == "error" for problem in found):
        found += _shape_problems(files, base, base_name)
    return replace(files, problems=(*files.problems, *found))


def _base_problems(files: AdapterFiles, fingerprint: str, base_name: str) -> list[Problem]:
    """M19 from the card: another structure is an error, other weights of the same structure a warning."""
    card = files.card
    if card is None or card.base_fingerprint is None:
        return []
    made_for = card.base_fingerprint
    place = Place(file=files.folder.name)
    shown = {"adapter": files.folder.name, "made_for": card.base_name, "base": base_name}
    prints = {"adapter_fingerprint": made_for, "base_fingerprint": fingerprint}
    if structure_of(made_for) != structure_of(fingerprint):
        return [Problem("M19_other_base", place, shown | prints)]
    if made_for != fingerprint:
        return [Problem("M19_other_weights", place, shown | prints, "warning")]
    return []


def _shape_problems(files: AdapterFiles, base: BaseShapes, base_name: str) -> list[Problem]:
    """M19 and M20 from shapes: the first thing in which adapter and base differ."""
    assert files.fields, "a folder with errors is not compared with a base"
    layout, place = files.fields.layout, Place(file=files.folder.name)
    shown: dict[str, object] = {"adapter": files.folder.name, "base": base_name, "method": files.method}
    if base.quantised and not layout.answers_on(base.quantised, files.fields.values):
        return [Problem("M19_not_on_quantised", place, shown)]
    if base.transposed and not layout.transposed:
        return [Problem("M19_not_on_conv1d", place, shown)]
    return _problems(layout.misfits(files.fields.values, files.parts, base), place, shown)[:1]


def _problems(findings: Iterable[Finding], place: Place, shown: dict[str, object]) -> list[Problem]:
    return [Problem(key, place, shown | named(names)) for key, names in findings if names]
