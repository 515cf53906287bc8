"""Training a finished adapter further, as a run of its own: what it starts from, what must stay, its ancestors.

Owns which settings belong to an adapter's weights, and the chain adapter ← run ← adapter that card and run keep.
Loading those weights is the learner's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.adapters.card import CARD_FILE, AdapterCard, Ancestor, read_card
from core.adapters.config_file import AdapterFields, read_config
from core.adapters.method_facts import METHODS
from core.adapters.store import AdapterInfo, find_adapter
from core.adapters.tensor_file import weights_sha256
from core.adapters.validity import ALIKE
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.models.catalog import find_model
from core.settings import MethodSettings
from core.training.spec import RunSpec, StartingAdapter
from core.workspace import Workspace

Shape = tuple[int, ...]
FREE_SETTINGS = ("dropout", "loraplus_ratio")  # they shape the training, not the weights


def starting_folder(spec: RunSpec, workspace: Workspace) -> Path | None:
    """The folder of the adapter that a run trains further; None where it begins afresh.

    Raises:
        WorkbenchError: M25 where there is none of that name.
    """
    return find_adapter(workspace, spec.start_from.adapter).folder if spec.start_from else None


def starting_problems(spec: RunSpec, workspace: Workspace) -> list[Problem]:
    """What speaks against training the adapter of a spec further: it is gone, broken, another, or made otherwise."""
    start = spec.start_from
    if start is None:
        return []
    try:
        info = _whole_adapter(workspace, start.adapter)
        made_with = method_settings(info.folder)
    except WorkbenchError as error:
        return list(error.problems)
    problems: list[Problem] = []
    if info.base_name and info.base_name != spec.base:
        shown = {"adapter": start.adapter, "made_for": excerpt(info.base_name), "base": excerpt(spec.base)}
        problems.append(Problem("M19_start_for_other_base", Place(field="start_from"), shown))
    found = weights_sha256(info.folder) if start.sha256 else None
    if found != start.sha256:
        hashes = {"adapter": start.adapter, "expected": excerpt(start.sha256)[:12], "found": str(found)[:12]}
        problems.append(Problem("A22_start_changed", Place(field="start_from"), hashes))
    return [*problems, *_differences(spec.method, made_with, start.adapter)]


def ancestors(spec: RunSpec, workspace: Workspace) -> tuple[Ancestor, ...]:
    """What a run of this spec trains further, the nearest first; () where that is nothing, or it is gone.

    A base model that full fine-tuning made is an ancestor as well.
    """
    try:
        if spec.start_from:
            folder = find_adapter(workspace, spec.start_from.adapter).folder
            name, sha256 = spec.start_from.adapter, weights_sha256(folder)
        else:
            name, folder, sha256 = spec.base, find_model(workspace, spec.base).folder, ""
        card = read_card(folder)
    except (OSError, WorkbenchError):
        return ()
    if card is None:
        return (Ancestor(name, sha256),) if spec.start_from else ()
    return (Ancestor(name, sha256, card.run_id or "", card.dataset or ""), *card.lineage)


def pinned_start(spec: RunSpec, workspace: Workspace) -> RunSpec:
    """The spec with the hash of the adapter that it starts from, where there is one and its hash is not named.

    Raises:
        WorkbenchError: M25 where there is no such adapter; what is wrong with its files.
    """
    if spec.start_from is None or spec.start_from.sha256:
        return spec
    found = weights_sha256(_whole_adapter(workspace, spec.start_from.adapter).folder)
    return spec.model_copy(update={"start_from": spec.start_from.model_copy(update={"sha256": found})})


def further(spec: RunSpec, made: str, name: str, workspace: Workspace) -> RunSpec:
    """The spec of a run that trains further what the run of `spec` made, otherwise with the same settings.

    An adapter is what it starts from, a model is its base. How long it trains is worked out anew.

    Raises:
        WorkbenchError: M25 where there is no such adapter; what is wrong with its files; A22 where nobody knows how it
            was made.
    """
    changes: dict[str, Any] = {"name": name}
    changes["training"] = spec.training.model_copy(update={"epochs": None, "steps": None})
    if METHODS[spec.method.method].makes == "model":
        return spec.model_copy(update={**changes, "base": made, "base_fingerprint": None, "start_from": None})
    folder = _whole_adapter(workspace, made).folder
    changes["method"] = method_settings(folder)
    changes["start_from"] = StartingAdapter(adapter=made, sha256=weights_sha256(folder))
    return spec.model_copy(update=changes)


def method_settings(folder: Path) -> MethodSettings:
    """The settings that belong to an adapter's weights, as a run that trains it further must have them.

    Of a LoRA adapter they are what its configuration says: PiSSA and OLoRA become a plain LoRA of twice the rank when
    they are saved, and an adapter made elsewhere has no card.

    Raises:
        WorkbenchError: A22 where neither its configuration nor its card says how it was made; H01 where what they say
            is more than can be trained.
    """
    fields, problems = read_config(folder)
    card = read_card(folder)
    if any(problem.severity == "error" for problem in problems):
        raise WorkbenchError(problems)
    if fields and fields.type == "LORA":
        return _of_lora(fields, card, folder)
    possible = (fields.method, *ALIKE.get(fields.method, ())) if fields else ()
    if card is None or card.settings is None or card.settings.method not in possible:
        raise refusal("A22_start_unknown", Place(file=folder.name), adapter=folder.name)
    if card.settings.method == "ptuning":  # its network is not kept: the virtual tokens it made go on by themselves
        return card.settings.model_copy(update={"method": "prompt"})
    return card.settings


def check_settings_fit(folder: Path, made: Mapping[str, Shape], found: Mapping[str, Shape]) -> None:
    """Refuse an adapter whose tensors (`found`, by name) are others than its settings make (`made`).

    Raises:
        WorkbenchError: A22: its card was changed, or is another adapter's.
    """
    wrong = sorted(name for name in {*made, *found} if made.get(name) != found.get(name))
    if wrong:
        shapes = [list(shape) if shape else "–" for shape in (made.get(wrong[0]), found.get(wrong[0]))]
        values = {"adapter": folder.name, "tensor": excerpt(wrong[0]), "made": str(shapes[0]), "found": str(shapes[1])}
        raise refusal("A22_start_contradicts_card", Place(file=f"{folder.name}/{CARD_FILE}"), **values)


def _whole_adapter(workspace: Workspace, name: str) -> AdapterInfo:
    info = find_adapter(workspace, name)
    if info.errors:
        raise WorkbenchError(info.errors)
    return info


def _of_lora(fields: AdapterFields, card: AdapterCard | None, folder: Path) -> MethodSettings:
    found = fields.values
    uneven = found["rank_pattern"] or found["alpha_pattern"] or found["exclude_modules"]
    if uneven or found["target_modules"] is None or "+" in fields.method:
        raise refusal("A22_start_unknown", Place(file=folder.name), adapter=folder.name)
    trained = card.settings if card and card.settings else MethodSettings()
    plus = fields.method == "lora" and trained.method == "loraplus"
    shape = {
        "method": "loraplus" if plus else fields.method,
        "rank": found["r"],
        "alpha": float(found["lora_alpha"]),
        "target_modules": tuple(sorted(found["target_modules"])),
        "layers": tuple(sorted(found["layers_to_transform"] or ())),
        "lora_bias": found["lora_bias"],
    }
    return MethodSettings.checked(trained.model_dump() | shape)


def _differences(wanted: MethodSettings, made_with: MethodSettings, adapter: str) -> Iterator[Problem]:
    """The settings in which a run would not fit the weights it starts from. LoRA and LoRA+ are the same weights."""
    for name in ("method", *METHODS[made_with.method].settings):
        if name in FREE_SETTINGS:
            continue
        now, before = (_comparable(settings, name) for settings in (wanted, made_with))
        if now != before:
            values = {"field": name, "adapter": adapter, "now": _words(now), "before": _words(before)}
            yield Problem("A22_start_made_otherwise", Place(field=f"method.{name}"), values)


def _comparable(settings: MethodSettings, name: str) -> object:
    value = getattr(settings, name)
    if name == "method":
        return "lora" if value == "loraplus" else value
    if name == "alpha":
        return float(value if value is not None else 2 * settings.rank)
    return tuple(sorted(value)) if isinstance(value, tuple) else value


def _words(value: object) -> str:
    return excerpt(", ".join(map(str, value)) if isinstance(value, tuple) else value)
