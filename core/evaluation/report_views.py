"""A result as the parts of a report in HTML: what it comes to, the fields, how it was measured; and which parts. Pure.

The page and the one-file report show the same `PARTS` in the same order. Their figures are in `report_figures`; what is
better and what was forgotten is judged in `verdicts`.
"""

from __future__ import annotations

from collections.abc import Callable

from core.evaluation.advice import advice_text
from core.evaluation.report_forgetting import forgetting_part, short
from core.evaluation.report_measures import measures_part, most_frequent, values
from core.evaluation.report_rows import examples_part
from core.evaluation.report_words import (
    column_name,
    grid,
    percent,
    points,
    reference_name,
    titled,
    word,
    written,
)
from core.evaluation.results import EvaluationResult, FieldResult
from core.evaluation.spec import spec_text
from core.evaluation.verdicts import Tally, tally
from core.i18n import Language
from core.markup import Kind, card, details, duration, escape, facts, heading, note

HEADLINE = {"field_accuracy": "share", "parse_rate": "share", "perplexity": "number"}


def headline_part(result: EvaluationResult, lang: Language) -> str:
    """What it comes to in plain words: a card for each column that is compared, and what could be done."""
    others = range(1, len(result.columns))
    cards = "".join(_verdict(result, column, lang) for column in others) or _alone(result, lang)
    return cards + _advice(result, lang)


def _verdict(result: EvaluationResult, column: int, lang: Language) -> str:
    """One column against the reference."""
    name, counted = column_name(result.columns[column].column, lang), tally(result, column)
    kind, key = _outcome(counted)
    who = {"name": name, "reference": reference_name(result, lang)}
    amounts = {"better": counted.better, "equal": counted.equal, "worse": counted.worse, "rows": counted.rows}
    said = word(f"headline.{key}", lang, **who, **amounts)
    pairs = [*_counted(key, counted, lang), *_compared(result, column, lang)]
    return card(heading(said) + facts(pairs), kind)


def _outcome(counted: Tally) -> tuple[Kind, str]:
    if not counted.rows:
        return "info", "plain"
    if counted.equal > max(counted.better, counted.worse) or counted.better == counted.worse:
        return "info", "mixed" if counted.better + counted.worse > counted.equal else "equal"
    return ("good", "better") if counted.better > counted.worse else ("warning", "worse")


def _counted(key: str, counted: Tally, lang: Language) -> list[tuple[str, str]]:
    """By what rows were compared, and how the rest of them came out."""
    if not counted.rows:
        return []
    pairs = [(word("headline.by", lang), word(f"yardstick.{counted.yardstick}", lang))]
    if key in ("better", "worse"):
        rest = "others_value" if key == "better" else "others_better"
        amounts = {"equal": counted.equal, "better": counted.better, "worse": counted.worse}
        pairs.append((word("headline.others", lang), word(f"headline.{rest}", lang, **amounts)))
    return pairs


def _compared(result: EvaluationResult, column: int, lang: Language) -> list[tuple[str, str]]:
    """The few numbers that matter most, before and after."""
    before, after = values(result.columns[0]), values(result.columns[column])
    reference = column_name(result.columns[0].column, lang)
    frequent = most_frequent(result.columns[column])
    pairs = []
    for name, form in HEADLINE.items():
        if name in before and name in after:
            shown = {"value": written(after[name], form), "before": written(before[name], form), "reference": reference}  # type: ignore[arg-type]
            key = "value"
            if name == "field_accuracy" and frequent is not None:
                key, shown["frequent"] = "frequent", percent(frequent)
            pairs.append((word(f"measure.{name}", lang), word(f"headline.{key}", lang, **shown)))
    kept = short(result, column, lang)
    return [*pairs, *([(word("headline.forgetting", lang), kept)] if kept else [])]


def _alone(result: EvaluationResult, lang: Language) -> str:
    reference = column_name(result.columns[0].column, lang)
    return card(heading(word("headline.alone", lang, reference=reference)), "info")


