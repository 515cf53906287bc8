"""Names, numbers and differences as a report writes them. Pure."""

from __future__ import annotations

from typing import Literal

from core.evaluation.results import EvaluationResult
from core.evaluation.spec import BASE
from core.i18n import Language, has_text, text
from core.markup import Kind, escape, number

Form = Literal["share", "points", "count", "number"]
"""How a measure is written: as per cent, with one decimal, or in significant digits."""
SAME: dict[Form, float] = {"share": 0.0005, "points": 0.05, "count": 0.05, "number": 0.0005}  # nearer than is shown
MINUS = "\u2212"


def word(key: str, lang: Language, **values: object) -> str:
    """A text of the report."""
    return text(f"evaluation_report.{key}", lang, **values)


def known(key: str, name: str, lang: Language) -> str:
    """What the catalogue calls something; of a name that this version does not know, the name."""
    return text(f"{key}.{name}", lang) if has_text(f"{key}.{name}") else name


def column_name(column: str, lang: Language) -> str:
    return word("base", lang) if column == BASE else column


def reference_name(result: EvaluationResult, lang: Language) -> str:
    """The first column, with which the others are compared, inside a sentence."""
    first = result.columns[0].column
    return text("evaluation.base", lang) if first == BASE else f"“{first}”"


def written(value: float | None, form: Form) -> str:
    """A value as it stands in a table; “–” where there is none."""
    if value is None:
        return number(None)
    return percent(value) if form == "share" else number(value, 3) if form == "number" else f"{value:,.1f}"


def percent(share: float) -> str:
    """0.983 → 98.3 %; whole numbers without a decimal."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def points(difference: float) -> str:
    """A difference of shares in percentage points, without its sign."""
    return f"{abs(100 * difference):.1f}".removesuffix(".0")


def change(value: float | None, before: float | None, form: Form, higher_is_better: bool | None, lang: Language) -> str:
    """Where a number went and whether that is good, as HTML; nothing where it cannot be said.

    The arrow shows the number's way, the word its meaning; colour only repeats it.
    """
    if value is None or before is None:
        return ""
    difference = value - before
    if abs(difference) < SAME[form]:
        return _said("quiet", f"= {word('same', lang)}")
    amount = points(difference) if form == "share" else written(abs(difference), form)
    moved = f"{'▲ +' if difference > 0 else f'▼ {MINUS}'}{amount}"
    if higher_is_better is None:
        return _said("quiet", moved)
    good = (difference > 0) == higher_is_better
    return _said("good" if good else "bad", f"{moved} {word('better' if good else 'worse', lang)}")


def _said(kind: Kind, words: str) -> str:
    return f'<small class="wb-delta wb-{kind}">{escape(words)}</small>'


def titled(key: str, body: str, lang: Language) -> str:
    """A part of the report under its title; nothing where the part is empty."""
    return f'<section class="wb-part"><h3>{escape(word(f"section.{key}", lang))}</h3>{body}</section>' if body else ""


def grid(headers: list[str], rows: list[list[str]], caption: str = "") -> str:
    """A table whose cells are HTML that is already safe; the first of each row names it."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in headers)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="wb-table"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
