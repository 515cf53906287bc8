"""Everything there is to say about a data set under a recipe before a model is loaded, and the examples it gives.

Owns the choices that need all rows at once: fixes of the whole set, filters, samples, the mixing in of other sets. What
is asked of single rows is in `intake.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.data.checks.fixes import CURES, SET_FIXES
from core.data.checks.placeholders import placeholder_problems
from core.data.checks.set_checker import SetFacts, leak_problems
from core.data.conversation import Example
from core.data.datasets import DatasetInfo, info_of
from core.data.findings import Finding
from core.data.formats.detection import Column
from core.data.intake import CheckProgress, FixOffer, Intake, take_in
from core.data.options import DataOptions, FixName, FormatName
from core.data.places import Places
from core.data.reading.streams import Container, naming, open_rows
from core.data.selection import Indices, Selection
from core.errors import Place, Problem, excerpt, refusal
from core.jobs import Watch

SAMPLED_FIXES = 3


@dataclass(frozen=True)
class DatasetReport:
    """What a file holds under a recipe.

    `rows` counts those of the file, `examples` are those that a run can use, `groups` their group: examples of one
    group are equal or nearly so and never stand on both sides of a split. `left_out` counts rows by what left them out
    (bad, edits, fixes, length, sample), `composition` the examples by the data set they come from. `placeholders` are
    those of the file, also where the recipe fills them. `system_prompt` is the one that all its own examples share.
    `validation` are the examples of the data set that the recipe names for it, with that name as their file, `others`
    the reports on all other sets it uses; `characters` is about what is said in all. `places` are those of all rows of
    its own that could be read, by which `index_of` finds one.
    """

    info: DatasetInfo
    options: DataOptions
    format: FormatName | None
    counts: dict[str, int]
    rows: int
    examples: Sequence[Example]
    groups: NDArray[np.int64]
    findings: tuple[Finding, ...]
    container: Container
    columns: tuple[Column, ...] = ()
    offers: tuple[FixOffer, ...] = ()
    placeholders: dict[str, int] = field(default_factory=dict)
    system_prompt: str | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    composition: tuple[tuple[str, int], ...] = ()
    validation: Sequence[Example] = ()
    others: tuple[DatasetReport, ...] = ()
    characters: int = 0
    places: Places | None = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The first problems of every kind, errors first."""
        return tuple(problem for finding in self.findings for problem in finding.problems)

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    @property
    def error_count(self) -> int:
        return sum(finding.count for finding in self.findings if finding.severity == "error")

    def index_of(self, file: str, line: int) -> int | None:
        """Number of the example that begins at a line, else of the first after it; None where there is none.

        `file` is a file of the set, "" where it is one itself; of a set of several then the first that has the line.
        """
        if self.places is None or not isinstance(self.examples, Selection):
            return None
        own = np.flatnonzero(self.examples.source == 0)
        rows = self.examples.position[own]
        fits = self.places.lines[rows] >= line
        if file:
            number = self.places.files.index(file) if file in self.places.files else -1
            fits &= self.places.file_numbers[rows] == number
        own, lines = own[fits], self.places.lines[rows[fits]]
        return int(own[lines.argmin()]) if len(own) else None


Resolve = Callable[[str], DatasetReport]
"""The report on another data set of the registry, under its own recipe."""


def report(
    path_or_info: Path | DatasetInfo,
    options: DataOptions | None = None,
    resolve: Resolve | None = None,
    watch: Watch[CheckProgress] | None = None,
) -> DatasetReport:
    """Read a data file and say everything about it.

    Raises:
        WorkbenchError: where the file as a whole cannot be read; A03 where the recipe names a data set there is not;
            H02 where the shares of mixed-in sets leave nothing for its own rows.
        Cancelled: where `watch` raises it.
    """
    options = options or DataOptions()
    info = path_or_info if isinstance(path_or_info, DatasetInfo) else info_of(path_or_info)
    with naming(info.name), open_rows(info.file, options.encoding, options.sheet) as stream:
        intake = take_in(stream, options, info.name, watch)
        return _finished(info, intake, stream.container, resolve or _no_registry)


