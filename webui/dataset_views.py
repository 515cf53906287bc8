"""What a data file holds, as HTML: its report, its problems, and its rows as the model sees them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from core.errors import WorkbenchError
from core.i18n import Language, has_text, text
from webui.views import badge, card, details, escape, facts, heading, note, problem_list, size

if TYPE_CHECKING:
    from core.data.datasets import DatasetReport
    from core.workbench import PreviewRow

PREVIEW_CHARACTERS = 6000


def dataset_report(report: DatasetReport, lang: Language) -> str:
    """Format, counts and every problem of a data file."""
    usable = bool(report.examples) and not report.errors
    kind, state = ("good", "ready") if usable else ("bad", "not_ready")
    if usable and report.warnings:
        kind, state = "warning", "look"
    shown = facts(
        [
            (text("training_tab.data.format", lang), format_words(report.format, lang)),
            (text("training_tab.data.rows", lang), f"{report.rows:,}"),
            (text("training_tab.data.usable", lang), f"{len(report.examples):,}"),
            (text("training_tab.data.size", lang), size(report.info.bytes)),
        ]
    )
    head = heading(report.info.name, badge(text(f"training_tab.data.{state}", lang), kind))  # type: ignore[arg-type]
    return card(head + shown + _system_prompt(report, lang) + _problems(report, lang), kind)  # type: ignore[arg-type]


def dataset_refused(error: WorkbenchError, lang: Language) -> str:
    """A file of which nothing can be read."""
    head = heading(text("training_tab.data.not_ready", lang))
    return card(head + problem_list(error.problems, lang, error.total), "bad")


def format_words(name: str | None, lang: Language) -> str:
    key = f"training_tab.data.formats.{name or 'unknown'}"
    return text(key, lang) if has_text(key) else str(name)


def _system_prompt(report: DatasetReport, lang: Language) -> str:
    if not report.system_prompt:
        return ""
    return details(text("training_tab.data.shared_system_prompt", lang), f"<pre>{escape(report.system_prompt)}</pre>")


def _problems(report: DatasetReport, lang: Language) -> str:
    parts = ""
    for severity, problems in (("errors", report.errors), ("warnings", report.warnings)):
        if problems:
            title = text(f"training_tab.data.{severity}", lang, count=len(problems))
            parts += details(title, problem_list(problems, lang), open_at_first=severity == "errors")
    return parts


def preview(rows: Sequence[PreviewRow], lang: Language, model_loaded: bool) -> str:
    """Rows as the model sees them: what is learned is coloured and underlined, the rest is grey."""
    learned, given = text("training_tab.preview.trained", lang), text("training_tab.preview.not_trained", lang)
    legend = f'<p class="wb-legend"><mark class="wb-trained">{escape(learned)}</mark>'
    legend += f'<span class="wb-untrained">{escape(given)}</span></p>'
    hint = "" if model_loaded else note(text("training_tab.preview.no_model", lang))
    return hint + legend + "".join(_preview_row(row, lang) for row in rows)


def _preview_row(row: PreviewRow, lang: Language) -> str:
    title = text("training_tab.preview.row", lang, line=row.line, tokens=row.tokens, trained=row.trained)
    left = PREVIEW_CHARACTERS
    parts = []
    for trained, pieces in groupby(row.pieces, key=lambda piece: piece.trained):
        content = "".join(piece.text for piece in pieces)
        parts.append(_run_of_pieces(content[:left], trained))
        left -= len(content)
        if left <= 0:
            parts.append(note(text("training_tab.preview.cut", lang, count=PREVIEW_CHARACTERS)))
            break
    return f'<figure class="wb-row"><figcaption>{escape(title)}</figcaption><div>{"".join(parts)}</div></figure>'


def _run_of_pieces(content: str, trained: bool) -> str:
    tag = ("mark", "wb-trained") if trained else ("span", "wb-untrained")
    return f'<{tag[0]} class="{tag[1]}">{escape(content)}</{tag[0]}>' if content else ""
