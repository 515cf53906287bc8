"""A data set in short, as HTML: how far its check is, what is in it, what was left out, and where it came from. Pure.

Its problems are drawn in `findings_views`, its rows in `preview_views`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import WorkbenchError
from core.i18n import Language, has_text, text
from core.markup import Kind, badge, card, details, duration, escape, facts, heading, note
from webui.views import problem_list, progress_bar, size

if TYPE_CHECKING:
    from core.data.datasets import DatasetCard
    from core.data.library import CheckStatus
    from core.data.report import DatasetReport

DELIMITERS = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "pipe"}
SHOWN_MEMBERS = 20
SHOWN_HASH = 16


def check_progress(status: CheckStatus, lang: Language) -> str:
    """A check in progress: share, rows so far, time left."""
    words = [text("data_tab.check.rows", lang, rows=f"{status.rows:,}")]
    if status.eta_s is not None:
        words.append(text("data_tab.check.time_left", lang, time=duration(status.eta_s, lang)))
    head = heading(status.name, badge(text("data_tab.check.running", lang), "info"))
    return card(head + progress_bar(status.share or None, " · ".join(words)), "info")


def dataset_refused(error: WorkbenchError, lang: Language) -> str:
    """A file of which nothing can be read."""
    head = heading(text("data_tab.report.not_ready", lang))
    return card(head + problem_list(error.problems, lang, error.total), "bad")


def dataset_report(report: DatasetReport, about: DatasetCard, lang: Language) -> str:
    """What is in a data set under its recipe."""
    kind, state = _state(report)
    head = heading(report.info.name, badge(text(f"data_tab.report.{state}", lang), kind))
    more = _composition(report, lang) + _left_out(report, lang) + _not_usable(report, lang)
    return card(
        head + facts(_facts(report, lang)) + more + _system_prompt(report, lang) + _card(report, about, lang), kind
    )


def _state(report: DatasetReport) -> tuple[Kind, str]:
    if report.errors or not report.examples:
        return "bad", "not_ready"
    return ("warning", "look") if report.warnings else ("good", "ready")


def _facts(report: DatasetReport, lang: Language) -> list[tuple[str, str]]:
    container = report.container
    kind = text(f"data_tab.container.{container.kind}", lang)
    pairs = [
        ("format", format_words(report.format, lang)),
        ("file", f"{kind}, {size(report.info.bytes)}"),
        ("rows", f"{report.rows:,}"),
        ("usable", f"{len(report.examples):,}"),
        ("encoding", container.encoding.upper()),
        ("delimiter", _delimiter(container.delimiter, lang)),
        ("sheet", container.sheet),
    ]
    return [(text(f"data_tab.report.{name}", lang), value) for name, value in pairs if value]


def _delimiter(delimiter: str, lang: Language) -> str:
    name = DELIMITERS.get(delimiter)
    return text(f"data_tab.delimiter.{name}", lang) if name else delimiter


def format_words(name: str | None, lang: Language) -> str:
    key = f"data_tab.formats.{name or 'unknown'}"
    return text(key, lang) if has_text(key) else str(name)


def _composition(report: DatasetReport, lang: Language) -> str:
    if not report.composition:
        return ""
    total = max(1, sum(rows for _, rows in report.composition))
    parts = [
        text("data_tab.report.part", lang, name=name, rows=f"{rows:,}", share=f"{rows / total:.0%}")
        for name, rows in report.composition
    ]
    return note(text("data_tab.report.composition", lang, parts=" · ".join(parts)))


def _left_out(report: DatasetReport, lang: Language) -> str:
    parts = [
        text(f"data_tab.left_out.{step}", lang, rows=f"{rows:,}") for step, rows in report.left_out.items() if rows
    ]
    return note(text("data_tab.report.left_out", lang, parts=" · ".join(parts))) if parts else ""


def _not_usable(report: DatasetReport, lang: Language) -> str:
    """Why a run cannot use it yet, and what can be done about it here."""
    if report.format is None and report.rows:
        return note(text("data_tab.report.unknown_format", lang), "bad")
    if not report.examples:
        return note(text("data_tab.report.no_example", lang), "bad")
    return note(text("data_tab.report.errors_stop", lang), "bad") if report.errors else ""


def _system_prompt(report: DatasetReport, lang: Language) -> str:
    if not report.system_prompt:
        return ""
    words = f'<pre dir="auto">{escape(report.system_prompt)}</pre>'
    return details(text("data_tab.report.shared_system_prompt", lang), words)


def _card(report: DatasetReport, about: DatasetCard, lang: Language) -> str:
    """Where the data set came from, and what is recorded with it."""
    options = about.options
    changes = [
        text(f"data_tab.card.{name}", lang, count=count)
        for name, count in (
            ("fixes", len(options.fixes)),
            ("edits", len(options.edits)),
            ("mapped", len(options.mapping)),
        )
        if count
    ]
    pairs = [
        ("source", about.source or report.info.name),
        ("added", about.added[:16].replace("T", " ")),
        ("fingerprint", f"sha256 {report.info.sha256[:SHOWN_HASH]}"),
        ("recipe", " · ".join(changes) or text("data_tab.card.as_it_is", lang)),
    ]
    shown = facts([(text(f"data_tab.card.{name}", lang), value) for name, value in pairs if value])
    return details(text("data_tab.card.title", lang), shown + _members(report, lang))


def _members(report: DatasetReport, lang: Language) -> str:
    members = report.container.members
    if not members:
        return ""
    more = [f"+ {len(members) - SHOWN_MEMBERS}"] if len(members) > SHOWN_MEMBERS else []
    return note(text("data_tab.card.members", lang, names=", ".join([*members[:SHOWN_MEMBERS], *more])))
