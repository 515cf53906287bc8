"""The queue of runs as HTML: what waits in which order, what for, and a button for everything one can do. Pure.

What the buttons stand for is in their data- attributes (`queue_panel`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.i18n import Language, text
from core.markup import badge, card, escape, heading, note
from webui.history_views import open_button
from webui.run_views import method_words

if TYPE_CHECKING:
    from core.training.queue import QueuedRun, QueueState


def queue_card(queue: QueueState, lang: Language) -> str:
    """The runs that wait; nothing where none does."""
    if not queue.runs:
        return ""
    head = heading(text("runs_tab.queue.title", lang), badge(f"{len(queue.runs)}"))
    words = note(text(f"runs_tab.queue.waiting.{queue.waiting}", lang), "info" if queue.waiting == "run" else "warning")
    start = _button("start", "", text("runs_tab.queue.start", lang)) if queue.waiting == "on_hold" else ""
    items = "".join(_item(place, queue, lang) for place in range(len(queue.runs)))
    return card(f'{head}{words}{start}<ol class="wb-queue">{items}</ol>', "info")


def _item(place: int, queue: QueueState, lang: Language) -> str:
    run = queue.runs[place]
    ways = [("up", "↑", place > 0), ("down", "↓", place < len(queue.runs) - 1), ("cancel", "✕", True)]
    buttons = "".join(_move(way, mark, run, possible, lang) for way, mark, possible in ways)
    lines = "".join(f"<br><small>{escape(line)}</small>" for line in _lines(run, lang))
    return (
        f'<li><span class="wb-place">{place + 1}</span><div>{open_button(run.run_id, run.name, "wb-run-open")}{lines}'
        f'{_beginning(run, queue, lang)}</div><div class="wb-moves">{buttons}</div></li>'
    )


def _lines(run: QueuedRun, lang: Language) -> Sequence[str]:
    """What the run is made of, and where it goes on if it does."""
    made_of = " · ".join((method_words(run.method, lang), run.dataset, run.base))
    if run.resumes_from is None:
        return [made_of]
    return [made_of, text("runs_tab.queue.resumes", lang, step=f"{run.resumes_from:,}")]


def _beginning(run: QueuedRun, queue: QueueState, lang: Language) -> str:
    """What the run needs first, and the way to begin it before its turn where no other goes on."""
    needs = "" if run.fits else note(text("runs_tab.queue.other_base", lang, base=run.base), "warning")
    words = text(f"runs_tab.queue.{'begin' if run.fits else 'load'}", lang)
    return needs + ("" if queue.active else f"<div>{_button('begin', run.run_id, words)}</div>")


def _move(way: str, mark: str, run: QueuedRun, possible: bool, lang: Language) -> str:
    """A small button; `mark` is all that is seen of it, so its words are said to those who do not see it too."""
    words = escape(text(f"runs_tab.queue.{way}", lang, name=run.name))
    off = "" if possible else " disabled"
    data = f'data-do="{way}" data-run="{escape(run.run_id)}" title="{words}" aria-label="{words}"'
    return f'<button type="button" class="wb-chip" {data}{off}>{mark}</button>'


def _button(way: str, run_id: str, words: str) -> str:
    return f'<button type="button" class="wb-chip" data-do="{way}" data-run="{escape(run_id)}">{escape(words)}</button>'
