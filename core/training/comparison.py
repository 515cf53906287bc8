"""Runs beside each other: their curves, the settings in which they differ, how they ended, what they answer. Pure.

Owns what of several runs is put into one row, and which settings count as different. It sees snapshots and specs, never
files; how anything is drawn is the page's business.

    [RunRecord, …] → compared → Comparison
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.adapters.method_facts import METHODS
from core.settings import LoadSettings, MethodSettings, Settings, TrainingSettings
from core.training.history import RunSummary
from core.training.progress import Sample, Snapshot
from core.training.spec import RunSpec

NOT_COMPARED = ("name", "other_data", "tokenizer_sha256", "device", "versions")
_NAMED: dict[str, type[Settings]] = {"load": LoadSettings, "method": MethodSettings, "training": TrainingSettings}


@dataclass(frozen=True)
class RunRecord:
    """A run as it is compared; `spec` is None where its file is missing or damaged."""

    summary: RunSummary
    snapshot: Snapshot
    spec: RunSpec | None


@dataclass(frozen=True)
class Curve:
    """The losses of a run by step; `steps_per_epoch` turns steps into epochs, None where it was never planned."""

    run_id: str
    name: str
    train: tuple[tuple[int, float], ...]
    evals: tuple[tuple[int, float], ...]
    best_step: int | None
    steps_per_epoch: int | None


@dataclass(frozen=True)
class Setting:
    """A setting in which runs differ: its path in the spec and its value in each run, None where it has none.

    `label_key` is the catalogue's key of its name; "" where it has none and its path must do.
    """

    field: str
    label_key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Answers:
    """A sample prompt and the newest answer of each run to it; None where a run was not asked.

    `base` is an answer of the base model, where all runs that were asked have the same base.
    """

    prompt: str
    base: Sample | None
    answers: tuple[Sample | None, ...]


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other; everything has them in this order."""

    runs: tuple[RunSummary, ...]
    curves: tuple[Curve, ...]
    settings: tuple[Setting, ...]
    answers: tuple[Answers, ...]


def compared(records: Sequence[RunRecord]) -> Comparison:
    """Two or more runs beside each other."""
    return Comparison(
        runs=tuple(record.summary for record in records),
        curves=tuple(_curve(record) for record in records),
        settings=tuple(_differing([record.spec for record in records])),
        answers=tuple(_answers([record.snapshot for record in records])),
    )


def _curve(record: RunRecord) -> Curve:
    seen = record.snapshot
    steps_per_epoch = seen.plan.steps_per_epoch if seen.plan else None
    name = record.summary.name
    return Curve(record.summary.run_id, name, seen.losses, seen.evals, seen.best_step, steps_per_epoch)


def _differing(specs: Sequence[RunSpec | None]) -> Iterator[Setting]:
    """The settings that are not the same in all runs, in the order of the spec; a setting of no method is left out."""
    tables = [dict(_leaves(spec)) if spec else {} for spec in specs]
    for path in dict.fromkeys(path for table in tables for path in table):
        values = tuple(table.get(path) for table in tables)
        if any(value != values[0] for value in values):
            yield Setting(path, label_key(path), values)


def _leaves(spec: RunSpec) -> Iterator[tuple[str, Any]]:
    """Every setting by its path. Of the method's settings only those that it uses."""
    unused = {name for name in type(spec.method).model_fields if name != "method"} - set(
        METHODS[spec.method.method].settings
    )
    tree = spec.model_dump(mode="json", exclude={**dict.fromkeys(NOT_COMPARED, True), "method": unused})
    for name, value in tree.items():
        if name == "start_from":
            yield name, value and value["adapter"]
        elif isinstance(value, dict):
            yield from ((f"{name}.{inner}", entry) for inner, entry in value.items())
        else:
            yield name, value


def label_key(path: str) -> str:
    """The catalogue's key of a setting's name, by its path in the spec; "" where there is none."""
    group, _, name = path.rpartition(".")
    if not group:
        return f"runs.field.{name}"
    return f"settings.{_NAMED[group].__name__}.{name}.label" if group in _NAMED else ""


def _answers(snapshots: Sequence[Snapshot]) -> Iterator[Answers]:
    one_base = len({snapshot.base for snapshot in snapshots}) == 1
    newest = [{sample.prompt: sample for sample in snapshot.samples if sample.step} for snapshot in snapshots]
    bases = {sample.prompt: sample for snapshot in snapshots for sample in snapshot.samples if not sample.step}
    for prompt in dict.fromkeys(sample.prompt for snapshot in snapshots for sample in snapshot.samples):
        yield Answers(prompt, bases.get(prompt) if one_base else None, tuple(each.get(prompt) for each in newest))