def _advice(result: EvaluationResult, lang: Language) -> str:
    body = "".join(note(advice_text(each, lang)) for each in result.advice)
    return card(heading(word("advice", lang)) + body, "info") if body else ""


def rows_part(result: EvaluationResult, lang: Language) -> str:
    """The title of the figure of rows, where there is something to compare."""
    compared = any(tally(result, column).rows for column in range(1, len(result.columns)))
    return titled("rows", " ", lang) if compared else ""


def fields_part(result: EvaluationResult, lang: Language) -> str:
    """Per field: what guessing would reach, what each column reaches, and which is more."""
    measured = [column for column in result.columns if column.fields]
    if not measured:
        return ""
    headers = [word("fields.field", lang), word("fields.most_frequent", lang)]
    headers += [column_name(column.column, lang) for column in measured]
    rows = [
        [
            f"{escape(first.label)}<small class='wb-delta wb-quiet'>{escape(first.pattern)}</small>",
            escape(percent(first.most_frequent)),
            *(_field(column.fields[at], lang) for column in measured if at < len(column.fields)),
        ]
        for at, first in enumerate(measured[0].fields)
    ]
    return titled("fields", grid(headers, rows, word("fields.caption", lang)), lang)


def _field(found: FieldResult, lang: Language) -> str:
    gain = found.accuracy - found.most_frequent
    key: str = "level" if abs(gain) < 0.0005 else "above" if gain > 0 else "below"
    mark = {"level": "=", "above": "▲", "below": "▼"}[key]
    kind = {"level": "quiet", "above": "good", "below": "bad"}[key]
    said = word(f"fields.{key}", lang, points=points(gain)) if key != "level" else word("fields.level", lang)
    parses = word("fields.parses", lang, share=percent(found.parse_rate))
    return (
        f"{escape(percent(found.accuracy))}<small class='wb-delta wb-{kind}'>{mark} {escape(said)}</small>"
        f"<small class='wb-delta wb-quiet'>{escape(parses)}</small>"
    )


def about_part(result: EvaluationResult, lang: Language) -> str:
    """On what and how it was measured, and the specification that measures it again."""
    spec, sampling = result.spec, result.spec.sampling
    way = {"tokens": f"{sampling.max_new_tokens:,}", "temperature": f"{sampling.temperature:g}"}
    answers = word(f"about.{'sampled' if sampling.do_sample else 'greedy'}", lang, **way)
    pairs = [
        ("data", spec.dataset),
        ("rows", word(f"about.rows_{spec.part}", lang, rows=f"{len(result.rows):,}")),
        ("base", spec.base),
        ("columns", ", ".join(column_name(column.column, lang) for column in result.columns)),
        *_windows(result, lang),
        *([("answers", answers)] if spec.answers else []),
        ("seed", str(spec.seed)),
        ("created", result.created[:16].replace("T", " ")),
        ("elapsed", duration(result.elapsed_s, lang)),
        *([("versions", ", ".join(map(" ".join, result.versions.items())))] if result.versions else []),
    ]
    named = facts((word(f"about.{name}", lang), value) for name, value in pairs)
    written_out = details(word("about.spec", lang), f"<pre>{escape(spec_text(spec))}</pre>")
    return titled("about", named + written_out, lang)


def _windows(result: EvaluationResult, lang: Language) -> list[tuple[str, str]]:
    """How plain text was read, where there was any."""
    window = next((column.loss.window_tokens for column in result.columns if column.loss), None)
    if window is None:
        return []
    key, stride = ("overlapping", result.spec.stride) if result.spec.stride else ("apart", window)
    return [("windows", word(f"about.windows_{key}", lang, window=f"{window:,}", stride=f"{stride:,}"))]


PARTS: dict[str, Callable[[EvaluationResult, Language], str]] = {
    "headline": headline_part,
    "measures": measures_part,
    "rows": rows_part,
    "fields": fields_part,
    "forgetting": forgetting_part,
    "examples": examples_part,
    "about": about_part,
}
"""Every part by its name, in the order of the report; a part that has nothing to say is ""."""
