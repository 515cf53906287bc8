"""From what was measured to the result: measures of each column, the rows, which went best and worst, advice. Pure.

Owns putting it together and the order of rows by gain. Measures are `measures`' and `field_match`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.chat.streams import Reply
from core.data.conversation import Message
from core.data.template_forms import without_thoughts
from core.evaluation.field_match import match_field
from core.evaluation.loss import MeasuredRow, SummedLoss, perplexity
from core.evaluation.measures import measure_answers
from core.evaluation.repetition import answer_problems
from core.evaluation.results import (
    ColumnResult,
    FieldResult,
    ForgettingResult,
    JudgedResult,
    LossResult,
    MeasureSet,
    RowResult,
)
from core.evaluation.rows import ChosenRow
from core.evaluation.spec import EvaluationSpec
from core.evaluation.verdicts import YARDSTICKS, value

SHOWN_ROWS = 5  # best ones, and as many worst ones


@dataclass
class Measured:
    """What came of one column: losses and replies by the place of their row; empty where nothing was asked."""

    losses: Sequence[SummedLoss] = ()
    replies: dict[int, Reply] = field(default_factory=dict)
    marks: dict[int, float | None] = field(default_factory=dict)  # of the judge
    forgetting: ForgettingResult | None = None


@dataclass(frozen=True)
class Scores:
    """The measures of one column's answers; `rows` by the place of the row."""

    measures: MeasureSet
    fields: tuple[FieldResult, ...]
    rows: Mapping[int, MeasureSet]


def visible(answer: str) -> str:
    """An answer as a person reads it first: without the thoughts before it."""
    return without_thoughts(Message(role="assistant", content=answer))["content"]


def scored(spec: EvaluationSpec, rows: Sequence[ChosenRow], measured: Measured) -> Scores:
    """Every measure of the answers of one column."""
    places = sorted(measured.replies)
    replies = [measured.replies[place] for place in places]
    answers, references = [visible(reply.text) for reply in replies], [rows[place].reference for place in places]
    measures, of_rows = measure_answers(answers, references, [reply.finished for reply in replies])
    if replies:
        measures["answer_tokens"] = sum(reply.tokens for reply in replies) / len(replies)
        of_rows = [
            scores | _fields_right(spec.fields, answer, reference)
            for scores, answer, reference in zip(of_rows, answers, references, strict=True)
        ]
    fields = tuple(match_field(pattern, answers, references) for pattern in spec.fields) if replies else ()
    return Scores(measures, fields, dict(zip(places, of_rows, strict=True)))


def column_result(column: str, measured: Measured, scores: Scores, rows: Sequence[MeasuredRow]) -> ColumnResult:
    total = sum(measured.losses, SummedLoss())
    counted = sum(summed.tokens > 0 for summed in measured.losses)
    loss = None
    if total.mean is not None:
        cut = sum(row.cut for row in rows)
        window = max((row.window_tokens for row in rows if row.window_tokens), default=None)
        loss = LossResult(total.mean, perplexity(total.mean), total.tokens, counted, cut, window)
    given = [mark for mark in measured.marks.values() if mark is not None]
    judged = None
    if measured.marks:
        judged = JudgedResult(sum(given) / len(given) if given else None, len(given), len(measured.marks) - len(given))
    return ColumnResult(
        column=column,
        loss=loss,
        measures=scores.measures,
        fields=scores.fields,
        forgetting=measured.forgetting,
        judged=judged,
        tokens_per_s=_speed(list(measured.replies.values())),
    )


def row_result(
    spec: EvaluationSpec, place: int, row: ChosenRow, columns: Sequence[tuple[Measured, Scores]], cut: bool
) -> RowResult:
    """One row with what each column made of it; `cut` says that its end was not measured."""
    replies = [measured.replies.get(place) for measured, _ in columns]
    marks = [measured.marks.get(place) for measured, _ in columns]
    scores = [
        {**scores.rows.get(place, {}), **({"judge": mark} if mark is not None else {})}
        for (_, scores), mark in zip(columns, marks, strict=True)
    ]
    return RowResult(
        row=row.row,
        question=row.question,
        reference=row.reference,
        answers=tuple(reply.text if reply else None for reply in replies),
        losses=tuple(measured.losses[place].mean if measured.losses else None for measured, _ in columns),
        scores=tuple(scores),
        problems=tuple(tuple(_problems(spec, row, reply, cut)) for reply in replies),
    )


def best_and_worst(rows: Sequence[RowResult]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Places of the rows that gained most, and of those that gained least or lost, each list the extreme first.

    A row's gain is by how much the last columns are better than the first on average; with one column, its own value.
    """
    for name in YARDSTICKS:
        gains = {at: gain for at, row in enumerate(rows) if (gain := _gain(row, name)) is not None}
        if gains:
            order = sorted(gains, key=lambda at: (-gains[at], at))
            worst = min(SHOWN_ROWS, len(order) // 2)
            best = min(SHOWN_ROWS, len(order) - worst)
            return tuple(order[:best]), tuple(reversed(order[len(order) - worst :]))
    return (), ()


def _gain(row: RowResult, name: str) -> float | None:
    values = [value(row, column, name) for column in range(len(row.answers))]
    found = [each for each in values if each is not None]
    if len(found) < len(values):
        return None
    reference, *others = found
    return sum(others) / len(others) - reference if others else reference


def _fields_right(patterns: Sequence[str], answer: str, reference: str) -> MeasureSet:
    """The share of the reference's fields that an answer has right; nothing where the reference has none."""
    found = [match_field(pattern, [answer], [reference]) for pattern in patterns]
    asked = [each.accuracy for each in found if each.classes]
    return {"fields": sum(asked) / len(asked)} if asked else {}


def _problems(spec: EvaluationSpec, row: ChosenRow, reply: Reply | None, cut: bool) -> list[str]:
    found = ["too_long"] if cut else []
    if reply is None:
        return [*found, "not_asked"] if spec.answers and row.reference else found
    found += answer_problems(visible(reply.text), reply.finished)
    return [*found, "shortened"] if reply.dropped_turns else found


def _speed(replies: Sequence[Reply]) -> float:
    """Tokens a second of one answer, as whoever waited for it saw it: the mean over all tokens."""
    timed = [reply for reply in replies if reply.tokens_per_s]
    seconds = sum(reply.tokens / reply.tokens_per_s for reply in timed)
    return sum(reply.tokens for reply in timed) / seconds if seconds else 0.0
