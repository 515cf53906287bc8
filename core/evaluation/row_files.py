"""Every row of a result to take away: as CSV for a spreadsheet, as JSON lines for a script. Pure."""

from __future__ import annotations

from dataclasses import asdict

from core.evaluation.results import EvaluationResult, RowResult
from core.tables import csv_text, jsonl_text


def rows_csv(result: EvaluationResult) -> str:
    """A line a row: number, question, reference; then of each column its answer, its loss, its scores, its problems."""
    names = _names(result)
    scores = sorted({name for row in result.rows for each in row.scores for name in each})
    parts = ["answer", "loss", *scores, "problems"]
    header = ["row", "question", "reference", *(f"{part} ({name})" for name in names for part in parts)]
    return csv_text(header, (_line(row, scores) for row in result.rows))


def rows_jsonl(result: EvaluationResult) -> str:
    """A line a row, as in `result.json`, with the columns named."""
    names = _names(result)
    return jsonl_text({**asdict(row), "columns": names} for row in result.rows)


def _names(result: EvaluationResult) -> list[str]:
    return [column.column or "base" for column in result.columns]


def _line(row: RowResult, scores: list[str]) -> list[object]:
    cells: list[object] = [row.row, row.question, row.reference]
    for answer, loss, scored, problems in zip(row.answers, row.losses, row.scores, row.problems, strict=True):
        cells += [answer, loss, *(scored.get(name) for name in scores), " ".join(problems)]
    return cells
