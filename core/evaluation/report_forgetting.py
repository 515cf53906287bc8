"""The forgetting meter in HTML: how far general text and general questions have become harder, in words and as a bar.

Pure. What counts as how much is in `verdicts`.
"""

from __future__ import annotations

from core.evaluation.report_words import (
    MINUS,
    change,
    column_name,
    grid,
    known,
    percent,
    reference_name,
    titled,
    word,
)
from core.evaluation.results import ColumnResult, EvaluationResult, ForgettingResult
from core.evaluation.verdicts import FORGETTING_LIMITS, Forgotten, forgotten, rise
from core.i18n import Language
from core.markup import Kind, card, details, escape, heading, note, number

KINDS: dict[Forgotten, Kind] = {"nothing": "good", "little": "info", "clearly": "warning", "much": "bad"}


def forgetting_part(result: EvaluationResult, lang: Language) -> str:
    """A meter for each column but the reference, then the numbers behind it."""
    measured = [column for column in result.columns if column.forgetting]
    if not measured:
        return ""
    before = result.columns[0].forgetting
    meters = "".join(_meter(column, before, result, lang) for column in result.columns[1:]) if before else ""
    numbers = _losses(measured, lang) + _questions(measured, lang)
    return titled("forgetting", note(word("forgetting.explained", lang)) + meters + numbers, lang)


def short(result: EvaluationResult, column: int, lang: Language) -> str | None:
    """How much a column has forgotten, in a word; None where that was not measured."""
    before, after = result.columns[0].forgetting, result.columns[column].forgetting
    risen = rise(before, after) if before and after else None
    return None if risen is None else f"{word(f'forgetting.short.{forgotten(risen)}', lang)} ({_signed(risen)})"


def _meter(column: ColumnResult, before: ForgettingResult, result: EvaluationResult, lang: Language) -> str:
    after = column.forgetting
    risen = rise(before, after) if after else None
    if after is None or risen is None:
        return ""
    level = forgotten(risen)
    said = word(f"forgetting.{level}", lang)
    zones = "".join(_zone(each, each == level, lang) for each in KINDS)
    bar = (
        f'<div class="wb-meter" role="meter" aria-valuemin="0" aria-valuemax="{len(KINDS) - 1}" '
        f'aria-valuenow="{list(KINDS).index(level)}" aria-valuetext="{escape(said)}">{zones}</div>'
    )
    lines = [word("forgetting.rise", lang, rise=_signed(risen))]
    if after.questions:
        counted = {"right": after.right, "count": len(after.questions), "before": before.right}
        lines.append(word("forgetting.questions", lang, reference=reference_name(result, lang), **counted))
    advice = note(word("forgetting.advice", lang)) if level in ("clearly", "much") else ""
    head = heading(f"{column_name(column.column, lang)}: {said}")
    return card(head + bar + "".join(map(note, lines)) + advice, KINDS[level])


def _zone(level: Forgotten, here: bool, lang: Language) -> str:
    words = escape(word(f"forgetting.short.{level}", lang))
    limit = FORGETTING_LIMITS.get(level)
    bound = f"≤ +{percent(limit)}" if limit else f"> +{percent(FORGETTING_LIMITS['clearly'])}"
    mark, current = ("▶ ", ' aria-current="true"') if here else ("", "")
    return f'<span class="wb-{KINDS[level]}"{current}>{mark}{words}<small>{escape(bound)}</small></span>'


def _signed(risen: float) -> str:
    return f"{'+' if risen >= 0 else MINUS}{percent(abs(risen))}"


def _losses(measured: list[ColumnResult], lang: Language) -> str:
    texts = list(dict.fromkeys(name for each in measured if each.forgetting for name in each.forgetting.loss_by_text))
    headers = [word("forgetting.text", lang), *(column_name(column.column, lang) for column in measured)]
    rows = []
    for name in texts:
        losses = [each.forgetting.loss_by_text.get(name) for each in measured if each.forgetting]
        changes = ["", *(change(loss, losses[0], "number", False, lang) for loss in losses[1:])]
        cells = [f"{escape(number(loss, 3))}{said}" for loss, said in zip(losses, changes, strict=True)]
        rows.append([escape(known("evaluation_report.forgetting.language", name, lang)), *cells])
    return grid(headers, rows, word("forgetting.caption", lang)) if rows else ""


def _questions(measured: list[ColumnResult], lang: Language) -> str:
    """What each column answered to the general questions, with a mark for right and wrong."""
    asked = [column.forgetting for column in measured if column.forgetting]
    headers = [word("forgetting.question", lang), *(column_name(column.column, lang) for column in measured)]
    rows = [
        [escape(question), *(_answered(each, number) for each in asked)]
        for number, (question, _) in enumerate(asked[0].questions)
    ]
    return details(word("forgetting.details", lang), grid(headers, rows)) if rows else ""


def _answered(asked: ForgettingResult, number: int) -> str:
    if number >= len(asked.questions):
        return "–"
    mark = ("✓ " if asked.correct[number] else "✗ ") if number < len(asked.correct) else ""
    return f"{mark}{escape(asked.questions[number][1])}"
