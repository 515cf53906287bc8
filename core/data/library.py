"""The data sets of a workspace at work: their recipes, the checks of them in the background, and what is made of them.

Owns which reports are kept and who waits for one. A report is made once for the same bytes and recipe, whoever asks:
the page, the plan or a run. May be used from any thread.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from core.data import datasets
from core.data.conversation import Example, Message
from core.data.datasets import DatasetCard, DatasetInfo, Replaced
from core.data.findings import Finding
from core.data.formats.patterns import read_patterns
from core.data.formats.row_reader import read_messages
from core.data.intake import CheckProgress
from core.data.options import DataOptions, RowEdit
from core.data.report import DatasetReport, report
from core.errors import Place, WorkbenchError, excerpt, refusal
from core.jobs import Cancelled, Job
from core.workspace import Workspace, checked_name, free_name, read_json, write_json
from core.zip_output import new_folder_in

KEPT_REPORTS = 4  # besides those of the sets that are mixed in: the one on the page, and some that were there before
MAX_PATTERNS_BYTES = 64 * 1024


@dataclass(frozen=True)
class CheckStatus:
    """How far the check of a data set is; in the end there is a report, or the error that ended it."""

    name: str
    running: bool
    share: float
    rows: int
    findings: tuple[Finding, ...]
    report: DatasetReport | None
    error: WorkbenchError | None
    elapsed_s: float

    @property
    def eta_s(self) -> float | None:
        """Seconds to the end at the speed so far; None as long as nothing was read."""
        return self.elapsed_s * (1 - self.share) / self.share if self.running and self.share > 0 else None


@dataclass
class _Check:
    """The check of a data set. One that only the page looks at ends when the page shows another recipe."""

    name: str
    job: Job[CheckProgress, DatasetReport]
    others: int  # data sets whose reports it uses
    only_shown: bool = True


class DataLibrary:
    """The data sets of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._changing = threading.Lock()  # a recipe that is changed is read and written by one at a time
        self._checks: dict[str, _Check] = {}  # by what decides the report; the one asked for last is the last

    # ---- the registry ----

    def list(self) -> list[DatasetInfo]:
        return datasets.list_datasets(self._workspace)

    def find(self, name: str) -> DatasetInfo:
        return datasets.find_dataset(self._workspace, name)

    def add(self, source: Path, original_name: str) -> DatasetInfo:
        """Copy an uploaded file into the registry under a free name."""
        return datasets.add_dataset(self._workspace, source, original_name)

    def delete(self, name: str) -> None:
        """Remove a data set; its check ends."""
        self.cancel(name)
        datasets.delete_dataset(self._workspace, name)

    # ---- recipes ----

    def card(self, name: str) -> DatasetCard:
        self.find(name)
        return datasets.read_card(self._workspace, name)

    def recipe(self, name: str) -> DataOptions:
        """What is done with its rows, as it was saved last."""
        return self.card(name).options

    def change_recipe(self, name: str, change: Callable[[DataOptions], DataOptions]) -> None:
        """Keep what `change` makes of the recipe as it stands; of two changes at once neither is lost.

        Raises:
            WorkbenchError: A03 where it, or one that the recipe newly names, is not there; H02 for a set mixed into
                itself; what `change` raises.
        """
        with self._changing:
            card = self.card(name)
            wanted = change(card.options)
            if wanted != card.options:
                self._save(name, card, wanted)

    def replace_recipe(self, name: str, options: DataOptions) -> bool:
        """Use a run's recipe; tells whether another one stood there, which `put_back_recipe` brings back.

        That is the one a person made last: of several runs' recipes after each other none takes its place.

        Raises:
            WorkbenchError: as `change_recipe`.
        """
        with self._changing:
            card = self.card(name)
            kept, slot = card.options, card.replaced
            before = slot.before if slot and kept in (slot.by, options) else kept
            replaced = None if before == options else Replaced(before=before, by=options)
            if kept != options or replaced != slot:
                self._save(name, card.model_copy(update={"replaced": replaced}), options)
            return replaced is not None

    def put_back_recipe(self, name: str) -> bool:
        """Use the recipe again that a run's took the place of; tells whether what was changed since is kept in turn.

        Raises:
            WorkbenchError: as `change_recipe`.
        """
        with self._changing:
            card = self.card(name)
            kept, slot = card.options, card.replaced
            if slot is None:
                return False
            since = None if kept in (slot.by, slot.before) else Replaced(before=kept, by=kept)
            self._save(name, card.model_copy(update={"replaced": since}), slot.before)
            return since is not None

    def edit_row(self, name: str, row: int, messages: Sequence[Mapping[str, Any]] | None) -> None:
        """Rewrite a row, or leave it out (None); the file stays as it is.

        Raises:
            WorkbenchError: the D codes of messages that cannot be read.
        """
        if messages is not None:
            read_messages(messages, row)
        edit = RowEdit.checked(
            {"row": row, "messages": None if messages is None else [dict(each) for each in messages]}
        )
        self._change_edits(name, row, [edit])

    def restore_row(self, name: str, row: int) -> None:
        """Take the file's own row again."""
        self._change_edits(name, row, [])

    def _change_edits(self, name: str, row: int, new: Sequence[RowEdit]) -> None:
        def change(recipe: DataOptions) -> DataOptions:
            others = [edit for edit in recipe.edits if edit.row != row]
            edits = tuple(sorted([*others, *new], key=lambda edit: edit.row))
            return recipe.model_copy(update={"edits": edits})

        self.change_recipe(name, change)

    def _save(self, name: str, card: DatasetCard, options: DataOptions) -> None:
        for other in options.other_datasets:
            if other not in card.options.other_datasets:  # one that is gone since holds up no other change
                self.find(other)
        if name in options.other_datasets:
            raise refusal("H02_mixed_with_itself", Place(field="mix"), name=name)
        datasets.write_card(self._workspace, name, card.model_copy(update={"options": options}))

    # ---- checks ----

    def check(
        self, name: str, wait_s: float = 0.0, options: DataOptions | None = None, *, again: bool = True
    ) -> CheckStatus:
        """Begin the check of a data set, or join it; waits at most so long for its end.

        Without `again`, one that was cancelled is not begun again.

        Raises:
            WorkbenchError: A03, D45 where there is no such data set.
        """
        check = self._check(name, self.recipe(name) if options is None else options, only_shown=True, again=again)
        check.wait(wait_s)
        return _status(name, check)

    def is_checking(self, name: str) -> bool:
        """Whether its check goes on; what keeps it from being read is told by whoever reads it."""
        try:
            return self.check(name, again=False).running
        except WorkbenchError:
            return False

    def cancel(self, name: str) -> None:
        """End the check of a data set that is in progress."""
        with self._lock:
            for check in self._running(name):
                check.job.cancel()

    def report(self, name: str, options: DataOptions | None = None) -> DatasetReport:
        """The report on a data set, under a recipe or its own; the same object as before where nothing has changed.

        Raises:
            WorkbenchError: A03 where there is no such data set; D18 where the check was cancelled; as `report`.
        """
        try:
            return self._check(name, self.recipe(name) if options is None else options, only_shown=False).result()
        except Cancelled as error:
            raise _check_cancelled(name) from error

    def state(self, name: str, options: DataOptions) -> str:
        """Changes when anything does that decides the report: bytes and recipes, also of the sets that are mixed in.

        Raises:
            WorkbenchError: A03, D45 where a data set is not there.
        """
        others = [
            [other, self._other(other).state, self.recipe(other).model_dump(mode="json")]
            for other in options.other_datasets
        ]
        recipe = options.without_rendering().model_dump(mode="json")
        return json.dumps([name, self.find(name).state, recipe, others])

    def _other(self, name: str) -> DatasetInfo:
        """A data set that another one uses."""
        try:
            return self.find(name)
        except WorkbenchError as error:
            raise refusal("A03_other_dataset", name=excerpt(name)) if error.key == "A03_no_dataset" else error from None

    def _check(
        self, name: str, options: DataOptions, *, only_shown: bool, again: bool = True
    ) -> Job[CheckProgress, DatasetReport]:
        info, options = self.find(name), options.without_rendering()
        key = self.state(name, options)
        with self._lock:
            kept = self._checks.pop(key, None)
            if kept is None or (kept.job.cancelled and again):
                for other in self._running(name):
                    if other.only_shown:
                        other.job.cancel()
                work = partial(report, info, options, self._plain_report)
                kept = _Check(name, Job(f"check {name}", work), len(options.other_datasets))
            kept.only_shown &= only_shown
            self._checks[key] = kept
            self._forget_oldest()
        return kept.job

    def _forget_oldest(self) -> None:
        """Keep a report as long as one that uses it; what is in progress is never forgotten."""
        room = KEPT_REPORTS + max(check.others for check in self._checks.values())
        ended = [key for key, check in self._checks.items() if not check.job.running]
        for key in ended[: max(0, len(self._checks) - room)]:
            del self._checks[key]

    def _plain_report(self, name: str) -> DatasetReport:
        """Another set as it is mixed in: under its own recipe, without what that mixes in."""
        return self.report(name, self.recipe(name).alone())

    def _running(self, name: str) -> tuple[_Check, ...]:
        return tuple(check for check in self._checks.values() if check.name == name and check.job.running)

    # ---- looking at rows ----

    def search(self, name: str, query: str, start: int) -> int | None:
        """Number (from 0) of the next example from `start` on, then from the first, whose words contain the query."""
        examples, wanted = self.report(name).examples, query.casefold()
        for offset in range(len(examples)):
            number = (start + offset) % len(examples)
            if any(wanted in words.casefold() for words in examples[number].words()):
                return number
        return None

    def index_of(self, name: str, file: str, line: int) -> int | None:
        """As `DatasetReport.index_of`."""
        return self.report(name).index_of(file, line)

    # ---- what is made of them ----

    def export(self, name: str, folder: Path) -> Path:
        """The examples as they stand as JSON lines, in a new folder within one that there is."""
        found = self.report(name)
        target = new_folder_in(folder) / f"{Path(name).stem}-cleaned.jsonl"
        _write_lines(target, found.examples)
        return target

    def save_as(self, name: str, new_name: str) -> DatasetInfo:
        """The examples as they stand as a new data set.

        Raises:
            WorkbenchError: D42 for a name that is not allowed, D33 where there is no example.
        """
        found = self.report(name)
        wish = checked_name(new_name.removesuffix(".jsonl").strip())
        if not found.examples:
            raise refusal("D33_nothing_to_save", Place(file=name))
        with self._workspace.scratch() as folder:
            file = folder / "examples.jsonl"
            _write_lines(file, found.examples)
            return self.add(file, f"{wish}.jsonl")

    # ---- format files ----

    def patterns(self) -> dict[str, dict[str, str]]:
        """The format files of Text Generation WebUI that were imported, by name."""
        files = sorted(self._patterns_folder.glob("*.json"), key=lambda file: file.stem)
        return {file.stem: read_json(file) for file in files}

    def add_patterns(self, source: Path, original_name: str) -> str:
        """Import a format file; returns its name here.

        Raises:
            WorkbenchError: D21 where it is none, D45 where it is gone.
        """
        try:
            with source.open("rb") as opened:
                content = opened.read(MAX_PATTERNS_BYTES + 1)
        except OSError as error:
            place = Place(file=excerpt(original_name))
            raise refusal("D45_file_unreadable", place, reason=error.strerror or "") from error
        patterns = read_patterns(content, excerpt(original_name))
        name = free_name(self._patterns_folder, Path(original_name).stem, ".json")
        write_json(self._patterns_folder / f"{name}.json", patterns)
        return name

    @property
    def _patterns_folder(self) -> Path:
        return self._workspace.state / "format-files"


