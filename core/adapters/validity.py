"""Whether an adapter folder can be applied, and to which base: decided from its files before anything is loaded.

Owns bringing configuration (`config_file`) and tensors (`tensor_file`) together and comparing both with a base model.
Nothing of peft runs here. `core.chat.serving` asks again with the loaded tree, whose shapes are the last word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.adapters.card import AdapterCard, read_card
from core.adapters.config_file import LoraFields, names_module, read_config
from core.adapters.tensor_file import LoraModule, named, read_modules
from core.errors import Place, Problem, WorkbenchError
from core.models.catalog import ModelInfo, structure, structure_of
from core.models.weight_files import read_header

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


def validate(folder: Path, base: ModelInfo, fingerprint: str | None) -> list[Problem]:
    """Every problem that applying an adapter folder to a base would meet, from headers alone.

    Warnings do not stand in the way: weights that differ in a base of the same structure, fields that are ignored.
    """
    files = read_adapter(folder)
    if files.errors:
        return list(files.problems)
    found = base_problems(files, fingerprint or structure(base), base.name)
    if not any(problem.severity == "error" for problem in found) and base.quantization is None:
        found += shape_problems(files, shapes_in_files(base), base.name)
    return [*files.problems, *found]


def base_problems(files: AdapterFiles, fingerprint: str, base_name: str) -> list[Problem]:
    """M19 from the card: another structure is an error, other weights of the same structure a warning."""
    card = files.card
    if card is None or card.base_fingerprint is None:
        return []
    made_for = card.base_fingerprint
    place = Place(file=files.folder.name)
    shown = {"adapter": files.folder.name, "made_for": card.base_name, "base": base_name}
    prints = {"adapter_fingerprint": made_for, "base_fingerprint": fingerprint}
    if structure_of(made_for) != structure_of(fingerprint) and structure_of(made_for) != fingerprint:
        return [Problem("M19_other_base", place, shown | prints)]
    if made_for != fingerprint and structure_of(made_for) != fingerprint:
        return [Problem("M19_other_weights", place, shown | prints, "warning")]
    return []


def shape_problems(files: AdapterFiles, layers: LayerShapes, base_name: str) -> list[Problem]:
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


def shapes_in_files(base: ModelInfo) -> LayerShapes:
    """Shapes of the base's matrices from the headers of its weight files, by module path."""
    shapes: dict[str, tuple[int, int]] = {}
    for file in base.weight_files:
        tensors = read_header(file)
        for tensor in tensors if not isinstance(tensors, Problem) else ():
            if tensor.name.endswith(".weight") and len(tensor.shape) == 2:
                shapes[tensor.name.removesuffix(".weight")] = (tensor.shape[0], tensor.shape[1])
    return shapes


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
    """How a module's matrices miss the base's layer; a layer may keep its weight either way round."""
    wanted = (lora.out_features, lora.in_features)
    shape = _layer(module, layers)
    if shape is None:
        return f"{module}: {list(wanted)} ≠ –"
    return None if wanted in (shape, shape[::-1]) else f"{module}: {list(wanted)} ≠ {list(shape)}"


def _layer(module: str, layers: LayerShapes) -> tuple[int, int] | None:
    """Files of some models leave out the first part of the path (`transformer.`, `model.`)."""
    return layers.get(module) or layers.get(module.partition(".")[2])
