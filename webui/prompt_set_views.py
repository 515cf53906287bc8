"""A prompt set as HTML: how far it is, and its table, a page at a time. Pure."""

from __future__ import annotations

import math

from core.chat.prompt_sets import Rows, SetStatus
from core.errors import WorkbenchError
from core.evaluation.advice import advice_text, seen_in_training
from core.i18n import Language, text
from core.markup import duration, escape, note
from webui.chat_views import column_label
from webui.views import problem_list, progress_bar

PAGE_ROWS = 10


def pages_of(status: SetStatus) -> int:
    return max(1, math.ceil(len(status.asked.prompts) / PAGE_ROWS))


def progress(status: SetStatus | None, lang: Language) -> str:
    """How far it is, or how it ended; who was trained on some of the prompts."""
    if status is None:
        return ""
    told = seen_in_training(status.asked.seen, len(status.asked.prompts))
    return _progress(status, lang) + "".join(note(advice_text(each, lang), "warning") for each in told)


def table(status: SetStatus, rows: Rows, page: int, lang: Language) -> str:
    """Page `page` (from 1) of the table, whose rows these are; on a narrow screen each row is a card."""
    has_reference = any(prompt.reference is not None for prompt in status.asked.prompts)
    names = [column_label(name, lang) for name in status.asked.columns]
    heads = [text("prompt_set.prompt", lang), *([text("prompt_set.reference", lang)] if has_reference else []), *names]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    first = PAGE_ROWS * (page - 1) + 1
    body = ""
    for number, (prompt, answers) in enumerate(rows, first):
        cells = [prompt.question, *([prompt.reference or ""] if has_reference else []), *answers]
        shown = "".join(_cell(name, cell, lang) for name, cell in zip(heads, cells, strict=True))
        body += f'<tr><th scope="row">{number}</th>{shown}</tr>'
    return (
        f'{_pager(page, pages_of(status), lang)}<div class="wb-table prompt-set"><table>'
        f'<thead><tr><th scope="col">#</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _progress(status: SetStatus, lang: Language) -> str:
    figures = {"done": f"{status.done:,}", "total": f"{status.total:,}", "elapsed": duration(status.elapsed_s, lang)}
    if status.running:
        words = text("prompt_set.running", lang, **figures)
        if status.eta_s is not None:
            words += " · " + text("prompt_set.left", lang, eta=duration(status.eta_s, lang))
        return progress_bar(status.done / status.total, words)
    if isinstance(status.error, WorkbenchError):
        return problem_list(status.error.problems, lang) + note(text("prompt_set.ended_early", lang, **figures))
    if status.error is not None:
        return note(text("prompt_set.bug", lang, **figures), "bad")
    how = "cancelled" if status.cancelled else "finished"
    return note(text(f"prompt_set.{how}", lang, **figures), "good" if how == "finished" else "warning")


def _cell(name: str, words: str | None, lang: Language) -> str:
    if words is None:
        shown = '<div class="prompt-set-none">…</div>'
    else:
        shown = f'<div tabindex="0">{escape(words) or escape(text("chat_tab.empty_answer", lang))}</div>'
    return f'<td data-name="{escape(name)}">{shown}</td>'


def _pager(page: int, pages: int, lang: Language) -> str:
    if pages < 2:
        return ""
    buttons = [("previous", page - 1, page > 1), ("next", page + 1, page < pages)]
    back, ahead = (_page_button(way, to, possible, lang) for way, to, possible in buttons)
    words = escape(text("prompt_set.page", lang, page=page, pages=pages))
    return f'<div class="prompt-set-pager">{back}<span>{words}</span>{ahead}</div>'


def _page_button(way: str, to: int, possible: bool, lang: Language) -> str:
    words, off = escape(text(f"prompt_set.{way}", lang)), "" if possible else " disabled"
    return f'<button type="button" class="wb-chip" data-do="page" data-page="{to}"{off}>{words}</button>'
