"""Problems of a data set by kind, as HTML, and the way from one to the next. Pure.

Every line number is a button: the page shows its row in the preview (`findings_panel`).
"""

from __future__ import annotations

from collections.abc import Sequence

from core.data.findings import Finding
from core.errors import Problem
from core.i18n import Language, text
from core.markup import Kind, badge, card, details, escape, heading, note

MAX_WHAT = 90  # characters of a kind's name in the list to choose from
SHOWN_LINES = 40
ROWS = "rows"  # the value of a problem of the whole set that names the lines of the rows it concerns


def finding_id(finding: Finding) -> str:
    return f"{finding.severity}:{finding.key}"


def worded(finding: Finding) -> list[Problem]:
    """The problems that belong to the first of its lines, one each; none where one problem names many rows."""
    if any(ROWS in problem.values for problem in finding.problems):
        return []
    return [problem for problem in finding.problems if problem.place.line is not None]


def choices(findings: Sequence[Finding], lang: Language) -> list[tuple[str, str]]:
    """(words, id) of every kind of problem that belongs to rows."""
    return [(_title(finding, lang), finding_id(finding)) for finding in findings if len(finding.lines)]


def found(findings: Sequence[Finding], wanted: object) -> Finding | None:
    """The finding of an id, else the first that belongs to rows."""
    walkable = [finding for finding in findings if len(finding.lines)]
    return next((finding for finding in walkable if finding_id(finding) == wanted), walkable[0] if walkable else None)


def findings_list(findings: Sequence[Finding], lang: Language, running: bool = False) -> str:
    """Every kind with its count; opened, its first problems with place, reason and mend, and the lines of all."""
    if not findings:
        return "" if running else card(note(text("data_tab.findings.none", lang), "good"), "good")
    errors = sum(finding.count for finding in findings if finding.severity == "error")
    warnings = sum(finding.count for finding in findings if finding.severity == "warning")
    counted = [
        (text("data_tab.findings.errors", lang, count=f"{errors:,}"), "bad", errors),
        (text("data_tab.findings.warnings", lang, count=f"{warnings:,}"), "warning", warnings),
    ]
    badges = [badge(words, kind) for words, kind, count in counted if count]  # type: ignore[arg-type]
    head = heading(text("data_tab.findings.so_far", lang) if running else "", *badges)
    return head + "".join(_kind(finding, lang, opened=number == 0) for number, finding in enumerate(findings))


def _kind(finding: Finding, lang: Language, opened: bool) -> str:
    with_line = {id(problem): number for number, problem in enumerate(worded(finding))}
    items = "".join(_problem(finding, with_line.get(id(problem)), problem, lang) for problem in finding.problems)
    body = f'<ul class="wb-problems">{items}</ul>{_further_lines(finding, len(with_line), lang)}'
    kind = "bad" if finding.severity == "error" else "warning"
    return f'<div class="wb-finding wb-{kind}">{details(_title(finding, lang), body, opened)}</div>'


def _title(finding: Finding, lang: Language) -> str:
    what = finding.problems[0].describe(lang).what
    short = what if len(what) <= MAX_WHAT else what[: MAX_WHAT - 1] + "…"
    return f"{finding.code} · {short} ({finding.count:,} ×)"


def _problem(finding: Finding, number: int | None, problem: Problem, lang: Language) -> str:
    words = problem.describe(lang)
    show = "" if number is None else _line_button(finding, number, text("data_tab.findings.show", lang))
    lines = "".join(f'<span dir="auto">{escape(part)}</span>' for part in (words.where, words.why, words.fix) if part)
    what = f"<strong>{escape(words.what)}</strong>" if finding.count > 1 or len(words.what) > MAX_WHAT else ""
    return f"<li>{what}{show}{lines}</li>"


def _further_lines(finding: Finding, first: int, lang: Language) -> str:
    """Buttons for the rows from number `first` on, which are not among the problems in words."""
    further = list(enumerate(finding.lines[first : first + SHOWN_LINES], first))
    if not further:
        return ""
    buttons = "".join(_line_button(finding, number, f"{line:,}") for number, line in further)
    rest = finding.count - first - len(further)
    more = escape(text("data_tab.findings.and_more", lang, count=f"{rest:,}")) if rest > 0 else ""
    words = escape(text("data_tab.findings.lines", lang))
    return f'<p class="wb-lines">{words} {buttons} {more}</p>'


def _line_button(finding: Finding, number: int, words: str) -> str:
    data = f'data-do="show" data-finding="{escape(finding_id(finding))}" data-number="{number}"'
    return f'<button type="button" class="wb-link" {data}>{escape(words)}</button>'


def position(finding: Finding, number: int, lang: Language) -> str:
    """Where one is on the walk: which of how many, its line, and what is wrong there."""
    walked = {"number": f"{number + 1:,}", "count": f"{len(finding.lines):,}", "line": f"{finding.lines[number]:,}"}
    words, own = text("data_tab.findings.position", lang, **walked), worded(finding)
    problem = (own[number] if number < len(own) else finding.problems[0]).describe(lang)
    kind: Kind = "bad" if finding.severity == "error" else "warning"
    return note(f"{words} · {problem.code} · {problem.what} {problem.fix}", kind)
