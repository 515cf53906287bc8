"""The rows of one file, one after the other: read, edited, fixed, checked and stored, in a memory that does not grow.

Owns that order and what is counted on the way. Which of the stored examples a recipe takes in the end is decided in
`report.py`.

    open_rows → detect_format → RowReader → edits → row fixes → system prompt, placeholders → SetChecker → ExampleStore
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

from core.data.checks.fixes import CURES, ROW_FIXES, fixed
from core.data.checks.placeholders import filled, placeholder_names
from core.data.checks.set_checker import SetChecker
from core.data.conversation import Example, Message
from core.data.example_store import ExampleStore
from core.data.findings import Finding, FindingLog
from core.data.formats.detection import Detection, detect_format
from core.data.formats.row_reader import RowReader, read_messages
from core.data.options import FIXES, DataOptions, FixName, FormatName
from core.data.reading.rows import Row
from core.data.reading.streams import RowStream
from core.errors import Problem, WorkbenchError, refusal
from core.jobs import Watch

DETECTED_FROM = 1000
MAX_ROWS = 5_000_000
SAMPLES = 3
TOLD_EVERY_S = 0.25


@dataclass(frozen=True)
class CheckProgress:
    """How far a file was read: the share of its bytes, its rows so far, and what was found in them."""

    share: float
    rows: int
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class FixOffer:
    """A fix that would change, or has changed, `rows` rows; `samples` are some of them before and after.

    None after means that the row is left out.
    """

    name: FixName
    applied: bool
    rows: int
    samples: tuple[tuple[Example, Example | None], ...]


@dataclass
class Intake:
    """A file as it was taken in. `usable` and `characters` have one entry for each stored example."""

    options: DataOptions
    detection: Detection
    format: FormatName | None
    log: FindingLog = field(default_factory=FindingLog)
    store: ExampleStore = field(default_factory=ExampleStore)
    checker: SetChecker = field(default_factory=SetChecker)
    usable: array[int] = field(default_factory=lambda: array("b"))
    characters: array[int] = field(default_factory=lambda: array("q"))
    placeholders: Counter[str] = field(default_factory=Counter)
    system_prompts: set[str | None] = field(default_factory=set)
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    _touched: Counter[FixName] = field(default_factory=Counter)
    _samples: dict[FixName, list[tuple[Example, Example | None]]] = field(default_factory=dict)

    def offers(self) -> list[FixOffer]:
        """The row fixes that change something, in their order."""
        return [
            FixOffer(name, name in self.options.fixes, self._touched[name], tuple(self._samples[name]))
            for name in FIXES
            if self._touched[name]
        ]

    def count_unreadable(self, problems: Iterable[Problem]) -> None:
        self.log.add(problems)
        self.left_out["bad"] += 1

    def take(self, example: Example) -> None:
        """Fix, check and store one example."""
        for name in ROW_FIXES:
            if name in self.options.fixes:
                after = fixed(example, (name,))
                self._count(name, example, after)
                if after is None:
                    self.left_out["fixes"] += 1
                    return
                example = after
        self.placeholders.update(placeholder_names(example))
        example = filled(_with_system_prompt(example, self.options.system_prompt), self.options.placeholders)
        problems = self.checker.add(example)
        self.log.add(problems)
        found = {problem.key for problem in problems}
        for name in ROW_FIXES:
            if name not in self.options.fixes and found & CURES[name]:
                self._count(name, example, fixed(example, (name,)))
        good = all(problem.severity == "warning" for problem in problems)
        self.left_out["bad"] += not good
        if good and len(self.system_prompts) < 2:  # one that all share, or several
            self.system_prompts.add(example.system_prompt)
        self.usable.append(good)
        self.characters.append(example.characters)
        self.store.add(example)

    def _count(self, name: FixName, before: Example, after: Example | None) -> None:
        if after is before:
            return
        self._touched[name] += 1
        samples = self._samples.setdefault(name, [])
        if len(samples) < SAMPLES:
            samples.append((before, after))


def take_in(stream: RowStream, options: DataOptions, file: str, watch: Watch[CheckProgress] | None = None) -> Intake:
    """Read a file to its end. Rows that no format fits are counted and not stored.

    Raises:
        WorkbenchError: where the file as a whole cannot be read, or has more than `MAX_ROWS` rows.
    """
    early: list[Row | Problem] = []
    for item in stream:
        early.append(item)
        if len(early) >= DETECTED_FROM:
            break
    head = [item for item in early if isinstance(item, Row)]
    detection = detect_format(head)
    intake = Intake(options, detection, _format(options, detection))
    if intake.format is None:
        intake.log.add(detection.problems)
    reader = _reader(intake)
    edits = {edit.row: edit.messages for edit in options.edits}
    told = time.monotonic()
    for row in _rows(chain(early, stream), intake.log):
        intake.rows += 1
        if intake.rows > MAX_ROWS:
            raise refusal("D18_too_many_rows", limit=f"{MAX_ROWS:,}")
        if reader:
            _take_row(intake, reader, row, edits)
        if watch and time.monotonic() - told > TOLD_EVERY_S:
            told = time.monotonic()
            watch(CheckProgress(stream.share, intake.rows, intake.log.findings(file)))
    if reader:
        intake.log.add(reader.problems())
    return intake


def _reader(intake: Intake) -> RowReader | None:
    """The reader of the format; None where there is none, or where its mapping or format file is not complete."""
    if intake.format is None:
        return None
    try:
        return RowReader(intake.format, intake.options.mapping, intake.options.patterns)
    except WorkbenchError as error:
        intake.log.add(error.problems)
        return None


def _format(options: DataOptions, detection: Detection) -> FormatName | None:
    if options.format:
        return options.format
    if options.mapping:
        return "mapped"
    return "patterns" if options.patterns else detection.format


def _rows(items: Iterable[Row | Problem], log: FindingLog) -> Iterator[Row]:
    """The rows; what is between them goes into the log."""
    for item in items:
        if isinstance(item, Row):
            yield item
        else:
            log.add([item])


def _take_row(
    intake: Intake, reader: RowReader, row: Row, edits: dict[int, tuple[dict[str, object], ...] | None]
) -> None:
    """Take a row as it is, or as a person rewrote it; the other parts of a rewritten row stay where it can be read."""
    number = intake.rows
    written = edits.get(number)
    if number in edits and written is None:
        intake.left_out["edits"] += 1
        return
    try:
        messages = read_messages(written, row.line) if written else None
        try:
            example = reader.read(row, number)
        except WorkbenchError:
            if messages is None:
                raise
            example = Example((), row.line, number, row.file)
        intake.take(replace(example, messages=messages, text=None) if messages else example)
    except WorkbenchError as error:
        intake.count_unreadable(error.problems)


def _with_system_prompt(example: Example, system_prompt: str | None) -> Example:
    if not system_prompt or not example.messages or example.system_prompt is not None:
        return example
    return replace(example, messages=(Message(role="system", content=system_prompt), *example.messages))