def _status(name: str, check: Job[CheckProgress, DatasetReport]) -> CheckStatus:
    progress = check.progress or CheckProgress(0.0, 0)
    found: DatasetReport | None = None
    error: WorkbenchError | None = None
    if not check.running:
        try:
            found = check.result()
        except Cancelled:
            error = _check_cancelled(name)
        except WorkbenchError as refused:
            error = refused
    share = progress.share if check.running else 1.0
    rows, findings = (found.rows, found.findings) if found else (progress.rows, progress.findings)
    return CheckStatus(name, check.running, share, rows, findings, found, error, check.elapsed_s)


def _check_cancelled(name: str) -> WorkbenchError:
    return refusal("D18_check_cancelled", Place(file=name))


def _write_lines(target: Path, examples: Sequence[Example]) -> None:
    """Write examples as JSON lines that every reader of `messages` and `text` takes, and give them back as they are.

    Raises:
        WorkbenchError: A13, A14 where the file cannot be written; then there is none.
    """
    try:
        with target.open("w", encoding="utf-8", newline="\n") as file:
            for example in examples:
                file.write(json.dumps(_row(example), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        target.unlink(missing_ok=True)
        raise refusal("A14_cannot_write_file", Place(file=target.name), reason=error.strerror or "") from error


def _row(example: Example) -> dict[str, Any]:
    if example.text is not None:
        return {"text": example.text}
    turns = [_turn(message) for message in example.messages]
    row: dict[str, Any] = {"messages": turns}
    if example.rejected is not None:
        row = {"prompt": turns[:-1], "chosen": turns[-1:], "rejected": [_turn(example.rejected)]}
    if example.tools:
        row["tools"] = list(example.tools)
    return row if example.label is None else {**row, "label": example.label}


def _turn(message: Message) -> dict[str, Any]:
    """A message with OpenAI's word for a turn that is only context."""
    turn = {name: value for name, value in message.items() if name != "trained"}
    return turn if message.get("trained", True) else {**turn, "weight": 0}
