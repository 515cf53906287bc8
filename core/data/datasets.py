"""The registry of data sets in `training/datasets/`, and the report on one of them.

Owns adding, listing and finding files, the way from a file to its examples (`report`), and the split into training and
validation rows. What the bytes, rows and messages mean is decided in `readers`, `formats` and `checks`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from core.data.checks import can_be_trained, check_examples, filled, placeholder_problems, placeholders
from core.data.conversation import Example, Message
from core.data.formats import FORMATS, FormatName, detect_format, to_examples
from core.data.readers import MAX_FILE_BYTES, naming, read_rows
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.settings import Scale, Settings
from core.workspace import Workspace, free_name, sync_folder

__all__ = [
    "FORMATS",
    "DataOptions",
    "DatasetInfo",
    "DatasetReport",
    "ReportCache",
    "add_dataset",
    "default_validation_rows",
    "find_dataset",
    "list_datasets",
    "report",
    "split",
]

SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".txt")
VALIDATION_FROM_ROWS = 40
KEPT_REPORTS = 2


class DataOptions(Settings):
    """How the rows of a file become examples; part of a run's spec. `format` None is the one that is detected."""

    format: FormatName | None = None
    placeholders: dict[str, str] = Field(default={})
    system_prompt: str | None = None
    skip_bad_rows: Annotated[bool, Scale(advanced=True)] = False


@dataclass(frozen=True)
class DatasetInfo:
    """A file of data; `name` is its file name."""

    name: str
    file: Path
    bytes: int

    @cached_property
    def sha256(self) -> str:
        """The hash of the file's bytes, read when first asked."""
        with self.file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()


@dataclass(frozen=True)
class DatasetReport:
    """What a file holds under some options. `rows` counts those of the file, `examples` are those that can be used.

    `placeholders` are those of the file, also where the options fill them. `system_prompt` is the one all examples
    share, be it the file's or the options'.
    """

    info: DatasetInfo
    format: FormatName | None
    counts: dict[str, int]
    rows: int
    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]
    placeholders: dict[str, int] = field(default_factory=dict)
    system_prompt: str | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "warning")


def list_datasets(workspace: Workspace) -> list[DatasetInfo]:
    """The data files of the workspace by name."""
    files = [file for file in workspace.datasets.glob("*") if file.suffix.lower() in SUFFIXES and file.is_file()]
    shown = [file for file in files if not file.name.startswith(".")]
    return [DatasetInfo(file.name, file, file.stat().st_size) for file in sorted(shown, key=lambda file: file.name)]


def find_dataset(workspace: Workspace, name: str) -> DatasetInfo:
    """The data set of a name.

    Raises:
        WorkbenchError: A03 with the names there are.
    """
    known = {info.name: info for info in list_datasets(workspace)}
    if name not in known:
        raise refusal("A03_no_dataset", name=excerpt(name), known=", ".join(known) or "–")
    return known[name]


