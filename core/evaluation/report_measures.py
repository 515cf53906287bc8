"""The measures of a result as a table: a row a measure, a column a model, with what a difference means. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.evaluation.measures import MEASURES, Unit
from core.evaluation.report_words import (
    Form,
    change,
    column_name,
    grid,
    known,
    titled,
    word,
    written,
)
from core.evaluation.results import ColumnResult, EvaluationResult
from core.i18n import Language, text
from core.markup import escape, note


@dataclass(frozen=True)
class Shown:
    """How a measure is written, and whether the higher of two values is the better one; None: neither is."""

    form: Form
    higher_is_better: bool | None


FORMS: dict[Unit, Form] = {"share": "share", "points": "points", "words": "count", "times": "number"}
# Beside the measures of answers: what else `ColumnResult` has.
OWN = {
    "loss": Shown("number", False),
    "perplexity": Shown("number", False),
    "parse_rate": Shown("share", True),
    "field_accuracy": Shown("share", True),
    "judged": Shown("number", True),
}
COST = {"answer_tokens": Shown("count", None), "tokens_per_s": Shown("count", None)}
SHOWN = {
    **OWN,
    **{key: Shown(FORMS[measure.unit], measure.higher_is_better) for key, measure in MEASURES.items()},
    **COST,
}
UNKNOWN = Shown("number", None)  # a measure of another version


def values(column: ColumnResult) -> dict[str, float]:
    """Every number that was measured of a column, by its name."""
    found: dict[str, float | None] = {
        "loss": column.loss.loss if column.loss else None,
        "perplexity": column.loss.perplexity if column.loss else None,
        "parse_rate": _mean([each.parse_rate for each in column.fields]),
        "field_accuracy": _mean([each.accuracy for each in column.fields]),
        "judged": column.judged.mean if column.judged else None,
        "tokens_per_s": column.tokens_per_s or None,
        **column.measures,
    }
    return {name: value for name, value in found.items() if value is not None}


def most_frequent(column: ColumnResult) -> float | None:
    """What always answering the most frequent would get right of all fields."""
    return _mean([each.most_frequent for each in column.fields])


def measures_part(result: EvaluationResult, lang: Language) -> str:
    """The table; under it what the loss is a mean of."""
    measured = [values(column) for column in result.columns]
    every = {name for each in measured for name in each}
    names = [name for name in SHOWN if name in every] + sorted(every - set(SHOWN))
    if not names:
        return titled("measures", note(word("measures.none", lang)), lang)
    headers = [word("measures.measure", lang), *(column_name(column.column, lang) for column in result.columns)]
    rows = [_row(name, [each.get(name) for each in measured], lang) for name in names]
    caption = word("measures.caption", lang) if len(result.columns) > 1 else ""
    return titled("measures", grid(headers, rows, caption) + _of_what(result, lang) + _unmarked(result, lang), lang)


def _row(name: str, measured: Sequence[float | None], lang: Language) -> list[str]:
    shown = SHOWN.get(name, UNKNOWN)
    first, *others = measured
    changed = (change(value, first, shown.form, shown.higher_is_better, lang) for value in others)
    cells = [f"{escape(written(value, shown.form))}{said}" for value, said in zip(others, changed, strict=True)]
    return [_named(name, lang), escape(written(first, shown.form)), *cells]


def _named(name: str, lang: Language) -> str:
    """A measure's name, which explains itself under the pointer."""
    if name not in MEASURES:
        return escape(known("evaluation_report.measure", name, lang))
    label, explained = (escape(text(f"measures.{name}.{part}", lang)) for part in ("label", "help"))
    return f'<abbr title="{explained}">{label}</abbr>'


def _of_what(result: EvaluationResult, lang: Language) -> str:
    loss = next((column.loss for column in result.columns if column.loss), None)
    if loss is None:
        return ""
    words = note(word("measures.tokens", lang, tokens=f"{loss.tokens:,}", rows=f"{loss.rows:,}"))
    cut = note(word("measures.cut_rows", lang, rows=f"{loss.cut_rows:,}"), "warning") if loss.cut_rows else ""
    return words + cut


def _unmarked(result: EvaluationResult, lang: Language) -> str:
    """Answers that the judge gave no mark that could be read: its mean is of the others."""
    told = ""
    for column in result.columns:
        if column.judged and column.judged.failed:
            asked = column.judged.rated + column.judged.failed
            counts = {"failed": column.judged.failed, "asked": asked}
            told += note(word("measures.unmarked", lang, column=column_name(column.column, lang), **counts), "warning")
    return told


def _mean(shares: Sequence[float]) -> float | None:
    return sum(shares) / len(shares) if shares else None
