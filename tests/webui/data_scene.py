"""A stand-in for what the data part of the page calls: one data set, its recipe, its check, and the calls that came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.data.conversation import Example
from core.data.datasets import DatasetCard, DatasetInfo
from core.data.findings import Finding
from core.data.formats.detection import Column
from core.data.intake import FixOffer
from core.data.library import CheckStatus, DataLibrary
from core.data.options import DataOptions, RowEdit
from core.data.preview import PreviewRow
from core.data.reading.rows import Container
from core.data.rendering import Piece
from core.data.report import DatasetReport
from core.data.token_tables import TokenStatus
from core.errors import Place, Problem, WorkbenchError, refusal

NAME = "rows.jsonl"
HOSTILE = "<img src=x onerror=alert(1)>{{a}}${b}"
EXAMPLES = tuple(
    Example(
        ({"role": "user", "content": f"hi {number}"}, {"role": "assistant", "content": "{{name}}"}), number + 1, number
    )
    for number in range(1, 9)
)
EMPTY = Finding(
    "D42_name_empty",
    "error",
    tuple(Problem("D42_name_empty", Place(NAME, line, "output", HOSTILE)) for line in (3, 5)),
    3,
    (3, 5, 8),
)
WHOLE = Finding(
    "D42_name_empty",
    "warning",
    (Problem("D42_name_empty", Place(NAME), {"rows": (4, 6), "count": 2}, "warning"),),
    2,
    (4, 6),
)
TRIM = FixOffer("trim_text", False, 2, ((EXAMPLES[0], replace(EXAMPLES[0], line=2)),))
REPORT = DatasetReport(
    info=DatasetInfo(NAME, Path(__file__), 100),
    options=DataOptions(),
    format="messages",
    counts={"messages": 8},
    rows=9,
    examples=EXAMPLES,
    groups=np.arange(8),
    findings=(WHOLE,),
    container=Container("csv", "gb18030", ";"),
    offers=(TRIM,),
    placeholders={"name": 8, "author": 8},
    left_out={"bad": 1},
)
UNKNOWN = replace(
    REPORT,
    format=None,
    examples=(),
    columns=(Column("ask", (HOSTILE,), "text", "user"), Column("say[0].x", ("b",), "text", None)),
)


@dataclass
class StandInLibrary:
    """What the handlers call of `workbench.data`; `checks` are the states of the check, the last of which stays."""

    options: DataOptions = DataOptions()
    report: DatasetReport | None = REPORT
    refused: WorkbenchError | None = None
    running: bool = False
    again: bool | None = None
    edited: str = ""
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    names: list[str] = field(default_factory=lambda: [NAME, "other.jsonl"])

    def list(self) -> list[DatasetInfo]:
        return [DatasetInfo(name, Path(name), 100) for name in self.names]

    def add(self, source: Path, original_name: str) -> DatasetInfo:
        if source.suffix == ".exe":
            raise refusal("D38_kind_of_file", Place(file=original_name), known=".json")
        self.calls.append(("add", original_name))
        self.names.append(original_name)
        return DatasetInfo(original_name, source, 100)

    def recipe(self, name: str) -> DataOptions:
        return self.options

    def change_recipe(self, name: str, change: Callable[[DataOptions], DataOptions]) -> None:
        wanted = change(self.options)
        if wanted != self.options:
            self.calls.append(("save", name))
            self.options = wanted

    def replace_recipe(self, name: str, options: DataOptions) -> bool:
        other = options != self.options
        self.change_recipe(name, lambda kept: options)
        return other

    def put_back_recipe(self, name: str) -> bool:
        self.calls.append(("put back", name))
        return False

    def card(self, name: str) -> DatasetCard:
        return DatasetCard(source=HOSTILE, added="2026-01-02T03:04:05+00:00", options=self.options)

    def check(self, name: str, wait_s: float = 0.0, *, again: bool = True) -> CheckStatus:
        self.again = again
        if name not in self.names:
            raise refusal("A03_no_dataset", name=name, known="")
        report = None if self.running or self.refused else self.report
        findings = report.findings if report else (EMPTY,) if self.running else ()
        return CheckStatus(name, self.running, 0.25, 1234, findings, report, self.refused, 10.0)

    is_checking = DataLibrary.is_checking

    def cancel(self, name: str) -> None:
        self.calls.append(("cancel", name))

    def patterns(self) -> dict[str, dict[str, str]]:
        return {"alpaca-format": {"instruction,output": "%instruction%%output%"}}

    def add_patterns(self, source: Path, original_name: str) -> str:
        self.calls.append(("patterns", original_name))
        return "alpaca-format"

    def search(self, name: str, query: str, start: int) -> int | None:
        self.calls.append(("search", query, start))
        return 4 if query == "hi 5" else None

    def index_of(self, name: str, file: str, line: int) -> int | None:
        return next((at for at, example in enumerate(EXAMPLES) if example.line >= line), None)

    def edit_row(self, name: str, row: int, messages: Any) -> None:
        self.calls.append(("edit", row, messages))
        self.edited = name
        self.options = self.options.model_copy(update={"edits": (RowEdit(row=row, messages=None),)})

    def restore_row(self, name: str, row: int) -> None:
        self.calls.append(("restore", row))

    def export(self, name: str, folder: Path) -> Path:
        assert folder.is_dir()
        return Path(__file__)

    def save_as(self, name: str, new_name: str) -> DatasetInfo:
        self.names.append(new_name)
        return DatasetInfo(new_name, Path(new_name), 1)


@dataclass
class StandInData:
    """The part of a workbench that the data panels call."""

    data: StandInLibrary = field(default_factory=StandInLibrary)
    status: Any = None
    tokens: TokenStatus | WorkbenchError = field(default_factory=lambda: refusal("A03_no_model"))

    def model_status(self) -> Any:
        return self.status

    def preview(self, name: str, start: int, count: int) -> list[PreviewRow]:
        self.data.calls.append(("preview", start, count))
        return [PreviewRow(example, (Piece("x", True, 1),)) for example in EXAMPLES[start : start + count]]

    def token_status(self, name: str, wait_s: float = 0.0) -> TokenStatus:
        if isinstance(self.tokens, WorkbenchError):
            raise self.tokens
        return self.tokens

    def delete_dataset(self, name: str) -> None:
        self.data.names.remove(name)
