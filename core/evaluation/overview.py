"""All evaluations in one table: a line for each column of each result, what it was measured on and what came of it.

Owns the lines and their CSV, both pure; which results there are is the desk's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from core.evaluation.results import ColumnResult, EvaluationResult
from core.evaluation.spec import BASE, Part
from core.tables import csv_text


@dataclass(frozen=True)
class OverviewLine:
    """One column of one evaluation: `adapter` is "" for the base `model` alone, `rows` those that were measured.

    `window_tokens` and `stride_tokens` are None where no plain text was read in windows, the loss where there is none.
    """

    model: str
    adapter: str
    dataset: str
    part: Part
    rows: int
    window_tokens: int | None
    stride_tokens: int | None
    loss: float | None
    perplexity: float | None
    created: str


def overview_lines(result: EvaluationResult) -> tuple[OverviewLine, ...]:
    """The lines of one result, in the order of its columns."""
    return tuple(_line(result, column) for column in result.columns)


def overview_csv(lines: Iterable[OverviewLine]) -> str:
    """The lines as CSV; the base model is called so, as in the files of rows."""
    header = [each.name for each in dataclasses.fields(OverviewLine)]
    named = (dataclasses.replace(line, adapter=line.adapter or "base") for line in lines)
    return csv_text(header, map(dataclasses.astuple, named))


def _line(result: EvaluationResult, column: ColumnResult) -> OverviewLine:
    spec, loss = result.spec, column.loss
    window = loss.window_tokens if loss else None
    return OverviewLine(
        model=spec.base,
        adapter="" if column.column == BASE else column.column,
        dataset=spec.dataset,
        part=spec.part,
        rows=loss.rows if loss else len(result.rows),
        window_tokens=window,
        stride_tokens=window and (spec.stride or window),
        loss=loss.loss if loss else None,
        perplexity=loss.perplexity if loss else None,
        created=result.created,
    )
