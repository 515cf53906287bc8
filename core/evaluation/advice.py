"""What a person could do about what an evaluation found: each piece of advice with the numbers it rests on. Pure.

Owns the thresholds. What was forgotten is judged in `verdicts` and advised beside the meter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from core.errors import Problem, WorkbenchError
from core.evaluation.results import Advice, ColumnResult, RowResult
from core.evaluation.spec import BASE, EvaluationSpec
from core.i18n import Language, text

WORTH_SAYING = 0.05  # of the answers
PARSES = 0.95
FEW_ROWS = 50
CERTAINTY = 1.96  # standard deviations, of which a share of rows is at most a half


def advice(
    spec: EvaluationSpec, columns: Sequence[ColumnResult], rows: Sequence[RowResult], seen: Mapping[str, int]
) -> tuple[Advice, ...]:
    """Everything worth saying, the gravest first. `seen` says how many of the rows a column was trained on."""
    found = [*seen_in_training(seen, len(rows))]
    for number, column in enumerate(columns):
        if column.column != BASE or len(columns) == 1:  # beside an adapter, nobody means to mend the base model
            found += [*_of_answers(spec, column, number, rows), *_of_fields(column)]
        found += _of_loss(spec, column, columns[0])
    skipped = sum("not_asked" in row.problems[0] for row in rows)
    found += [Advice("not_asked", {"rows": skipped, "of": len(rows)})] if skipped else []
    if len(rows) < FEW_ROWS:
        margin = 100 * CERTAINTY * math.sqrt(0.25 / len(rows))
        found.append(Advice("few_rows", {"rows": len(rows), "points": round(margin)}))
    return tuple(found)


def seen_in_training(seen: Mapping[str, int], of: int) -> tuple[Advice, ...]:
    """Which columns were trained on some of so many rows; `seen` says on how many."""
    return tuple(Advice("seen_in_training", {"name": name, "rows": n, "of": of}) for name, n in seen.items() if n)


def advice_text(said: Advice, lang: Language) -> str:
    """The advice in words; the base model is called so."""
    values = dict(said.values)
    if "name" in values:
        values["name"] = text("evaluation.base", lang) if values["name"] == BASE else f"“{values['name']}”"
    if "problem" in values:
        values["reason"] = Problem(values["problem"], values=values.pop("of_problem")).describe(lang).what
    words = text(f"evaluation.advice.{said.key}", lang, **values)
    return words[0].upper() + words[1:]


def judge_failed(error: WorkbenchError) -> Advice:
    """That the judge could not be asked to the end, and why."""
    problem = error.problems[0]
    return Advice("judge_failed", {"problem": problem.key, "of_problem": problem.values})


def _of_answers(spec: EvaluationSpec, column: ColumnResult, number: int, rows: Sequence[RowResult]) -> Iterator[Advice]:
    answered = [row.problems[number] for row in rows if row.answers[number] is not None]
    for problem in ("looping", "cut", "empty"):
        count = sum(problem in problems for problems in answered)
        if count and count >= WORTH_SAYING * len(answered):
            shown = {"name": column.column, "count": count, "of": len(answered)}
            yield Advice(problem, {**shown, "limit": spec.sampling.max_new_tokens})


def _of_fields(column: ColumnResult) -> Iterator[Advice]:
    unread = [field for field in column.fields if field.parse_rate < PARSES]
    if unread:
        worst = min(unread, key=lambda field: field.parse_rate)
        shown = {"name": column.column, "label": worst.label, "percent": round(100 * worst.parse_rate)}
        yield Advice("parse_low", {**shown, "fields": len(unread)})
    beaten = [field.label for field in column.fields if field.accuracy <= field.most_frequent]
    if beaten:
        yield Advice("no_better_than_frequent", {"name": column.column, "labels": ", ".join(beaten)})


def _of_loss(spec: EvaluationSpec, column: ColumnResult, reference: ColumnResult) -> Iterator[Advice]:
    if (spec.loss and column.loss is None) or (column.forgetting and not column.forgetting.loss_by_text):
        yield Advice("no_number", {"name": column.column})
    elif column.loss and reference.loss and column.loss.loss > reference.loss.loss:
        shown = {"name": column.column, "loss": f"{column.loss.loss:.3f}", "before": f"{reference.loss.loss:.3f}"}
        yield Advice("worse_loss", shown)
