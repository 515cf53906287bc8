"""A made-up result with everything in it, for the tests of the report, of the page, and of the browser."""

from __future__ import annotations

from core.evaluation.results import (
    Advice,
    ColumnResult,
    EvaluationResult,
    FieldResult,
    ForgettingResult,
    JudgedResult,
    LossResult,
    RowResult,
)
from core.evaluation.spec import EvaluationSpec

ROWS = 12
LABELS = ("语速", "流利度", "发音")
MARKS = ("1", "2", "3")
QUESTIONS = ("What is 2 + 3?", "中国的首都是哪里？")


def field(label: str, right: float) -> FieldResult:
    """Twelve rows, four of each mark; the diagonal holds the right ones, the rest did not parse."""
    kept = round(4 * right)
    confusion = tuple((*(kept if i == j else 0 for j in range(3)), 4 - kept) for i in range(3))
    return FieldResult(rf"{label}：(\d)", label, right, right, 1 / 3, MARKS, confusion)


def column(name: str, loss: float, right: float, general: float) -> ColumnResult:
    return ColumnResult(
        column=name,
        loss=LossResult(loss, 2.718**loss, 480, ROWS, 1 if name else 0),
        measures={
            "exact": right / 2,
            "chrf": 100 * right,
            "looping": 0.25 if name else 0.0,
            "answer_length": 40 * loss,
        },
        fields=tuple(field(label, right) for label in LABELS),
        forgetting=ForgettingResult(
            {"en": general, "zh": general + 0.4},
            tuple((question, "5" if right else "北京") for question in QUESTIONS),
            1,
            (True, False),
        ),
        judged=JudgedResult(7.5 if name else 2.0, ROWS, 0),
        tokens_per_s=120.0,
    )


def row(number: int, columns: int) -> RowResult:
    """Adapters are better but on the last two rows: equal, then worse."""
    better = {ROWS: -20.0, ROWS - 1: 0.0}.get(number, 30.0)
    judged = {"judge": 7.0} if number == 1 else {}
    scores = tuple({"chrf": 40.0 + (better if at else 0.0), **judged} for at in range(columns))
    answers = tuple(f"语速：{number % 3 + 1}" if at else "Sorry" for at in range(columns))
    problems = tuple(("looping",) if at and number == 3 else () for at in range(columns))
    return RowResult(number, f"第 {number} 题", "语速：1\n流利度：2", answers, (2.0,) * columns, scores, problems)


def result_of(*columns: ColumnResult, rows: int = ROWS, **changes: object) -> EvaluationResult:
    spec = EvaluationSpec(
        name="after training",
        base="tiny",
        columns=tuple(each.column for each in columns),
        dataset="rows.jsonl",
        fields=tuple(each.pattern for each in columns[0].fields),
    )
    result = EvaluationResult(
        id="20260102-030405-abcd",
        spec=spec,
        created="2026-01-02T03:04:05+00:00",
        columns=columns,
        rows=tuple(row(number, len(columns)) for number in range(1, rows + 1)),
        advice=(),
        elapsed_s=61.0,
        best=(0, 1) if rows else (),
        worst=(rows - 1,) if rows else (),
        versions={"torch": "2.9.0"},
    )
    return EvaluationResult(**{**result.__dict__, **changes})  # type: ignore[arg-type]


BASE, JUDGE, OTHER = column("", 3.0, 0.0, 2.0), column("judge", 1.0, 0.75, 2.05), column("other", 1.5, 0.25, 3.0)
LOOPS = Advice("looping", {"name": "judge", "count": 3, "of": 12, "limit": 256})
RESULT = result_of(BASE, JUDGE, OTHER, advice=(LOOPS,))
