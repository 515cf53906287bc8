"""Whether an adapter folder can be applied, and to which base: decided from its files before anything is loaded.

Owns bringing configuration (`config_file`) and tensors (`tensor_file`) together and comparing both with a base model.
Nothing of peft runs here; the shapes to compare with are those of the loaded tree, which `core.chat.serving` brings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.adapters.card import AdapterCard, read_card
from core.adapters.config_file import LoraFields, names_module, read_config
from core.adapters.tensor_file import LoraModule, named, read_modules
from core.errors import Place, Problem, WorkbenchError
from core.models.catalog import structure_of

LayerShapes = Mapping[str, tuple[int, int]]  # (out_features, in_features) of every linear layer, by module path


@dataclass(frozen=True)
class AdapterFiles:
    """A judged adapter folder. `fields` is None and `modules` empty where a problem hid them."""

    folder: Path
    fields: LoraFields | None
    modules: dict[str, LoraModule]
    card: AdapterCard | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")


def read_adapter(folder: Path) -> AdapterFiles:
    """Judge an adapter folder by itself: M13, M18, M20, M22, M23."""
    fields, problems = read_config(folder)
    modules, found = read_modules(folder)
    problems += found
    card = None
    try:
        card = read_card(folder)
    except WorkbenchError as error:
        problems += error.problems
    if fields and modules:
        problems += _contradictions(fields, modules, folder)
    return AdapterFiles(folder, fields, modules, card, tuple(problems))


def judge(folder: Path, layers: LayerShapes, fingerprint: str, base_name: str) -> AdapterFiles:
    """Judge an adapter folder for a base: its own problems, then M19 and M20 where those let it be compared.

    Warnings do not stand in the way: weights that differ in a base of the same structure, fields that are ignored.
    """
    files = read_adapter(folder)
    if files.errors:
        return files
    found = _base_problems(files, fingerprint, base_name)
    if not any(problem.severity == "error" for problem in found):
        found += _shape_problems(files, layers, base_name)
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


def _shape_problems(files: AdapterFiles, layers: LayerShapes, base_name: str) -> list[Problem]:
    """M19 from shapes: modules that the base lacks or has in another size; M20: layers of the base left out."""
    assert files.fields, "a folder with errors is not compared with a base"
    place = Place(file=files.folder.name)
    shown = {"adapter": files.folder.name, "base": base_name}
    unfit = [text for module, lora in files.modules.items() if (text := _misfit(module, lora, layers))]
    if unfit:
        return [Problem("M19_does_not_fit", place, shown | named(unfit))]
    left_out = [module for module in layers if _is_target(module, files.fields) and module not in files.modules]
    if left_out:
        return [Problem("M20_incomplete", place, shown | named(left_out))]
    return []


def _contradictions(fields: LoraFields, modules: Mapping[str, LoraModule], folder: Path) -> Sequence[Problem]:
    """M20: tensors that are not what the configuration describes."""
    place = Place(file=folder.name)
    wrong = [
        f"{module}: {lora.rank} ≠ {fields.rank_of(module)}"
        for module, lora in modules.items()
        if lora.rank != fields.rank_of(module)
    ]
    problems = [Problem("M20_rank_differs", place, named(wrong))] if wrong else []
    unlike = [
        module
        for module, lora in modules.items()
        if lora.has_magnitude != fields.use_dora or lora.has_bias != fields.lora_bias
    ]
    if unlike:
        problems.append(Problem("M20_variant_differs", place, named(unlike) | {"method": fields.method}))
    if fields.targets is not None:
        untargeted = [module for module in modules if not _is_target(module, fields)]
        if untargeted:
            problems.append(Problem("M20_untargeted_modules", place, named(untargeted)))
    return problems


def _is_target(module: str, fields: LoraFields) -> bool:
    """Whether the configuration's lists name a module; false where they are patterns, which are not matched."""
    if fields.targets is None or fields.excluded is None:
        return False
    if any(names_module(name, module) for name in fields.excluded) or not fields.limited_to_layer(module):
        return False
    return any(names_module(name, module) for name in fields.targets)


def _misfit(module: str, lora: LoraModule, layers: LayerShapes) -> str | None:
    """How a module's matrices miss the base's layer."""
    wanted = (lora.out_features, lora.in_features)
    shape = layers.get(module)
    return None if wanted == shape else f"{module}: {list(wanted)} ≠ {list(shape) if shape else '–'}"
