"""The runs of a sweep as HTML: before they are queued, and after. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.i18n import Language, text
from core.markup import note, table
from webui.setting_words import label, value_text

if TYPE_CHECKING:
    from core.training.spec import RunSpec


def sweep_table(specs: Sequence[RunSpec], paths: Sequence[str], lang: Language) -> str:
    """A row for each run: its name and the values in which it differs; `paths` as `method.rank`."""
    names = [path.partition(".") for path in paths]
    headers = [text("run_form.sweep.run", lang), *(label(name, lang) for _, _, name in names)]
    rows = [
        [spec.name, *(value_text(name, getattr(getattr(spec, group), name), lang) for group, _, name in names)]
        for spec in specs
    ]
    return note(text("run_form.sweep.count", lang, count=len(specs))) + table(headers, rows)


def sweep_added(specs: Sequence[RunSpec], lang: Language) -> str:
    return note(text("run_form.sweep.added", lang, count=len(specs)), "good")