def add_dataset(workspace: Workspace, source: Path, original_name: str) -> DatasetInfo:
    """Copy a file into the workspace under a free name as near to its own as is allowed.

    Raises:
        WorkbenchError: D38 for a kind of file that is not read, D18 for one too big, D45 for one that is gone,
            A13 where the disk is full; then nothing was added.
    """
    wish = Path(original_name.replace("\\", "/"))
    suffix = wish.suffix.lower()
    if suffix not in SUFFIXES:
        raise refusal("D38_kind_of_file", Place(file=excerpt(wish.name)), known=", ".join(SUFFIXES))
    staging = workspace.datasets / f".{os.getpid()}-{os.urandom(8).hex()}.tmp"
    try:
        if source.stat().st_size > MAX_FILE_BYTES:
            raise refusal("D18_file_too_big", Place(file=excerpt(wish.name)), megabytes=MAX_FILE_BYTES // 2**20)
        with source.open("rb") as opened, staging.open("wb") as copy:
            shutil.copyfileobj(opened, copy)
            copy.flush()
            os.fsync(copy.fileno())
        target = _reserved(workspace.datasets, wish.stem, suffix)
        staging.replace(target)
        sync_folder(workspace.datasets)
    except OSError as error:
        raise _not_added(error, excerpt(wish.name)) from error
    finally:
        staging.unlink(missing_ok=True)
    return DatasetInfo(target.name, target, target.stat().st_size)


def report(path_or_info: Path | DatasetInfo, options: DataOptions | None = None) -> DatasetReport:
    """Everything there is to say about a data file before a model is loaded.

    Raises:
        WorkbenchError: where no row at all can be read; see `read_rows`.
    """
    options = options or DataOptions()
    info = path_or_info if isinstance(path_or_info, DatasetInfo) else _info(path_or_info)
    with naming(info.name):
        rows, problems = read_rows(info.file)
        detection = detect_format(rows)
        chosen = options.format or detection.format
        if options.format is None:
            problems += detection.problems
        if chosen is None:
            return DatasetReport(info, None, detection.counts, len(rows), (), _in_order(problems, info.name))
        examples, found = to_examples(rows, chosen)
    names = placeholders(examples)
    examples = [_with_options(example, options) for example in examples]
    found += [*check_examples(examples), *placeholder_problems(names, options.placeholders)]
    usable = tuple(example for example in examples if can_be_trained(example))
    problems += found
    if options.skip_bad_rows and usable:
        problems = [replace(problem, severity="warning") for problem in problems]
    return DatasetReport(
        info=info,
        format=chosen,
        counts=detection.counts,
        rows=len(rows),
        examples=usable,
        problems=_in_order(problems, info.name),
        placeholders=names,
        system_prompt=_shared_system_prompt(usable),
    )


class ReportCache:
    """The last reports, kept as long as their files are unchanged. May be used from any thread, which parse in turn."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._kept: list[tuple[object, DatasetReport]] = []  # the newest last

    def report(self, name: str, options: DataOptions) -> DatasetReport:
        """The report on a data set; the same object as before where nothing has changed.

        Raises:
            WorkbenchError: A03 where there is no such data set; as `report`.
        """
        info = find_dataset(self._workspace, name)
        try:
            stat = info.file.stat()
        except OSError as error:
            raise refusal("D45_file_unreadable", Place(file=name), reason=error.strerror or "") from error
        key = (name, stat.st_mtime_ns, stat.st_size, options.model_dump_json())
        with self._lock:
            known = next((made for kept, made in self._kept if kept == key), None)
            made = known or report(info, options)
            others = [entry for entry in self._kept if entry[0] != key]
            self._kept = [*others, (key, made)][-KEPT_REPORTS:]
            return made


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and validation examples, both in file order; equal conversations are always on the same side.

    `share` of the rows, rounded, go to validation, fewer where duplicates do not divide; one conversation at least
    stays in training. The choice depends on the examples and the seed alone.
    """
    groups: dict[object, list[int]] = {}
    for index, example in enumerate(examples):
        groups.setdefault(example.key, []).append(index)
    keys = list(groups)
    random.Random(seed).shuffle(keys)  # noqa: S311 - a choice, not a secret
    free = round(share * len(examples))
    held_out: set[int] = set()
    for key in keys[1:]:
        if len(groups[key]) <= free - len(held_out):
            held_out.update(groups[key])
    training = [example for index, example in enumerate(examples) if index not in held_out]
    return training, [examples[index] for index in sorted(held_out)]


def default_validation_rows(rows: int) -> int:
    """Rows held out where nobody chose: max(5 %, min(10 rows, 10 %)) from 40 rows up, none below."""
    return max(round(0.05 * rows), min(10, round(0.1 * rows))) if rows >= VALIDATION_FROM_ROWS else 0


def _info(path: Path) -> DatasetInfo:
    try:
        return DatasetInfo(path.name, path, path.stat().st_size)
    except OSError as error:
        raise refusal("D45_file_unreadable", Place(file=path.name), reason=error.strerror or "") from error


def _with_options(example: Example, options: DataOptions) -> Example:
    messages = example.messages
    if options.system_prompt and example.system_prompt is None:
        messages = (Message(role="system", content=options.system_prompt), *messages)
    return filled(Example(messages, example.line), options.placeholders)


def _shared_system_prompt(examples: Sequence[Example]) -> str | None:
    prompts = {example.system_prompt for example in examples}
    return prompts.pop() if len(prompts) == 1 else None


def _in_order(problems: Sequence[Problem], file: str) -> tuple[Problem, ...]:
    """Errors before warnings, each by line; all naming the file."""
    named = [replace(problem, place=replace(problem.place, file=file)) for problem in problems]
    return tuple(sorted(named, key=lambda problem: (problem.severity, problem.place.line or 0)))


def _reserved(folder: Path, wish: str, suffix: str) -> Path:
    """An empty file under a free name: two uploads of one name at once get two files."""
    while True:
        target = folder / f"{free_name(folder, wish, suffix)}{suffix}"
        try:
            target.open("xb").close()
        except FileExistsError:
            continue
        return target


def _not_added(error: OSError, file: str) -> WorkbenchError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return refusal("A13_disk_full_dataset", Place(file=file))
    return refusal("D45_file_unreadable", Place(file=file), reason=error.strerror or "")