def _finished(info: DatasetInfo, intake: Intake, container: Container, resolve: Resolve) -> DatasetReport:
    options, facts = intake.options, intake.checker.finish()
    applied = [name for name in SET_FIXES if name in options.fixes]
    cured = frozenset().union(*(CURES[name] for name in applied))
    intake.log.add(problem for problem in facts.problems if problem.key not in cured)
    intake.log.add(placeholder_problems(intake.placeholders, options.placeholders))
    index = _chosen(intake, facts, applied)
    own = Selection.of(intake.store, index)
    others = {name: resolve(name) for name in options.other_datasets}
    examples, groups, composition = _mixed(own, facts.groups[index], info.name, intake, others)
    validation: Sequence[Example] = ()
    if options.validation_dataset:
        held_out, name = others[options.validation_dataset].examples, options.validation_dataset
        intake.log.add(leak_problems(examples, held_out, name))
        validation = Selection.of(held_out, name=name)
    return DatasetReport(
        info=info,
        options=options,
        format=intake.format,
        counts=intake.detection.counts,
        rows=intake.rows,
        examples=examples,
        groups=groups,
        findings=intake.log.findings(info.name, errors_warn=options.skip_bad_rows and len(index) > 0),
        container=container,
        columns=intake.detection.columns,
        offers=(*intake.offers(), *_set_offers(intake, facts)),
        placeholders=dict(intake.placeholders.most_common()),
        system_prompt=next(iter(intake.system_prompts)) if len(intake.system_prompts) == 1 else None,
        left_out={step: count for step, count in intake.left_out.items() if count},
        composition=composition,
        validation=validation,
        others=tuple(others.values()),
        characters=_characters(intake, index, examples),
        places=facts.places,
    )


def _chosen(intake: Intake, facts: SetFacts, applied: Sequence[FixName]) -> Indices:
    """Numbers of the stored examples that the recipe keeps, in file order."""
    options, left_out = intake.options, intake.left_out
    characters = np.asarray(intake.characters, dtype=np.int64)
    kept = np.asarray(intake.usable, dtype=bool)
    dropped = np.zeros(len(kept), dtype=bool)
    for name in applied:
        dropped[facts.drops[name]] = True
    left_out["fixes"] += int((kept & dropped).sum())
    kept &= ~dropped
    long_enough = characters >= (options.min_characters or 0)
    short_enough = characters <= (options.max_characters or np.inf)
    left_out["length"] += int((kept & ~(long_enough & short_enough)).sum())
    index = np.flatnonzero(kept & long_enough & short_enough)
    if options.take is not None and options.take < len(index):
        left_out["sample"] += len(index) - options.take
        index = _sampled(index, options.take, options.seed) if options.take_at_random else index[: options.take]
    return index


def _sampled(index: Indices, count: int, seed: int) -> Indices:
    """`count` of them by the seed, in their order."""
    chosen = random.Random(seed).sample(range(len(index)), count)  # noqa: S311 - a choice, not a secret
    return index[sorted(chosen)]


def _mixed(
    own: Selection, groups: NDArray[np.int64], name: str, intake: Intake, reports: Mapping[str, DatasetReport]
) -> tuple[Selection, NDArray[np.int64], tuple[tuple[str, int], ...]]:
    """The examples with those of other data sets, their groups, and how many come from where."""
    options, whole = intake.options, own
    composition = [(name, len(own))] if options.mix else []
    shares = sum(other.share or 0 for other in options.mix)
    if shares >= 1:
        raise refusal("H02_mix_shares", Place(field="mix"), shares=f"{shares:.0%}")
    others = [(other, reports[other.dataset]) for other in options.mix]
    fixed_rows = len(own) + sum(len(found.examples) for other, found in others if other.share is None)
    for other, found in others:
        there = len(found.examples)
        wanted = there if other.share is None else round(fixed_rows * other.share / (1 - shares))
        if found.errors or wanted > there:
            intake.log.add(_mix_problems(other.dataset, wanted, there, bool(found.errors)))
        index = _sampled(np.arange(there), min(wanted, there), options.seed)
        whole = whole.joined(Selection.of(found.examples, index, other.dataset))
        groups = np.concatenate([groups, found.groups[index] + (groups.max(initial=-1) + 1)])
        composition.append((other.dataset, len(index)))
    if options.shuffle:
        order = list(range(len(whole)))
        random.Random(options.seed).shuffle(order)  # noqa: S311 - an order, not a secret
        whole, groups = whole.picked(order), groups[order]
    return whole, groups, tuple(composition)


def _mix_problems(name: str, wanted: int, there: int, errors: bool) -> list[Problem]:
    values = {"name": name, "wanted": f"{wanted:,}", "there": f"{there:,}"}
    short = [Problem("D33_mix_short", values=values, severity="warning")] if wanted > there else []
    return [*short, Problem("D32_mix_has_errors", values=values, severity="warning")] if errors else short


def _characters(intake: Intake, index: Indices, examples: Selection) -> int:
    """Characters of all examples; those of other sets, whose lengths are not kept, as long as its own on average."""
    own = int(np.asarray(intake.characters, dtype=np.int64)[index].sum())
    return round(own * len(examples) / max(1, len(index)))


def _set_offers(intake: Intake, facts: SetFacts) -> list[FixOffer]:
    offers = []
    for name in SET_FIXES:
        drops = facts.drops.get(name, np.array([], np.int64))
        if len(drops):
            samples = tuple((intake.store[int(index)], None) for index in drops[:SAMPLED_FIXES])
            offers.append(FixOffer(name, name in intake.options.fixes, len(drops), samples))
    return offers


def _no_registry(name: str) -> DatasetReport:
    raise refusal("A03_no_dataset", name=excerpt(name), known="–")
