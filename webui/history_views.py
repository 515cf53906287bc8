"""The runs of a data directory as a list: name, status, method and data, losses, their course, descent. Pure.

Every name is a button that opens the run, and each run has one that puts it beside others (`history_panel`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from core.i18n import Language, text
from core.markup import badge, duration, escape, note, number
from webui.run_views import STATUS_KINDS, method_words, percent
from webui.sparkline import sparkline

if TYPE_CHECKING:
    from core.training.history import RunSummary


def history_list(runs: Sequence[RunSummary], opened: str | None, compared: Collection[str], lang: Language) -> str:
    """All runs in the order given; the opened one and those that are compared are marked."""
    if not runs:
        return note(text("runs_tab.history.none", lang))
    names = {run.run_id: run.name for run in runs}
    items = "".join(_item(run, names, run.run_id == opened, run.run_id in compared, lang) for run in runs)
    return f'<ul class="wb-runs">{items}</ul>'


def _item(run: RunSummary, names: dict[str, str], opened: bool, compared: bool, lang: Language) -> str:
    current = ' aria-current="true"' if opened else ""
    marked = "true" if compared else "false"
    words = escape(text(f"runs_tab.history.{'compared' if compared else 'compare'}", lang))
    beside = f'<button type="button" class="wb-chip" data-do="compare" data-run="{escape(run.run_id)}"'
    parts = [
        f'<div class="wb-run-name">{open_button(run.run_id, run.name, "wb-run-open")}{_status(run, lang)}</div>',
        f"<div>{escape(_made_of(run, lang))}{_descent(run, names, lang)}</div>",
        f'<div class="wb-run-loss">{_losses(run, lang)}</div>',
        f"<div><small>{escape(_when(run, lang))}</small></div>",
        f'{beside} aria-pressed="{marked}">{words}</button>',
    ]
    return f'<li class="wb-run"{current}>{"".join(parts)}</li>'


def open_button(run_id: str, words: str, style: str = "wb-link") -> str:
    """A button that opens a run."""
    return f'<button type="button" class="{style}" data-do="open" data-run="{escape(run_id)}">{escape(words)}</button>'


def _status(run: RunSummary, lang: Language) -> str:
    """What a run in progress is doing just now is said beside its bar: this list stays as it is meanwhile."""
    if run.status.active and run.status != "queued":
        return badge(text("training_tab.live.in_progress", lang), "info")
    return badge(text(f"training.status.{run.status}", lang), STATUS_KINDS[run.status])


def _made_of(run: RunSummary, lang: Language) -> str:
    return " · ".join(part for part in (method_words(run.method, lang), run.dataset, run.base) if part)


def _descent(run: RunSummary, names: dict[str, str], lang: Language) -> str:
    """From which adapter it was trained on, and which run it repeats."""
    lines = []
    if run.lineage:
        parent = run.lineage[0]
        name = open_button(parent.run_id, parent.adapter) if parent.run_id in names else escape(parent.adapter)
        lines.append(_line("from", name, lang))
    if run.repeats in names:
        lines.append(_line("repeats", open_button(run.repeats, names[run.repeats]), lang))
    return "".join(lines)


def _line(key: str, name: str, lang: Language) -> str:
    return f"<br><small>{escape(text(f'runs_tab.history.{key}', lang))} {name}</small>"


def _losses(run: RunSummary, lang: Language) -> str:
    """The course of the training loss and what it came to; nothing of a run that is still going on."""
    if run.status.active or run.train_loss is None:
        return ""
    words = text("runs_tab.history.loss", lang, loss=number(run.train_loss, 3))
    if run.eval_loss is not None:
        values = {"loss": number(run.eval_loss, 3), "percent": percent(run.eval_accuracy)}
        words += " · " + text(f"runs_tab.history.best_by_{run.best_by}", lang, **values)
    return f"{sparkline(run.sparkline, text('runs_tab.history.course', lang))}<small>{escape(words)}</small>"


def _when(run: RunSummary, lang: Language) -> str:
    began = run.started_at[:16].replace("T", " ")
    return began if run.status.active else f"{began} · {duration(run.elapsed_s, lang)}"
